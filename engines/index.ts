/**
 * The engines of this host, by the names that temporal.config.ts gives them.
 * A kind of engine that runs a server on this host puts it into `servers` and loads weights through `site.hardware`, as
 * builtin/engine.ts does; one that only calls an address is like endpoint/engine.ts.
 */
import { basename, join } from 'node:path';
import type { Deployment, EngineConfig } from '../contracts/deployment.js';
import { nameUnknown } from '../contracts/errors.js';
import { runningJobs } from '../processes/detached.js';
import type { Store } from '../storage/store.js';
import { BuiltinEngine } from './builtin/engine.js';
import { EndpointEngine } from './endpoint/engine.js';
import type { Engine, EngineSite } from './engine.js';
import { Hardware } from './hardware.js';

type Kind = EngineConfig['kind'];
type Open<K extends Kind> = (name: string, config: Extract<EngineConfig, { kind: K }>, site: EngineSite) => Engine;

const KINDS: { [K in Kind]: Open<K> } = {
  builtin: (name, config, site) => new BuiltinEngine(name, config, site),
  endpoint: (name, config) => new EndpointEngine(name, config),
};

export class EngineHost {
  private readonly engines = new Map<string, Engine>();
  readonly hardware: Hardware;

  /** `store` null: engines can be described, checked and opened privately, but do no work of a run. */
  constructor(deployment: Deployment, store: Store | null) {
    const servers = () => [...this.engines.values()].flatMap((engine) => engine.servers);
    const jobs = store?.jobs.root ?? join(deployment.artifactRoot, 'jobs');
    const trainers = async () => (await runningJobs(jobs, deployment.host)).map(({ folder }) => basename(folder));
    this.hardware = new Hardware(servers, trainers);
    const site: EngineSite = { deployment, hardware: this.hardware, store };
    for (const [name, config] of Object.entries(deployment.engines)) {
      const open = KINDS[config.kind] as (name: string, config: EngineConfig, site: EngineSite) => Engine;
      this.engines.set(name, open(name, config, site));
    }
  }

  get names(): string[] {
    return [...this.engines.keys()];
  }

  /** Throws engine.unknown. */
  engine(name: string): Engine {
    const engine = this.engines.get(name);
    if (!engine) throw nameUnknown('engine', name, this.names);
    return engine;
  }

  /** Stops the model servers of this host. `srlm worker` leaves them to its successor; `srlm up` stops them. */
  async stopServers(): Promise<void> {
    for (const { servers } of this.engines.values()) for (const server of servers) await server.stop();
  }
}
