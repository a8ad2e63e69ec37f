/** What activities work with, made once in each worker process. */
import type { Deps } from '../activities/activity.js';
import type { Deployment } from '../contracts/deployment.js';
import { EngineHost } from '../engines/index.js';
import { openStore } from '../storage/store.js';

/** Throws storage.not-writable. */
export function makeDeps(deployment: Deployment): Deps {
  const store = openStore(deployment);
  return { store, deployment, engines: new EngineHost(deployment, store) };
}
