/**
 * Supervisor of the built-in model server on this host. The server is a detached process with a folder of its own
 * (token, lock, server.json, requests.jsonl, log.txt), open to this user only: it outlives the worker, and the next worker
 * finds it again.
 * Weights are loaded and unloaded over HTTP and identified by their digest.
 * Throws engine.unreachable, engine.stalled (retried), port.taken, python.missing, model.unusable, storage.full,
 * storage.no-locks (not).
 */
import { randomBytes } from 'node:crypto';
import { chmod, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fetch } from 'undici';
import { z } from 'zod';
import type { BuiltinEngine as BuiltinConfig } from '../../contracts/deployment.js';
import {
  engineStalled,
  engineUnreachable,
  modelUnusable,
  noFileLocks,
  Problem,
  portTaken,
  storageFull,
} from '../../contracts/errors.js';
import { endGroup, isRunning, startDetached } from '../../processes/detached.js';
import { checkPython, pythonProgram } from '../../processes/python.js';
import { makeFolder, nullIfMissing, readJson, sweep, writeWhole, writeWholeNew } from '../../storage/files.js';
import type { WeightServer } from '../hardware.js';
import { HttpError, postJson } from '../http.js';
import { type Look, ServerWatch } from './watch.js';

const ServerFile = z.object({ pid: z.int().min(1), port: z.int().min(1).max(65_535), host: z.literal('127.0.0.1') });
const Health = z.object({ working: z.boolean(), progress: z.string() });
/** A file that says something else was torn by a crash. */
const TOKEN = /^[0-9a-f]{48}$/;

// Importing torch takes seconds on a laptop, and minutes from a cold network disk.
const START_TIMEOUT_MS = 300_000;
/** A server that has held its lock this long without a server.json has lost that file, and nobody can find its port. */
const PORT_TIMEOUT_MS = 20_000;
const STOP_GRACE_MS = 10_000;
/** It has nothing to save, and SIGTERM does not reach a process that is frozen. */
const STALLED_GRACE_MS = 2000;
const HEALTH_MS = 10_000;
/** Loading takes as long as it takes while it makes progress, and is tried again by whoever asked for it. */
const ONCE = { retries: 0, timeoutMs: 0 };
/** For the exit code of a process that a signal ended. */
const KILLED = -1;
/** Exit codes of server.py. */
const EXIT = { folderHeld: 3, diskFull: 5, noLocks: 6, portTaken: 8 } as const;

interface ServerSettings {
  /** The engine's name in temporal.config.ts, for messages. */
  name: string;
  engine: BuiltinConfig;
  deterministic: boolean;
  folder: string;
  /** Asked when a server is started: the environment may be made after this worker. */
  python: () => string;
  modelRoots: readonly string[];
  stallMinutes: number;
  /** Default: any that is free. */
  port?: number;
}

/** Where a server listens, without /v1, and the token it asks for. */
export interface ServerAddress {
  baseUrl: string;
  token: string;
}

export class ModelServer implements WeightServer {
  private token = '';
  /** The process started last, which may not have written its server.json yet. */
  private started: number | null = null;
  private readonly watch: ServerWatch;
  /** Settled once a server that was given up has ended. */
  private ending: Promise<void> | null = null;

  constructor(private readonly settings: ServerSettings) {
    const { name, stallMinutes } = settings;
    this.watch = new ServerWatch(
      stallMinutes * 60_000,
      (withinMs) => this.look(withinMs),
      () => {
        this.ending = this.stop(STALLED_GRACE_MS).catch(() => {});
        return engineStalled(name, stallMinutes);
      },
    );
  }

  /** How long it has made no progress although somebody works with it. */
  get quietMs(): number {
    return this.watch.quietMs;
  }

  /** Runs `work` with it. `stalled` aborts with engine.stalled once it has made no progress for too long. */
  during<T>(work: (stalled: AbortSignal) => Promise<T>): Promise<T> {
    return this.watch.during(work);
  }

  /** Finds the server that is running, or starts one. */
  async ensure(): Promise<ServerAddress> {
    const { folder } = this.settings;
    await this.ending;
    await makeFolder(folder);
    await chmod(folder, 0o700);
    this.token = await this.readToken();
    const found = await this.findAnswering();
    if (found) return found;
    await this.stop();
    return this.start();
  }

  /** When it returns, the weights with this digest are loaded. */
  async load(path: string, sha256: string): Promise<void> {
    const { name } = this.settings;
    const baseUrl = await this.find();
    if (!baseUrl) throw engineUnreachable(name, 'its process is gone');
    try {
      await this.during((stalled) => this.post(baseUrl, '/engine/load', { path, sha256 }, stalled));
    } catch (error) {
      if (error instanceof Problem) throw error;
      if (!(error instanceof HttpError)) throw engineUnreachable(name, (error as Error).message);
      const { status, type, message } = error;
      if (type === 'out_of_memory')
        throw modelUnusable(
          path,
          `memory ran out while it was loaded: ${message}`,
          'Free memory, or use a smaller model.',
        );
      if (status === 400 || status === 403) throw modelUnusable(path, message);
      throw engineUnreachable(name, `loading ${sha256.slice(0, 12)}: ${status} ${message}`.slice(0, 300));
    }
  }

  async unload(): Promise<void> {
    if (!(await this.isRunning())) return;
    this.token = await this.readToken();
    const found = await this.findAnswering();
    const post = (stalled: AbortSignal) => this.post(found!.baseUrl, '/engine/unload', {}, stalled);
    // One that does not answer would keep the memory: it is ended, as `ensure` does.
    if (!found || !(await this.during(post).catch(() => null))) await this.stop();
  }

  async stop(graceMs = STOP_GRACE_MS): Promise<void> {
    const server = await this.readServerFile();
    for (const pid of new Set([server?.pid, this.started])) if (pid) await endGroup(pid, this.settings.folder, graceMs);
  }

  async isRunning(): Promise<boolean> {
    return (await this.find()) !== null;
  }

  private async start(): Promise<ServerAddress> {
    const { folder, name, port = 0 } = this.settings;
    const log = join(folder, 'log.txt');
    const { pid, exited, said } = await this.spawn(log);
    this.started = pid;
    let heldSince = 0;
    for (const until = performance.now() + START_TIMEOUT_MS; performance.now() < until; ) {
      const found = await this.findAnswering();
      if (found) return found;
      const code = await Promise.race([exited.then((exit) => exit ?? KILLED), sleep(100, 'alive' as const)]);
      if (code === 'alive') continue;
      if (code === EXIT.diskFull) throw storageFull(folder);
      if (code === EXIT.portTaken) throw portTaken(port, '--port');
      if (code === EXIT.noLocks) throw noFileLocks(folder, 'workRoot');
      if (code === KILLED) throw engineUnreachable(name, 'it was killed');
      if (code !== EXIT.folderHeld) throw engineUnreachable(name, `it ended with ${code}: ${await said()}`);
      // The server that holds the folder may write its server.json at any moment, and is then found.
      heldSince ||= performance.now();
      if (performance.now() > heldSince + PORT_TIMEOUT_MS) {
        const holder = Number(/^[1-9]\d*$/.exec(await readFile(join(folder, 'lock'), 'utf8'))?.[0] ?? 0);
        if (holder === 0 || !(await isRunning(holder, folder)))
          throw engineUnreachable(
            name,
            `${folder} is held by a server of another host; each needs a workRoot of its own`,
          );
        await endGroup(holder, folder, STOP_GRACE_MS);
        throw engineUnreachable(name, 'another server held its folder without a server.json, and was ended');
      }
      await sleep(100);
    }
    await endGroup(pid, folder, STALLED_GRACE_MS);
    throw engineUnreachable(name, `it did not start in ${START_TIMEOUT_MS / 1000} s, see ${log}`);
  }

  private async spawn(log: string) {
    const { engine, folder, modelRoots, deterministic, port } = this.settings;
    const python = this.settings.python();
    await checkPython(python);
    const { device, dtype, threads, maxBatch } = engine;
    const args = [pythonProgram('server.py'), '--state-dir', folder, '--device', device, '--dtype', dtype];
    for (const root of modelRoots) args.push('--model-root', root);
    if (deterministic) args.push('--deterministic');
    if (threads) args.push('--threads', String(threads));
    if (port) args.push('--port', String(port));
    if (maxBatch) args.push('--max-batch', String(maxBatch));
    return startDetached(python, args, { log, env: { SRLM_ENGINE_TOKEN: this.token } });
  }

  private readServerFile() {
    return readJson(join(this.settings.folder, 'server.json'), ServerFile);
  }

  /** The address of the server whose process is alive. */
  private async find(): Promise<string | null> {
    const server = await this.readServerFile();
    if (!server || !(await isRunning(server.pid, this.settings.folder))) return null;
    return `http://${server.host}:${server.port}`;
  }

  /** Null also for a server that was started with another token. */
  private async findAnswering(): Promise<ServerAddress | null> {
    const baseUrl = await this.find();
    if (!baseUrl) return null;
    const answers = await this.askHealth(baseUrl, HEALTH_MS).then(
      (reply) => reply.ok,
      () => false,
    );
    return answers ? { baseUrl, token: this.token } : null;
  }

  private async look(withinMs: number): Promise<Look> {
    const baseUrl = await this.find();
    // Nobody waits for a process that is gone: its connections have ended with it.
    if (!baseUrl) return 'at rest';
    const reply = await this.askHealth(baseUrl, withinMs);
    // A proxy, or the server of an earlier release, answers something else.
    const health = Health.safeParse(await reply.json().catch(() => null)).data;
    return health?.working ? { progress: health.progress } : 'at rest';
  }

  private askHealth(baseUrl: string, withinMs: number) {
    return fetch(`${baseUrl}/health`, { headers: this.headers, signal: AbortSignal.timeout(withinMs) });
  }

  private get headers() {
    return { authorization: `Bearer ${this.token}` };
  }

  private post(baseUrl: string, path: string, body: object, signal: AbortSignal): Promise<unknown> {
    return postJson(new URL(baseUrl + path), { body, headers: this.headers }, ONCE, signal);
  }

  /** The token is a secret of this host: made once, in a folder of this user only, never in a history. */
  private async readToken(): Promise<string> {
    const { folder } = this.settings;
    const path = join(folder, 'token');
    const present = await readFile(path, 'utf8').catch(nullIfMissing);
    if (present !== null && TOKEN.test(present)) return present;
    const made = randomBytes(24).toString('hex');
    // When two processes make one at once, the first one's counts. What is torn is replaced.
    if (present === null) await writeWholeNew(path, made, folder);
    else await writeWhole(path, made, folder);
    await chmod(path, 0o600);
    sweep(folder);
    return readFile(path, 'utf8');
  }
}
