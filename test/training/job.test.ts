/** The folder of a training job, before the trainer starts. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TrainerConfig } from '../../contracts/deployment.js';
import { Training, TrainingJob } from '../../contracts/training.js';
import { pythonProgram } from '../../processes/python.js';
import { prepareJob, readResult } from '../../training/job.js';
import { python } from '../support/python.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'srlm-test-job-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const job = (training: Partial<Training> = {}) => ({
  folder,
  owner: { workflowId: 'run', runId: 'one' },
  baseModel: '/models/tiny',
  baseModelSha256: '0'.repeat(64),
  training: Training.parse(training),
  seed: 0,
  deterministic: true,
});
const trainer = (processes = 1) => TrainerConfig.parse({ processes });

async function* chunks(...parts: (string | Buffer | Error)[]) {
  for (const part of parts) {
    if (part instanceof Error) throw part;
    yield Buffer.from(part);
  }
}
const spec = async () => TrainingJob.parse(JSON.parse(await readFile(join(folder, 'spec.json'), 'utf8')));
const data = () => readFile(join(folder, 'train.jsonl'));

describe('a job folder', () => {
  it('has its data and its spec once it is prepared, and is then left as it is', async () => {
    await prepareJob(job(), trainer(), chunks('{"a":1}\n', '{"a":2}\n'));
    expect(String(await data())).toBe('{"a":1}\n{"a":2}\n');
    await prepareJob(job(), trainer(), chunks('{"b":1}\n'));
    expect(String(await data())).toBe('{"a":1}\n{"a":2}\n');
    expect((await readdir(folder)).sort()).toEqual(['spec.json', 'train.jsonl']);
  });

  it('has the very bytes of the chunks, whatever they are', async () => {
    // Half of a character ends the first chunk, and the second is not even UTF-8.
    const parts = [Buffer.from('{"a": "é"}\n').subarray(0, 8), Buffer.from([0xff, 0x00, 0x0a, 0x0d, 0x0a])];
    await prepareJob(job(), trainer(), chunks(...parts));
    const whole = Buffer.concat(parts);
    expect(await data()).toEqual(whole);
    expect((await spec()).dataSha256).toBe(createHash('sha256').update(whole).digest('hex'));
  });

  it('has nothing in it when reading the chunks fails', async () => {
    const broken = prepareJob(job(), trainer(), chunks('{"a":1}\n', new Error('the chunk is gone')));
    await expect(broken).rejects.toThrow('the chunk is gone');
    expect(await readdir(folder)).toEqual([]);
  });

  it('is prepared again when its spec is damaged, and what a dead process left is removed', async () => {
    await writeFile(join(folder, 'spec.json'), '{"version":');
    // A pid that no system uses.
    await writeFile(join(folder, `${hostname()}~99999999~abc`), 'half a file');
    await prepareJob(job(), trainer(), chunks('{"a":1}\n'));
    expect((await spec()).version).toBe(2);
    expect((await readdir(folder)).sort()).toEqual(['spec.json', 'train.jsonl']);
  });

  it('has the default micro-batch for the processes of its trainer', async () => {
    await prepareJob(job({ batchSize: 16 }), trainer(2), chunks('{}\n'));
    expect(await spec()).toMatchObject({ batchSize: 16, microBatchSize: 8, processes: 2 });
  });

  it('keeps a micro-batch that has become smaller, and follows the number of processes', async () => {
    await prepareJob(job(), trainer(), chunks('{}\n'));
    await prepareJob(job({ microBatchSize: 4 }), trainer(), chunks());
    expect((await spec()).microBatchSize).toBe(4);
    await prepareJob(job(), trainer(2), chunks());
    expect(await spec()).toMatchObject({ microBatchSize: 4, processes: 2 });
  });

  it('has no result while that is half a file', async () => {
    await writeFile(join(folder, 'result.json'), '{"sha256":');
    expect(await readResult(folder)).toBeNull();
  });

  it('loses the line that a dead trainer did not finish, and no other', async () => {
    const script =
      'import sys; sys.path.insert(0, sys.argv[1]); import jobfolder; jobfolder.drop_cut_line(sys.argv[2])';
    const path = join(folder, 'steps.jsonl');
    for (const [before, after] of [
      ['{"step":1}\n{"step":2}\n{"st', '{"step":1}\n{"step":2}\n'],
      ['{"step":1}\n', '{"step":1}\n'],
      ['{"st', ''],
    ] as const) {
      await writeFile(path, before);
      execFileSync(python, ['-c', script, dirname(pythonProgram('jobfolder.py')), path]);
      expect(await readFile(path, 'utf8')).toBe(after);
    }
  });
});
