/** The supervisor of the model server, with real servers: they outlive their worker, and none is in the way of the next. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { type BuiltinEngine, Engine } from '../../contracts/deployment.js';
import { ModelServer } from '../../engine/server.js';
import { isAlive } from '../../storage/files.js';
import { python } from '../support/python.js';

const folder = mkdtempSync(join(tmpdir(), 'srlm-test-server-'));
const supervisor = () =>
  new ModelServer({
    name: 'local',
    engine: Engine.parse({ kind: 'builtin', device: 'cpu', threads: 1 }) as BuiltinEngine,
    deterministic: false,
    folder,
    python,
    modelRoots: [folder],
  });
const card = join(folder, 'server.json');
const pidOf = (file: string): number => JSON.parse(readFileSync(file, 'utf8')).pid;

afterAll(async () => {
  await supervisor().stop();
  rmSync(folder, { recursive: true, force: true });
});

it('a server is found again by the next worker', async () => {
  const first = await supervisor().ensure();
  const pid = pidOf(card);
  expect(await supervisor().ensure()).toEqual(first);
  expect(pidOf(card)).toBe(pid);
  expect(Number(readFileSync(join(folder, 'lock'), 'utf8'))).toBe(pid);
}, 60_000);

it('a server whose port nobody knows any more is ended, and the next attempt has one of its own', async () => {
  const lost = pidOf(card);
  rmSync(card);
  await expect(supervisor().ensure()).rejects.toMatchObject({ type: 'engine.unreachable', retry: true });
  expect(isAlive(lost)).toBe(false);
  await supervisor().ensure();
  expect(pidOf(card)).not.toBe(lost);
}, 120_000);
