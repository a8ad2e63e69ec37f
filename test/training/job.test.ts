/** The folder of a training job, before the trainer starts. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TrainerConfig } from '../../contracts/deployment.js';
import { Training, TrainingJob } from '../../contracts/training.js';
import { pythonProgram } from '../../processes/python.js';
import { dropUnfinishedModel, prepareJob, readResult } from '../../training/job.js';
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
  key: '0'.repeat(64),
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
const change = async (fields: object) =>
  writeFile(join(folder, 'spec.json'), JSON.stringify({ ...(await spec()), ...fields }));

describe('a job folder', () => {
  it('has its data and its spec once it is prepared', async () => {
    await prepareJob(job(), trainer(), chunks('{"a":1}\n', '{"a":2}\n'));
    expect(String(await data())).toBe('{"a":1}\n{"a":2}\n');
    expect((await readdir(folder)).sort()).toEqual(['spec.json', 'train.jsonl']);
  });

  it.each([
    ['data that was zeroed', () => writeFile(join(folder, 'train.jsonl'), Buffer.alloc(8))],
    ['data that is gone', () => rm(join(folder, 'train.jsonl'))],
    ['the digest of other data', () => change({ dataSha256: 'f'.repeat(64) })],
    ['another device', () => change({ device: 'cuda' })],
    ['another base model', () => change({ baseModel: '/elsewhere' })],
    ['a micro-batch of another job', () => change({ key: 'f'.repeat(64), microBatchSize: 1 })],
  ])('is what is asked for, where there is %s', async (_what, harm) => {
    await prepareJob(job(), trainer(), chunks('{"a":1}\n'));
    const before = await spec();
    await harm();
    await prepareJob(job(), trainer(), chunks('{"a":1}\n'));
    expect(await spec()).toEqual(before);
    expect(String(await data())).toBe('{"a":1}\n');
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
    await writeFile(join(folder, `${hostname()}~99999999~0123456789ab`), 'half a file');
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

  describe('with a result', () => {
    const result = {
      ...{ key: '0'.repeat(64), sha256: 'a'.repeat(64), bytes: 5, steps: 2, trainLoss: 0.00001, tokens: 9 },
      ...{ precision: 'fp32', seconds: 1.5, leftOut: 1, cut: 0 },
    };
    /** As the trainer writes it. */
    const write = (value: object, name = 'result.json') => {
      const script =
        'import json, sys; sys.path.insert(0, sys.argv[1]); import jobfolder; ' +
        'jobfolder.write_sealed(sys.argv[2], json.loads(sys.argv[3]))';
      const folderOfPrograms = dirname(pythonProgram('jobfolder.py'));
      execFileSync(python, ['-c', script, folderOfPrograms, join(folder, name), JSON.stringify(value)]);
    };
    const edit = async (from: string, to: string) => {
      const path = join(folder, 'result.json');
      await writeFile(path, (await readFile(path, 'utf8')).replace(from, to));
    };

    it('has it as the trainer wrote it', async () => {
      write(result);
      expect(await readResult(job())).toEqual(result);
    });

    it.each([
      ['is half a file', () => writeFile(join(folder, 'result.json'), '{"content":')],
      ['is empty', () => writeFile(join(folder, 'result.json'), '')],
      ['was edited', () => edit('fp32', 'bf16')],
      ['names another model', () => edit('aaaa', 'bbbb')],
      ['is one of another job', () => write({ ...result, key: 'f'.repeat(64) })],
      ['is not a result', () => write({ ...result, steps: -1 })],
    ])('has none where it %s, and its model is then removed before the next start', async (_what, harm) => {
      write(result);
      await mkdir(join(folder, 'model'));
      await dropUnfinishedModel(job());
      expect(await readdir(folder)).toContain('model');
      await harm();
      expect(await readResult(job())).toBeNull();
      await dropUnfinishedModel(job());
      expect(await readdir(folder)).not.toContain('model');
    });

    it('keeps a model whose result has not got its name yet', async () => {
      write(result, '.result.json');
      await mkdir(join(folder, 'model'));
      await dropUnfinishedModel(job());
      expect(await readdir(folder)).toContain('model');
    });
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
