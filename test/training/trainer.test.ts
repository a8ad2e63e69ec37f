/** The supervisor of a training job with real trainers. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TrainerConfig } from '../../contracts/deployment.js';
import { Training } from '../../contracts/training.js';
import { runningJobs } from '../../processes/detached.js';
import { folderDigest, folderState } from '../../storage/model-folder.js';
import { prepareJob, readPulse, type TrainerResult } from '../../training/job.js';
import { endOrphans, followJob } from '../../training/trainer.js';
import { python, tinyModel } from '../support/python.js';

const base = join(tinyModel(), 'tiny');
const trainer = TrainerConfig.parse({ device: 'cpu', threads: 1 });
/** Not the hostname: what the trainer writes is what its worker calls this host. */
const HOST = 'gpu-1';
const never = new AbortController().signal;

let jobs: string;
let folder: string;
beforeEach(() => {
  jobs = mkdtempSync(join(tmpdir(), 'srlm-test-jobs-'));
  folder = join(jobs, 'one');
  mkdirSync(folder);
});
afterEach(() => rmSync(jobs, { recursive: true, force: true }));

async function* rows(count: number) {
  for (let i = 0; i < count; i++) {
    const messages = [
      { role: 'user', content: `What is ${i} + 1?` },
      { role: 'assistant', content: `${i + 1}` },
    ];
    yield Buffer.from(`${JSON.stringify({ messages, source: 'answer', id: String(i) })}\n`);
  }
}

async function prepared(training: object, count = 8, baseModel = base) {
  const job = {
    folder,
    key: '0'.repeat(64),
    owner: { workflowId: 'run', runId: 'one' },
    baseModel,
    baseModelSha256: await folderDigest(baseModel),
    training: Training.parse({ precision: 'fp32', batchSize: 4, maxLength: 64, ...training }),
    seed: 0,
    deterministic: true,
  };
  await prepareJob(job, trainer, rows(count));
  return job;
}

const isTraining = async (root: string) => (await runningJobs(root, HOST)).length > 0;
const following = {
  python,
  host: HOST,
  signal: never,
  onProgress: () => {},
  isUnwanted: async () => false,
  stallMinutes: 15,
};

describe('a trainer', () => {
  it('reports the digest and the size of the model it has trained, so that nobody has to read it again', async () => {
    const own = join(jobs, 'base');
    cpSync(base, own, { recursive: true });
    mkdirSync(join(own, 'additional_chat_templates'));
    const copied = ['LICENSE', 'additional_chat_templates/tool_use.jinja'];
    for (const name of [...copied, 'tokenizer_notes', 'vocab_of_mine.csv']) writeFileSync(join(own, name), name);
    const result = (await followJob(await prepared({ epochs: 1 }, 8, own), trainer, following)) as TrainerResult;
    const model = join(folder, 'model');
    // The files that training changes, and those that every model needs beside them; nothing else that lay there.
    expect((await folderState(model))?.files).toEqual([
      ...copied,
      ...['chat_template.jinja', 'config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json'],
      'tokenizer_config.json',
    ]);
    expect(result.sha256).toBe(await folderDigest(model));
    expect(result.bytes).toBe((await folderState(model))?.bytes);
    expect(result.steps).toBe(2);
    // What it did before its first look at a step, and the parts of each.
    expect(await readPulse(folder)).toMatch(/^\d+ [1-9]\d*$/);
    expect(await isTraining(jobs)).toBe(false);
  });

  it('says with the field why it refuses its spec', async () => {
    const job = await prepared({ epochs: 1, batchSize: 4, microBatchSize: 3 });
    await expect(followJob(job, trainer, following)).rejects.toMatchObject({
      type: 'trainer.bad-spec',
      retry: false,
      reason: 'The trainer stopped: spec.json batchSize: 4 is not a multiple of microBatchSize 3 x 1 processes.',
    });
  });

  it('is left running by a worker that stops, found by the next, and ended when its run is closed', async () => {
    const job = await prepared({ epochs: 100 }, 400);
    const stop = new AbortController();
    const onProgress = (progress: unknown) => {
      if (progress) stop.abort(new Error('the worker shuts down'));
    };
    const first = followJob(job, trainer, { ...following, signal: stop.signal, onProgress });
    await expect(first).rejects.toThrow('the worker shuts down');
    expect(await isTraining(jobs)).toBe(true);
    const { pid } = JSON.parse(readFileSync(join(folder, 'state.json'), 'utf8'));

    // The next worker attaches, and stops it with a checkpoint because its bound is used up.
    const bounded = await followJob(job, trainer, { ...following, bounds: { tokens: 1 } });
    expect('unfinished' in bounded && bounded.unfinished.tokens).toBeGreaterThan(1);
    expect(await isTraining(jobs)).toBe(false);
    expect(JSON.parse(readFileSync(join(folder, 'state.json'), 'utf8')).pid).toBe(pid);

    const again = new AbortController();
    const resumed = followJob(job, trainer, { ...following, signal: again.signal });
    while (!(await isTraining(jobs))) await new Promise((resolve) => setTimeout(resolve, 100));
    again.abort(new Error('the worker was killed'));
    await expect(resumed).rejects.toThrow('the worker was killed');
    await endOrphans(jobs, HOST, async (run) => run.workflowId === 'another');
    expect(await isTraining(jobs)).toBe(true);
    await endOrphans(jobs, HOST, async (run) => run.workflowId === 'run');
    expect(await isTraining(jobs)).toBe(false);
  });
});
