/** `srlm up` keeps Temporal up: a server that was killed comes back on its database, also when it cannot at once. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { afterEach, expect, it, vi } from 'vitest';
import { startEmbedded, temporalBinary } from '../../worker/embedded.js';
import { python } from '../support/python.js';
import { freePorts } from '../support/temporal-server.js';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).reverse()) await one();
});

it('a killed Temporal server is started again once the port that another program took is free', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'srlm-test-embedded-'));
  undo.push(() => rm(folder, { recursive: true, force: true }));
  const said: string[] = [];
  const stderr = vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0);
  undo.push(() => stderr.mockRestore());
  const [port, uiPort] = (await freePorts(2)) as [number, number];
  const server = await startEmbedded({ folder, port, uiPort, temporal: temporalBinary({ python }) });
  undo.push(() => server.stop());
  const pidFile = join(folder, `pid-${port}`);
  const pid = readFileSync(pidFile, 'utf8');

  process.kill(Number(pid), 'SIGKILL');
  const other = createServer();
  await vi.waitFor(() => listens(other, uiPort), { timeout: 5000 });
  await vi.waitFor(() => expect(said.join('')).toContain(`${uiPort}`), { timeout: 20_000 });
  other.close();

  await vi.waitFor(() => expect(readFileSync(pidFile, 'utf8')).not.toBe(pid), { timeout: 20_000 });
  await vi.waitFor(async () => (await Connection.connect({ address: server.address })).close(), { timeout: 20_000 });
  expect(said.filter((line) => line.includes('is gone'))).toHaveLength(1);

  await server.stop();
  await sleep(1000);
  await expect(Connection.connect({ address: server.address, connectTimeout: 500 })).rejects.toThrow();
}, 60_000);

function listens(server: ReturnType<typeof createServer>, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
}
