/**
 * The engines of this host, by the names that temporal.config.ts gives them.
 *
 * A new kind of engine, such as `vllm`: its settings in contracts/deployment.ts (EngineConfig), a folder here with a
 * class that implements Engine, and a line in KINDS. One that runs a server on this host puts it into `servers` and
 * loads weights through `site.hardware`, as builtin/engine.ts does; one that only calls an address is like
 * endpoint/engine.ts.
 */
import type { Deployment, EngineConfig } from '../contracts/deployment.js';
import { nameUnknown } from '../contracts/errors.js';
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
  private readonly hardware: Hardware;

  /** `store` null: engines can be described, checked and opened privately, but do no work of a run. */
  constructor(deployment: Deployment, store: Store | null) {
    const opened = () => {
      if (!store) throw new Error('this EngineHost was made without a store');
      return store;
    };
    this.hardware = new Hardware(
      () => [...this.engines.values()].flatMap(({ servers }) => servers),
      () => opened().jobs.root,
    );
    const site: EngineSite = { deployment, hardware: this.hardware, store: opened };
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

  /** Runs `work` with the hardware to itself. `job`: which training it is; callers for the same one share it. */
  withTrainer<T>(job: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return this.hardware.withTrainer(job, signal, work);
  }

  /** Stops the model servers of this host. `srlm worker` leaves them to its successor; `srlm up` stops them. */
  async stopServers(): Promise<void> {
    for (const { servers } of this.engines.values()) for (const server of servers) await server.stop();
  }
}
