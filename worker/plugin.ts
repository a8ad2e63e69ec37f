/**
 * SrlmPlugin: puts srlm's activities into a worker of your own, beside your workflows and activities. Re-export
 * `srlm/workflows` from your workflows file, and start runs with `oneQueue: true` and your task queue in the config.
 * Its names begin with `srlm`; where one of yours is the same, yours stays.
 */
import { SimplePlugin } from '@temporalio/plugin';
import type { Deps } from '../activities/activity.js';
import { cpuActivities, gpuActivities } from '../activities/index.js';
import type { Deployment, DeploymentInput } from '../contracts/deployment.js';
import { EngineHost } from '../engine/host.js';
import { ArtifactStore } from '../storage/store.js';
import { resolveDeployment } from './config.js';

export class SrlmPlugin extends SimplePlugin {
  /** Throws config.invalid, storage.not-writable. */
  constructor(config: DeploymentInput = {}) {
    const deps = makeDeps(resolveDeployment(config, process.cwd()));
    const ours = { ...cpuActivities(deps), ...gpuActivities(deps) };
    super({ name: 'srlm', activities: (existing) => ({ ...ours, ...existing }) });
  }
}

export function makeDeps(deployment: Deployment): Deps {
  const store = ArtifactStore.open(deployment.artifactRoot);
  return { store, deployment, host: new EngineHost(deployment, store) };
}
