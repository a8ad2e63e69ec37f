/**
 * SrlmPlugin: puts srlm's activities into a worker of your own, beside your workflows and activities. Re-export
 * `srlm/workflows` from your workflows file, and start runs with `singleTaskQueue: true` and your task queue in the
 * config. Its names begin with `srlm`; where one of yours is the same, yours is used.
 */
import { SimplePlugin } from '@temporalio/plugin';
import type { Worker, WorkerOptions } from '@temporalio/worker';
import { cpuActivities, gpuActivities } from '../activities/index.js';
import { resolveDeployment } from '../config/load.js';
import { checkSdk } from '../config/sdk.js';
import type { DeploymentInput } from '../contracts/deployment.js';
import { makeDeps } from './workers.js';

export class SrlmPlugin extends SimplePlugin {
  /** Throws config.invalid, storage.not-writable. */
  constructor(config: DeploymentInput = {}) {
    const deps = makeDeps(resolveDeployment(config, process.cwd()));
    const ours = { ...cpuActivities(deps), ...gpuActivities(deps) };
    super({ name: 'srlm', activities: (existing) => ({ ...ours, ...existing }) });
  }

  /** Throws temporal.sdk. */
  override configureWorker(options: WorkerOptions): WorkerOptions {
    checkSdk(options);
    return super.configureWorker(options);
  }

  /** The options may have held no object of the SDK. Throws temporal.sdk. */
  override runWorker(worker: Worker, next: (worker: Worker) => Promise<void>): Promise<void> {
    checkSdk({ worker });
    return super.runWorker(worker, next);
  }
}
