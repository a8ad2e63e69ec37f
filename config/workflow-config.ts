/** What workflow code must know of the deployment: it travels in a run's input. */
import type { Deployment, WorkflowConfig } from '../contracts/deployment.js';

/** `searchAttributes`: the namespace knows them (config/search-attributes.ts). */
export function workflowConfigOf(deployment: Deployment, searchAttributes: boolean): WorkflowConfig {
  const { taskQueue, singleTaskQueue, heartbeatSeconds, shardsInFlight, maxAttempts, versioning } = deployment;
  return {
    cpuQueue: singleTaskQueue ? taskQueue : `${taskQueue}-cpu`,
    gpuQueue: singleTaskQueue ? taskQueue : `${taskQueue}-gpu`,
    hostQueues: !singleTaskQueue,
    heartbeatSeconds,
    shardsInFlight,
    maxAttempts,
    searchAttributes,
    upgrades: versioning?.runs === 'auto-upgrade',
  };
}
