/** `srlm up` keeps Temporal up: it finds a running server again, and starts one that was killed on its database. */
import { chmod, mkdtemp, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { afterEach, expect, it, vi } from 'vitest';
import { endGroup, processesWith, startDetached } from '../../processes/detached.js';
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
  const [pid] = await processesWith(folder);

  process.kill(pid!, 'SIGKILL');
  const other = createServer();
  await vi.waitFor(() => listens(other, port), { timeout: 5000 });
  await vi.waitFor(() => expect(said.join('')).toContain(`${port}`), { timeout: 20_000 });
  other.close();

  await vi.waitFor(async () => expect(await processesWith(folder)).toHaveLength(1), { timeout: 20_000 });
  await vi.waitFor(async () => (await Connection.connect({ address: server.address })).close(), { timeout: 20_000 });
  expect(said.filter((line) => line.includes('is gone'))).toHaveLength(1);

  await server.stop();
  await sleep(1000);
  await expect(Connection.connect({ address: server.address, connectTimeout: 500 })).rejects.toThrow();
}, 60_000);

it('a running server is found again, whatever happened to the files beside its database', async () => {
  const { folder, port, start } = await site();
  await chmod(folder, 0o755);
  await start();
  const [pid] = await processesWith(folder);
  await writeFile(join(folder, `pid-${port}`), '');
  for (const name of await readdir(folder)) if (!name.startsWith('temporal.db')) await truncate(join(folder, name));

  await start();
  expect(await processesWith(folder)).toEqual([pid]);
  expect((await stat(folder)).mode & 0o777).toBe(0o700);
}, 60_000);

it('a server that an earlier release started open to web pages is replaced; its database is kept', async () => {
  const { folder, port, start } = await site();
  const program = temporalBinary({ python });
  const args = ['server', 'start-dev', '--ip', '127.0.0.1', '--db-filename', join(folder, 'temporal.db')];
  args.push('--port', String(port), '--headless', '--namespace', 'of-before', '--log-level', 'error');
  const { pid } = await startDetached(program, args, { log: join(folder, 'temporal.log') });
  undo.push(() => endGroup(pid, folder, 5000));
  const answers = async () => (await Connection.connect({ address: `127.0.0.1:${port}` })).close();
  await vi.waitFor(answers, { timeout: 30_000, interval: 200 });

  const server = await start();
  expect(await processesWith(folder)).not.toContain(pid);
  const connection = await Connection.connect({ address: server.address });
  undo.push(() => connection.close());
  await connection.workflowService.describeNamespace({ namespace: 'of-before' });
}, 90_000);

it('a server of the same database at another port is ended before one is started: two would share it', async () => {
  const { folder, port } = await site();
  const [other, uiPort] = (await freePorts(2)) as [number, number];
  // It stands for a server whose \`srlm up\` was killed; all that matters is its command line.
  const args = ['start-dev', '--db-filename', join(folder, 'temporal.db'), '--port', String(other)];
  const { pid } = await startDetached('sh', ['-c', 'sleep 60; :', ...args], { log: join(folder, 'log.txt') });
  undo.push(() => endGroup(pid, join(folder, 'temporal.db'), 0));
  await expect(startEmbedded({ folder, port, uiPort, temporal: '/bin/false' })).rejects.toThrow('temporal.not-started');
  expect(await processesWith(folder)).toEqual([]);
});

/** A folder and a port for a Temporal server. */
async function site() {
  const folder = await mkdtemp(join(tmpdir(), 'srlm-test-embedded-'));
  undo.push(() => rm(folder, { recursive: true, force: true }));
  const [port] = (await freePorts(1)) as [number];
  const start = async () => {
    const [uiPort] = await freePorts(1);
    const server = await startEmbedded({ folder, port, uiPort: uiPort!, temporal: temporalBinary({ python }) });
    undo.push(() => server.stop());
    return server;
  };
  return { folder, port, start };
}

function listens(server: ReturnType<typeof createServer>, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
}
