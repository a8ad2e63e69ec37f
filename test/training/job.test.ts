/** What the supervisor of a training job does with its folder, before and beside the trainer itself. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Trainer } from '../../contracts/deployment.js';
import { Training } from '../../contracts/spec.js';
import { pythonProgram } from '../../engine/python-environment.js';
import { prepareJob, readResult } from '../../engine/trainer.js';
import { python } from '../support/python.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'srlm-test-job-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const job = () => ({
  folder,
  owner: { workflowId: 'run', runId: 'one' },
  baseModel: '/models/tiny',
  baseModelSha256: '0'.repeat(64),
  training: Training.parse({}),
  seed: 0,
  deterministic: true,
});

async function* rows(...texts: (string | Error)[]) {
  for (const text of texts) {
    if (text instanceof Error) throw text;
    yield text;
  }
}

describe('a job folder', () => {
  it('has its rows and its spec once it is prepared, and is then left as it is', async () => {
    await prepareJob(job(), Trainer.parse({}), rows('{"a":1}', '{"a":2}'));
    expect(await readFile(join(folder, 'train.jsonl'), 'utf8')).toBe('{"a":1}\n{"a":2}\n');
    await prepareJob(job(), Trainer.parse({}), rows('{"b":1}'));
    expect(await readFile(join(folder, 'train.jsonl'), 'utf8')).toBe('{"a":1}\n{"a":2}\n');
    expect((await readdir(folder)).sort()).toEqual(['spec.json', 'train.jsonl']);
  });

  it('holds nothing when its rows break off', async () => {
    const broken = prepareJob(job(), Trainer.parse({}), rows('{"a":1}', new Error('the chunk is gone')));
    await expect(broken).rejects.toThrow('the chunk is gone');
    expect(await readdir(folder)).toEqual([]);
  });

  it('is prepared anew when its spec is damaged, and rid of what a dead process left', async () => {
    await writeFile(join(folder, 'spec.json'), '{"version":');
    // A pid that no system gives.
    await writeFile(join(folder, `${hostname()}~99999999~abc`), 'half a file');
    await prepareJob(job(), Trainer.parse({}), rows('{"a":1}'));
    expect(JSON.parse(await readFile(join(folder, 'spec.json'), 'utf8')).version).toBe(1);
    expect((await readdir(folder)).sort()).toEqual(['spec.json', 'train.jsonl']);
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
