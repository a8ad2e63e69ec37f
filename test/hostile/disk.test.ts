/**
 * A file system that is full or read-only: every part says so in one sentence that names its path, and a full disk is
 * never reported as a fault of the model, the engine or the user. Only root may mount the file systems that this takes.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { activity } from '../../activities/activity.js';
import { fileWriter } from '../../client/cli/output-file.js';
import { sampleLines } from '../../client/cli/start.js';
import { type BuiltinEngine, EngineConfig, TrainerConfig } from '../../contracts/deployment.js';
import { Training } from '../../contracts/training.js';
import { ModelServer } from '../../engines/builtin/server.js';
import { boundLog, fileSystemProblem, makeFolder, sweep, writeWhole } from '../../storage/files.js';
import { openStore, readableStore } from '../../storage/store.js';
import { followJob } from '../../training/trainer.js';
import { problemOf, rows, Text, temporaryFolder } from '../storage/support.js';
import { quiet } from './store.js';

const folder = temporaryFolder();
const FULL = 'there is no space left on its file system. Free some.';
const REFUSED = (code: string) =>
  `the file system refuses access (${code}). Make it readable and writable for this user.`;
const failed = (code: string, more: object = {}) => Object.assign(new Error(code), { code, ...more });

describe('an error of a file system', () => {
  it.each([
    [failed('ENOSPC', { path: '/d/f' }), `/d/f: ${FULL} [storage.full]`],
    [failed('EDQUOT', { path: '/d/f' }), `/d/f: ${FULL} [storage.full]`],
    [failed('ENOSPC', { syscall: 'write' }), `disk: ${FULL} [storage.full]`],
    [failed('EROFS', { path: '/d/f' }), `/d/f: ${REFUSED('EROFS')} [storage.not-writable]`],
    [failed('EACCES', { path: '/d/f' }), `/d/f: ${REFUSED('EACCES')} [storage.not-writable]`],
    // Ports and processes are refused with the same codes.
    [failed('EACCES', { syscall: 'listen' }), 'EACCES'],
    [failed('EPERM', { syscall: 'kill' }), 'EPERM'],
    [failed('ENOENT', { path: '/d/f' }), 'ENOENT'],
    [failed('ENOENT', { path: '/nowhere/f', syscall: 'mkdir' }), 'ENOENT'],
  ])('is one sentence: %s', (error, message) => {
    expect((fileSystemProblem(error) as Error).message).toBe(message);
  });

  it.each([
    [failed('ENOSPC', { path: '/d/f' }), 'storage.full', `/d/f: ${FULL} Then \`srlm retry\`. [storage.full]`],
    [
      failed('EROFS', { path: '/d/f' }),
      'storage.not-writable',
      `/d/f: ${REFUSED('EROFS')} Then \`srlm retry\`. [storage.not-writable]`,
    ],
  ])('parks the step that meets it: %s', async (error, type, message) => {
    const step = activity('step', z.null(), () => Promise.reject(error));
    const failure = await new MockActivityEnvironment({}, { logger: quiet }).run(step, null).catch((thrown) => thrown);
    expect(failure).toMatchObject({ type, nonRetryable: true, message });
  });
});

describe('a program that ends because of its disk', () => {
  /** A Python that has what is needed, and ends as the programs do. */
  const python = (exit: string) => {
    const path = join(folder(), 'python');
    writeFileSync(path, `#!/bin/sh\nif [ "$1" = -c ]; then echo 3.12.0; else ${exit}; fi\n`);
    chmodSync(path, 0o755);
    return path;
  };
  const trainer = (exit: string) => {
    const job = {
      folder: join(folder(), 'job'),
      key: '0'.repeat(64),
      owner: { workflowId: 'run', runId: 'one' },
      baseModel: '/base',
      baseModelSha256: '0'.repeat(64),
      training: Training.parse({}),
      seed: 0,
      deterministic: true,
    };
    mkdirSync(job.folder);
    const signal = new AbortController().signal;
    const following = {
      python: python(exit),
      host: 'here',
      signal,
      onProgress: () => {},
      isUnwanted: async () => false,
      stallMinutes: 15,
    };
    return problemOf(followJob(job, TrainerConfig.parse({}), following));
  };
  const state = `echo '{"state":"failed","pid":1,"error":{"type":"disk-full","message":"The disk is full."}}' > "$2/state.json"`;

  it.each([
    ['which state.json says', `${state}; exit 5`],
    ['where there was no room for state.json', 'exit 5'],
    ['started by accelerate, which hides the exit code', `${state}; exit 1`],
  ])('is a trainer, %s', async (_, exit) => {
    expect((await trainer(exit)).message).toBe(`${join(folder(), 'job')}: ${FULL} [storage.full]`);
  });

  it('is a trainer whose disk became read-only', async () => {
    expect((await trainer('exit 7')).message).toBe(
      `${join(folder(), 'job')}: ${REFUSED('EROFS')} [storage.not-writable]`,
    );
  });

  it('is a trainer that could not even write its log', async () => {
    expect((await trainer('exit 1')).reason).toBe('The trainer stopped: It ended with 1 and wrote no reason.');
  });

  it('is a model server', async () => {
    const engine = EngineConfig.parse({ kind: 'builtin', device: 'cpu' }) as BuiltinEngine;
    const server = new ModelServer({
      ...{ name: 'local', engine, deterministic: false, modelRoots: [], stallMinutes: 15 },
      folder: join(folder(), 'server'),
      python: () => python('exit 5'),
    });
    expect((await problemOf(server.ensure())).message).toBe(`${join(folder(), 'server')}: ${FULL} [storage.full]`);
  });
});

describe('what is written again and again', () => {
  it('is no temporary file of a host that never comes back', () => {
    const [old, recent] = ['pod-1~7~0123456789ab', 'pod-2~7~0123456789ab'];
    for (const name of [old, recent, 'report~2']) writeFileSync(join(folder(), name), '');
    const longAgo = Date.now() / 1000 - 8 * 86_400;
    for (const name of [old, 'report~2']) utimesSync(join(folder(), name), longAgo, longAgo);
    sweep(folder());
    expect(readdirSync(folder())).toEqual([recent, 'report~2']);
  });

  it('is a log, which is started again when it is large, under the writer that keeps it open', async () => {
    const log = join(folder(), 'log');
    writeFileSync(log, 'a'.repeat(1000));
    await boundLog(log, 1000);
    expect(readdirSync(folder())).toEqual(['log']);
    await boundLog(log, 999);
    expect([readFileSync(log, 'utf8'), readFileSync(`${log}.1`, 'utf8').length]).toEqual(['', 1000]);
  });
});

/** Mounted for one test, and filled by its own size. */
const mounted: string[] = [];
const mount = (place: string, size: string) => {
  mkdirSync(place, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=700`, 'srlm-test', place], { stdio: 'pipe' });
  mounted.push(place);
};
const canMount = (() => {
  const place = join('/tmp', `srlm-test-mount-${process.pid}`);
  try {
    mount(place, '16k');
    return true;
  } catch {
    return false;
  } finally {
    if (mounted.pop()) execFileSync('umount', [place]);
    void rm(place, { recursive: true, force: true });
  }
})();

describe.runIf(canMount)('a store', () => {
  const root = () => join(folder(), 'store');
  const place = () => ({ artifactRoot: root(), modelRoots: [] });
  const within = async (size: string, work: () => Promise<void>) => {
    mount(root(), size);
    try {
      await work();
    } finally {
      execFileSync('umount', [mounted.pop()!]);
    }
  };
  afterAll(() => {
    for (const left of mounted) execFileSync('umount', ['-l', left]);
  });

  it('that is full names its folder, keeps nothing half-written, can be read, and takes more once there is space', () =>
    within('64k', async () => {
      const store = openStore(place());
      const ref = await store.objects.putRows(rows('before'));
      const prompts = await store.datasets.put([await store.objects.putRows([{ id: 'a', instruction: 'A' }])]);
      const candidate = { id: 'a', k: 0, text: 'a', finish: 'stop', tokens: 1, seed: 0 };
      const sampled = { prompts, candidates: await store.datasets.put([await store.objects.putRows([candidate])]) };
      const ballast = join(root(), 'ballast');
      expect(() => writeFileSync(ballast, Buffer.alloc(65_536))).toThrow('ENOSPC');
      const full = `${join(root(), 'tmp')}: ${FULL} [storage.full]`;
      expect((await problemOf(store.objects.putRows(rows('after')))).message).toBe(full);
      expect(readdirSync(join(root(), 'tmp'))).toEqual([]);
      expect(await readableStore(place()).objects.readRows(ref, Text)).toEqual(rows('before'));
      const write = await fileWriter(join(root(), 'out.jsonl'));
      expect((await problemOf(write(sampleLines(store, sampled)))).message).toBe(`${root()}: ${FULL} [storage.full]`);
      await rm(ballast);
      await store.objects.putRows(rows('after'));
    }));

  it('that is read-only is refused to writers and open to readers, whatever is in it', () =>
    within('64k', async () => {
      const remount = (how: string) => execFileSync('mount', ['-o', `remount,${how}`, root()]);
      const refused = `${root()}: the artifact root cannot be written (EROFS). Set artifactRoot in temporal.config.ts to a folder you can write. [storage.not-writable]`;
      remount('ro');
      expect(() => openStore(place())).toThrow(refused);
      const folderOf = (name: string) => join(root(), name);
      const unmade = fileSystemProblem(await problemOf(makeFolder(folderOf('a/b')))) as Error;
      expect(unmade.message).toBe(`${folderOf('a')}: ${REFUSED('EROFS')} [storage.not-writable]`);
      remount('rw');
      const store = openStore(place());
      const ref = await store.objects.putRows(rows('before'));
      remount('ro');
      expect(() => openStore(place())).toThrow(refused);
      expect(await readableStore(place()).objects.readRows(ref, Text)).toEqual(rows('before'));
      expect((await problemOf(writeWhole(folderOf('file'), 'text', folderOf('tmp')))).message).toBe(
        `${folderOf('tmp')}: ${REFUSED('EROFS')} [storage.not-writable]`,
      );
      expect(existsSync(folderOf('file'))).toBe(false);
    }));
});
