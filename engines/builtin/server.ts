/**
 * Supervisor of the built-in model server on this host. The server is a detached process with a folder of its own
 * (token, lock, server.json, requests.jsonl, log): it outlives the worker, and the next worker finds it again.
 * Its weights are loaded and unloaded over HTTP and told by digest.
 * Throws engine.unreachable (retried), model.unusable (not).
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, fetch } from 'undici';
import { z } from 'zod';
import type { BuiltinEngine } from '../contracts/deployment.js';
import { engineUnreachable, modelUnusable } from '../contracts/errors.js';
import { readJson } from '../storage/files.js';
import { endGroup, isRunning, startDetached, tail } from './processes.js';
import { checkPython, pythonProgram } from './python-environment.js';

const ServerFile = z.object({ pid: z.int(), port: z.int(), host: z.string() });

// Importing torch takes seconds on a laptop, and minutes from a cold network disk.
const START_TIMEOUT_MS = 300_000;
/** Between taking its folder and telling its port a server does little: one that takes longer has lost its server.json. */
const TELL_PORT_MS = 20_000;
const PATIENT = new Agent({ headersTimeout: 0, bodyTimeout: 0 });

export interface ServerSettings {
  name: string;
  engine: BuiltinEngine;
  deterministic: boolean;
  folder: string;
  python: string;
  modelRoots: readonly string[];
}

export class ModelServer {
  private baseUrl: string | null = null;
  private token = '';

  constructor(private readonly settings: ServerSettings) {}

  /** Starts the server, or finds the one that lives. Returns its base URL, without /v1, and its token. */
  async ensure(): Promise<{ baseUrl: string; token: string }> {
    const { folder, name } = this.settings;
    await mkdir(folder, { recursive: true });
    this.token = await this.readToken();
    const found = await this.find();
    if (found && (await this.answers(found))) {
      this.baseUrl = found;
      return { baseUrl: found, token: this.token };
    }
    await this.stop();
    const started = await this.start();
    let heldSince = 0;
    for (const until = Date.now() + START_TIMEOUT_MS; Date.now() < until; ) {
      const baseUrl = await this.find();
      if (baseUrl && (await this.answers(baseUrl))) {
        this.baseUrl = baseUrl;
        return { baseUrl, token: this.token };
      }
      const code = await Promise.race([started.exited.then((exit) => exit ?? -1), sleep(100, 'alive' as const)]);
      if (code === 'alive') continue;
      // 3: another server holds the folder; it is found in a later turn.
      if (code !== 3) throw engineUnreachable(name, `it ended with ${code}: ${await tail(join(folder, 'log.txt'))}`);
      heldSince ||= Date.now();
      if (Date.now() > heldSince + TELL_PORT_MS) {
        await endGroup(Number(await readFile(join(folder, 'lock'), 'utf8')), folder, 10_000);
        throw engineUnreachable(name, 'another server held its folder, and nobody knew its port: it was ended');
      }
      await sleep(100);
    }
    throw engineUnreachable(name, `it did not come up in ${START_TIMEOUT_MS / 1000} s, see ${join(folder, 'log.txt')}`);
  }

  /** Has the weights with this digest loaded when it returns. */
  async load(path: string, sha256: string): Promise<void> {
    const reply = await this.call('/engine/load', { path, sha256 });
    if (reply.ok) return;
    const message = await reply.text();
    if (reply.status === 400 || reply.status === 403) throw modelUnusable(path, message);
    throw engineUnreachable(
      this.settings.name,
      `loading ${sha256.slice(0, 12)}: ${reply.status} ${message}`.slice(0, 300),
    );
  }

  /** Frees the weights; does nothing where no server runs. */
  async unload(): Promise<void> {
    const found = await this.find();
    if (!found) return;
    this.baseUrl = found;
    this.token = await this.readToken();
    await this.call('/engine/unload', {}).catch(() => {}); // A server that does not answer is ended by the next `ensure`.
  }

  async stop(): Promise<void> {
    const server = await this.readServerFile();
    if (server) await endGroup(server.pid, this.settings.folder, 10_000);
    this.baseUrl = null;
  }

  private async start() {
    const { engine, folder, python, modelRoots, deterministic } = this.settings;
    await checkPython(python);
    const args = [
      pythonProgram('server.py'),
      '--state-dir',
      folder,
      '--device',
      engine.device,
      '--dtype',
      engine.dtype,
    ];
    for (const root of modelRoots) args.push('--model-root', root);
    if (deterministic) args.push('--deterministic');
    if (engine.threads) args.push('--threads', String(engine.threads));
    if (engine.maxBatch) args.push('--max-batch', String(engine.maxBatch));
    return startDetached(python, args, { log: join(folder, 'log.txt'), env: { SRLM_ENGINE_TOKEN: this.token } });
  }

  private readServerFile() {
    return readJson(join(this.settings.folder, 'server.json'), ServerFile);
  }

  private async find(): Promise<string | null> {
    const server = await this.readServerFile();
    if (!server || !(await isRunning(server.pid, this.settings.folder))) return null;
    return `http://${server.host}:${server.port}`;
  }

  private async answers(baseUrl: string): Promise<boolean> {
    return fetch(`${baseUrl}/health`, { signal: AbortSignal.timeout(10_000) }).then(
      (reply) => reply.ok,
      () => false,
    );
  }

  private async call(path: string, body: object) {
    try {
      return await fetch(`${this.baseUrl}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${this.token}` },
        body: JSON.stringify(body),
        dispatcher: PATIENT,
      });
    } catch (error) {
      throw engineUnreachable(this.settings.name, String((error as Error).cause ?? error));
    }
  }

  /** The token is this host's own secret: made once, readable by this user alone, never in history. */
  private async readToken(): Promise<string> {
    const path = join(this.settings.folder, 'token');
    await writeFile(path, randomBytes(24).toString('hex'), { flag: 'wx', mode: 0o600 }).catch((error) => {
      if (error.code !== 'EEXIST') throw error;
    });
    await chmod(path, 0o600);
    return readFile(path, 'utf8');
  }
}
