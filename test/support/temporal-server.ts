/**
 * vitest's globalSetup: one real Temporal dev server for the whole test run, on free ports and a SQLite file of its
 * own, with srlm's search attributes. Tests get it by `temporalAddress()`. Where it cannot be started, only the tests
 * that ask for it fail, with the reason.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { type Embedded, startEmbedded, temporalBinary } from '../../worker/embedded.js';
import { python } from './python.js';

declare module 'vitest' {
  interface ProvidedContext {
    temporal: { address: string } | { missing: string };
  }
}

const MEMORY = '/dev/shm';

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // In memory where there is such a place: nothing of it outlives the tests, and a disk takes a third of their time.
  const folder = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), 'srlm-test-temporal-'));
  let server: Embedded | null = null;
  try {
    const [port, uiPort] = await freePorts(2);
    server = await startEmbedded({ folder, port: port!, uiPort: uiPort!, temporal: temporalBinary({ python }) });
    project.provide('temporal', { address: server.address });
  } catch (error) {
    project.provide('temporal', { missing: (error as Error).message });
  }
  return async () => {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  };
}

/** Ports that were free a moment ago, all different. */
export async function freePorts(count: number): Promise<number[]> {
  const listeners = await Promise.all(
    Array.from({ length: count }, async () => {
      const listener = createServer();
      await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
      return listener;
    }),
  );
  const ports = listeners.map((listener) => (listener.address() as { port: number }).port);
  await Promise.all(listeners.map((listener) => new Promise((resolve) => listener.close(resolve))));
  return ports;
}
