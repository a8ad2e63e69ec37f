/** How a trainer may end, and what is said about it. The programs here only end. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { TrainerConfig } from '../../contracts/deployment.js';
import { Training } from '../../contracts/training.js';
import { processesWith } from '../../processes/detached.js';
import { followJob } from '../../training/trainer.js';

const kills = vi.hoisted(() => ({ counts: [] as number[] }));
vi.mock('../../processes/detached.js', async (original) => ({
  ...(await original<typeof import('../../processes/detached.js')>()),
  endedForMemory: async () => kills.counts.shift() ?? 0,
}));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'srlm-test-ended-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** `end`: what a program in the place of Python does, once it has said that it is one. */
async function followed(end: string, stallMinutes = 15) {
  const python = join(folder, 'python');
  writeFileSync(python, `#!/bin/sh\n[ "$1" = -c ] && echo 3.12.0 && exit\n${end}\n`, { mode: 0o755 });
  const job = {
    folder: join(folder, 'job'),
    key: '0'.repeat(64),
    owner: { workflowId: 'run', runId: 'one' },
    baseModel: folder,
    baseModelSha256: 'f'.repeat(64),
    training: Training.parse({}),
    seed: 0,
    deterministic: false,
  };
  mkdirSync(job.folder);
  const following = {
    python,
    host: 'here',
    signal: new AbortController().signal,
    onProgress: () => {},
    isUnwanted: async () => false,
    stallMinutes,
  };
  const error = await followJob(job, TrainerConfig.parse({}), following).catch((caught: unknown) => caught);
  return error as { message: string; retry: boolean };
}

const log = () => join(folder, 'job/log.txt');

it.each([
  ['kill -9 $$', [4, 5]],
  // The launcher of several processes says nothing but this of one that was killed.
  ['exit 1', [4, 5]],
])(
  '"%s" while the kernel ends processes for memory: the run is asked for less, not tried again as it is',
  async (end, counts) => {
    kills.counts = [...counts];
    expect(await followed(end)).toMatchObject({
      retry: false,
      message: `The trainer stopped: Memory ran out, and the system ended it. A smaller microBatchSize or maxLength, or gradientCheckpointing, needs less. See ${log()}, fix the cause, then \`srlm retry\`. [trainer.out-of-memory]`,
    });
  },
);

it('a trainer that somebody has killed is started again', async () => {
  kills.counts = [4, 4];
  expect(await followed('kill -9 $$')).toMatchObject({
    retry: true,
    message: 'The trainer process ended (killed). It resumes from its newest checkpoint. [trainer.lost]',
  });
});

it('a trainer that is frozen is ended, and tried again', async () => {
  expect(await followed('kill -STOP $$', 0.02)).toMatchObject({
    retry: true,
    attempts: 5,
    message:
      'The trainer made no progress for 0.02 min and was ended. It resumes from its newest checkpoint. If it was only slow, set a larger stallMinutes in temporal.config.ts. [trainer.stalled]',
  });
  await vi.waitUntil(async () => (await processesWith(join(folder, 'job'))).length === 0);
});

it('a trainer that was stopped is started again, whatever memory another program was ended for', async () => {
  kills.counts = [4, 5];
  expect(await followed('exit 75')).toMatchObject({ retry: true, type: 'trainer.lost' });
});

it.each(['exit 6', 'echo "subprocess.CalledProcessError: returned non-zero exit status 6."; exit 1'])(
  'a file system without locks is named, since two trainers could write there: %s',
  async (end) => {
    expect(await followed(end)).toMatchObject({
      retry: false,
      message: `${join(folder, 'job')}: its file system has no file locks, without which two processes could write here at once. Mount it with locks, or move artifactRoot in temporal.config.ts to another file system; then \`srlm retry\`. [storage.no-locks]`,
    });
  },
);
