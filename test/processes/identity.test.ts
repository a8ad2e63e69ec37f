/** Which process is meant: an id alone may belong to another one by now, and a part of a path to another folder. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { endedForMemory, endGroup, identityOf, isRunning, startDetached } from '../../processes/detached.js';

const folder = mkdtempSync(join(tmpdir(), 'srlm-test-identity-'));
const named = join(folder, 'local-deterministic');
let pid: number;

beforeAll(async () => {
  writeFileSync(named, '');
  ({ pid } = await startDetached('tail', ['-f', named], { log: join(folder, 'log.txt') }));
});
afterAll(async () => {
  await endGroup(pid, named, 1000);
  rmSync(folder, { recursive: true, force: true });
});

it('a process is recognised by a whole argument, and none is ended whose argument only begins with it', async () => {
  expect(await isRunning(pid, named)).toBe(true);
  for (const other of [join(folder, 'local'), folder]) {
    expect(await isRunning(pid, other)).toBe(false);
    await endGroup(pid, other, 0);
  }
  expect(await isRunning(pid, named)).toBe(true);
});

it('a process that began at another time is another one', async () => {
  const { boot, started } = await identityOf(pid);
  expect(started).not.toBe('');
  expect(await identityOf(pid)).toEqual({ boot, started });
  expect(await identityOf(process.pid)).not.toEqual({ boot, started });
});

it('what the kernel ended because memory ran out is counted where it says so', async () => {
  const vmstat = join(folder, 'vmstat');
  writeFileSync(vmstat, 'nr_free_pages 7\noom_kill 3\noom_killer 9\n');
  expect(await endedForMemory(vmstat)).toBe(3);
  expect(await endedForMemory(join(folder, 'none'))).toBe(0);
});
