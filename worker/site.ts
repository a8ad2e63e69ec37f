/** A deployment, and what its activities work with: made when a worker is configured, not before, since it makes folders. */
import type { Deps } from '../activities/activity.js';
import { resolveDeployment } from '../config/load.js';
import type { Deployment, DeploymentInput } from '../contracts/deployment.js';
import { EngineHost } from '../engines/index.js';
import { openStore } from '../storage/store.js';

export class Site {
  private made: Deps | null = null;

  private constructor(readonly deployment: Deployment) {}

  /** Throws config.invalid. */
  static of(config: DeploymentInput | Site): Site {
    return config instanceof Site ? config : new Site(resolveDeployment(config, process.cwd()));
  }

  /** Throws storage.not-writable. */
  get deps(): Deps {
    if (!this.made) {
      const store = openStore(this.deployment);
      this.made = { store, deployment: this.deployment, engines: new EngineHost(this.deployment, store) };
    }
    return this.made;
  }
}
