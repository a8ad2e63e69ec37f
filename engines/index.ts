/**
 * What this host's hardware is doing: one tenant at a time (lease.ts), the servers it may run, and clients to them
 * and to hosted endpoints. `withModel` and `withTrainer` are the only ways in.
 */
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Model } from '../contracts/artifacts.js';
import type { Deployment } from '../contracts/deployment.js';
import { engineLacks, keyMissing, nameUnknown } from '../contracts/errors.js';
import type { ArtifactStore } from '../storage/store.js';
import { EngineClient } from './client.js';
import { Lease } from './lease.js';
import { pythonPath } from './python-environment.js';
import { ModelServer } from './server.js';
import { isTraining } from './trainer.js';

export class EngineHost {
  private readonly lease = new Lease();
  private readonly servers = new Map<string, ModelServer>();
  private readonly clients = new Map<string, EngineClient>();
  /** Tenant the servers were last made ready for, and the work of making them so. */
  private ready: { tenant: string; done: Promise<unknown> } | null = null;

  constructor(
    private readonly deployment: Deployment,
    private readonly store: ArtifactStore,
  ) {}

  /** Runs `work` with a client whose engine holds exactly these weights; `model` null: the endpoint's own. */
  async withModel<T>(
    engineName: string,
    model: Model | null,
    deterministic: boolean,
    signal: AbortSignal,
    work: (client: EngineClient) => Promise<T>,
  ): Promise<T> {
    const engine = this.deployment.engines[engineName];
    if (!engine) throw nameUnknown('engine', engineName, Object.keys(this.deployment.engines));
    if (engine.kind === 'openai') {
      if (model) throw engineLacks(engineName, 'load weights', 'the run');
      return work(this.hostedClient(engineName));
    }
    if (!model) throw engineLacks(engineName, 'answer without a model', 'sampling');
    const serverName = deterministic ? `${engineName}-deterministic` : engineName;
    const tenant = `${serverName}:${model.sha256}`;
    const release = await this.lease.acquire(tenant, signal);
    try {
      const server = this.server(serverName, engineName, deterministic);
      const { baseUrl, token } = await this.makeReady(tenant, async () => {
        const folder = await this.store.verifiedModel(model);
        // A training whose worker died goes on by itself until its run attaches to it again.
        while (await isTraining(this.store.jobFolder(''))) await sleep(1000, undefined, { signal });
        for (const [name, other] of this.servers) if (name !== serverName) await other.unload();
        const address = await server.ensure();
        await server.load(folder, model.sha256);
        return address;
      });
      try {
        return await work(this.builtinClient(engineName, model, baseUrl, token));
      } catch (error) {
        // The next holder looks at the server again: it may have died, or have been given other weights.
        if (this.ready?.tenant === tenant) this.ready = null;
        throw error;
      }
    } finally {
      release();
    }
  }

  /** Runs `work` with the hardware to itself: no server holds weights meanwhile. */
  async withTrainer<T>(job: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const release = await this.lease.acquire(`train:${job}`, signal);
    try {
      this.ready = null;
      for (const server of this.allServers()) await server.unload();
      return await work();
    } finally {
      release();
    }
  }

  /** Ends the model servers of this host. A worker that is deployed anew keeps them; a laptop that is done does not. */
  async stopServers(): Promise<void> {
    for (const server of this.allServers()) await server.stop();
  }

  /** Of every built-in engine, in both modes, running or not. */
  private allServers(): ModelServer[] {
    return Object.entries(this.deployment.engines).flatMap(([name, { kind }]) =>
      kind === 'builtin' ? [this.server(name, name, false), this.server(`${name}-deterministic`, name, true)] : [],
    );
  }

  /** Shards of one tenant share one making-ready; a failed one is tried again by the next. */
  private async makeReady(tenant: string, make: () => Promise<{ baseUrl: string; token: string }>) {
    if (this.ready?.tenant !== tenant) {
      const ready = { tenant, done: make() };
      this.ready = ready;
      ready.done.catch(() => {
        if (this.ready === ready) this.ready = null;
      });
    }
    return this.ready.done as Promise<{ baseUrl: string; token: string }>;
  }

  private server(serverName: string, engineName: string, deterministic: boolean): ModelServer {
    let server = this.servers.get(serverName);
    if (!server) {
      const engine = this.deployment.engines[engineName]!;
      if (engine.kind !== 'builtin') throw engineLacks(engineName, 'load weights', 'the run');
      server = new ModelServer({
        name: engineName,
        engine,
        deterministic,
        folder: resolve(join(this.deployment.workRoot, 'servers', serverName)),
        python: pythonPath(this.deployment),
        modelRoots: [join(this.store.root, 'models'), ...this.deployment.modelRoots.map((root) => resolve(root))],
      });
      this.servers.set(serverName, server);
    }
    return server;
  }

  private builtinClient(name: string, model: Model, baseUrl: string, token: string): EngineClient {
    const key = `${baseUrl} ${model.sha256}`;
    const engine = this.deployment.engines[name]!;
    return this.client(key, () => ({
      name,
      baseUrl: `${baseUrl}/v1`,
      apiKey: token,
      model: `srlm-${model.sha256}`,
      concurrency: engine.concurrency,
      seed: true,
      topK: true,
      builtin: true,
    }));
  }

  private hostedClient(name: string): EngineClient {
    const engine = this.deployment.engines[name]!;
    if (engine.kind !== 'openai') throw new Error(`${name} is not a hosted engine`);
    const apiKey = engine.apiKeyEnv ? process.env[engine.apiKeyEnv] : 'none';
    if (!apiKey) throw keyMissing(name, engine.apiKeyEnv!);
    return this.client(`hosted ${name}`, () => ({ ...engine, name, apiKey, builtin: false }));
  }

  private client(key: string, endpoint: () => ConstructorParameters<typeof EngineClient>[0]): EngineClient {
    let client = this.clients.get(key);
    if (!client) {
      // Clients of weights long gone are not worth keeping.
      if (this.clients.size > 16) this.clients.clear();
      client = new EngineClient(endpoint());
      this.clients.set(key, client);
    }
    return client;
  }
}
