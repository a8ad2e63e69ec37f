/** A deployment, and what its activities work with: made when a worker is configured, not before, since it makes folders. */
import { setMaxListeners } from 'node:events';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import type { Deps } from '../activities/activity.js';
import { resolveDeployment } from '../config/load.js';
import type { Deployment, DeploymentInput } from '../contracts/deployment.js';
import { EngineHost } from '../engines/index.js';
import { openStore } from '../storage/store.js';

export class Site {
  private made: Deps | null = null;
  private stopping = stopController();

  private constructor(readonly deployment: Deployment) {}

  /** Throws config.invalid. */
  static of(config: DeploymentInput | Site): Site {
    return config instanceof Site ? config : new Site(resolveDeployment(config, process.cwd()));
  }

  /** Throws storage.not-writable. */
  get deps(): Deps {
    if (!this.made) {
      const store = openStore(this.deployment);
      const { deployment } = this;
      const signal = () => this.stopping.signal;
      this.made = {
        ...{ store, deployment, engines: new EngineHost(deployment, store) },
        get draining() {
          return signal();
        },
      };
    }
    return this.made;
  }

  /** The worker is stopped: its activities hand over what they can. */
  drain(): void {
    // Temporal's SDK says the same to an activity that it interrupts.
    const [message, type, category] = ['WORKER_SHUTDOWN', 'CancelledFailure', ApplicationFailureCategory.BENIGN];
    this.stopping.abort(ApplicationFailure.create({ message, type, category }));
  }

  /** For another worker after one that was stopped. */
  undrain(): void {
    this.stopping = stopController();
  }
}

function stopController(): AbortController {
  const made = new AbortController();
  // Each shard in progress listens; Node's warning of a leak is meant for something else.
  setMaxListeners(0, made.signal);
  return made;
}
