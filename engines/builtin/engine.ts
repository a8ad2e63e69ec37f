/**
 * The built-in engine: python/server.py on this host, with the weights of the run's own models. Each engine may have
 * two servers, a fast one and one in deterministic mode; only one server of the host holds weights at a time.
 */
import { readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import pLimit, { type LimitFunction } from 'p-limit';
import type { BuiltinEngine as BuiltinConfig } from '../../contracts/deployment.js';
import { engineEndedForMemory, engineLacks, Problem } from '../../contracts/errors.js';
import type { ModelRef } from '../../contracts/refs.js';
import { endedForMemory } from '../../processes/detached.js';
import { pythonPath } from '../../processes/python.js';
import { isAlive } from '../../storage/files.js';
import type { EngineClient } from '../client.js';
import type { Capabilities, Engine, EngineCheck, EngineSite, PrivateServer } from '../engine.js';
import { BuiltinClient, modelName } from './client.js';
import { ModelServer, type ServerAddress } from './server.js';

export class BuiltinEngine implements Engine {
  readonly capabilities: Capabilities = { loadsWeights: true, promptLogprobs: true };
  private readonly fast: ModelServer;
  private readonly deterministic: ModelServer;
  private readonly limit: LimitFunction;

  constructor(
    readonly name: string,
    private readonly config: BuiltinConfig,
    private readonly site: EngineSite,
  ) {
    this.limit = pLimit(config.concurrency);
    this.fast = this.serverIn(this.folder(join('servers', name)), false);
    this.deterministic = this.serverIn(this.folder(join('servers', `${name}-deterministic`)), true);
  }

  get servers(): readonly ModelServer[] {
    return [this.fast, this.deterministic];
  }

  get quietMs(): number {
    return Math.max(...this.servers.map(({ quietMs }) => quietMs));
  }

  identity(model: ModelRef | null): string {
    return this.required(model).sha256;
  }

  money(): number {
    return 0;
  }

  async withClient<T>(
    given: ModelRef | null,
    deterministic: boolean,
    signal: AbortSignal,
    work: (client: EngineClient) => Promise<T>,
  ): Promise<T> {
    const model = this.required(given);
    const server = deterministic ? this.deterministic : this.fast;
    const tenant = `${this.name}${deterministic ? '-deterministic' : ''}:${model.sha256}`;
    const load = async (): Promise<ServerAddress> => {
      if (!this.site.store) throw new Error('this EngineHost was made without a store');
      const folder = await this.site.store.models.local(model);
      const address = await server.ensure();
      await server.load(folder, model.sha256);
      return address;
    };
    const killsBefore = await endedForMemory();
    try {
      return await this.site.hardware.withServer(tenant, server, load, signal, (address) =>
        server.during((stalled) => work(new BuiltinClient(this.name, address, model.sha256, this.limit, stalled))),
      );
    } catch (error) {
      // Whoever waits for a server that the kernel has ended sees a connection that breaks.
      const isLost = error instanceof Problem && error.type === 'engine.unreachable' && !(await server.isRunning());
      throw isLost && (await endedForMemory()) > killsBefore ? engineEndedForMemory(this.name) : error;
    }
  }

  async withPrivateClient<T>(
    model: { folder: string; sha256: string },
    signal: AbortSignal,
    work: (client: EngineClient) => Promise<T>,
  ): Promise<T> {
    return this.withPrivate(model, signal, 0, (_, address, stalled) =>
      work(new BuiltinClient(this.name, address, model.sha256, this.limit, stalled)),
    );
  }

  async withPrivateServer<T>(
    model: { folder: string; sha256: string },
    signal: AbortSignal,
    work: (server: PrivateServer) => Promise<T>,
    port = 0,
  ): Promise<T> {
    return this.withPrivate(model, signal, port, (server, { baseUrl, token }, stalled) =>
      work({
        baseUrl: `${baseUrl}/v1`,
        apiKey: token,
        model: modelName(model.sha256),
        stalled,
        isRunning: () => server.isRunning(),
      }),
    );
  }

  /** `port` 0: any that is free. */
  private async withPrivate<T>(
    { folder, sha256 }: { folder: string; sha256: string },
    signal: AbortSignal,
    port: number,
    work: (server: ModelServer, address: ServerAddress, stalled: AbortSignal) => Promise<T>,
  ): Promise<T> {
    await this.removeAbandoned();
    const state = this.folder(`${this.privatePrefix}${process.pid}`);
    const server = this.serverIn(state, false, port);
    try {
      const address = await server.ensure();
      signal.throwIfAborted();
      await server.load(folder, sha256);
      signal.throwIfAborted();
      return await server.during((stalled) => work(server, address, stalled));
    } finally {
      await server.stop();
      await rm(state, { recursive: true, force: true });
    }
  }

  async check(): Promise<EngineCheck | null> {
    return null;
  }

  async tryOut(): Promise<null> {
    return null;
  }

  private required(model: ModelRef | null): ModelRef {
    if (!model) throw engineLacks(this.name, 'answer without a model', 'sampling');
    return model;
  }

  /** Ends the private servers of processes that were killed before they could stop them. */
  private async removeAbandoned(): Promise<void> {
    const prefix = this.privatePrefix;
    for (const name of await readdir(this.folder('')).catch(() => [])) {
      const pid = name.startsWith(prefix) ? Number(name.slice(prefix.length)) : Number.NaN;
      if (!Number.isInteger(pid) || isAlive(pid)) continue;
      await this.serverIn(this.folder(name), false).stop();
      await rm(this.folder(name), { recursive: true, force: true });
    }
  }

  /** The folder of a private server begins so: the id of the process that started it follows. */
  private get privatePrefix(): string {
    return `private-${this.site.deployment.host}~`;
  }

  private serverIn(folder: string, deterministic: boolean, port = 0): ModelServer {
    const { name, config: engine } = this;
    const { deployment } = this.site;
    const modelRoots = [join(deployment.artifactRoot, 'models'), ...deployment.modelRoots].map((root) => resolve(root));
    const python = () => pythonPath(deployment);
    const { stallMinutes } = deployment;
    return new ModelServer({ name, engine, deterministic, folder, python, modelRoots, stallMinutes, port });
  }

  private folder(name: string): string {
    return resolve(this.site.deployment.workRoot, name);
  }
}
