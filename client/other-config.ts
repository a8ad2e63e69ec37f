/**
 * Workers that were started with another deployment config than the client has: a run would park at what they do not know
 * yet. Says nothing of what it does not know: a worker with an identity of its user's, or one that does not poll now.
 */
import { hostname } from 'node:os';
import type { Client } from '@temporalio/client';
import { optionalTsToMs } from '@temporalio/common/lib/time.js';
import type { Deployment } from '../contracts/deployment.js';
import { configDigests, readIdentity } from '../contracts/worker-identity.js';
import { isAlive } from '../storage/files.js';
import { printable } from '../text/text.js';
import { QUEUE_TYPES, queuesOf } from './diagnosis.js';

/** An idle worker polls at least once a minute; one that has gone is listed for longer. */
const POLLED_MS = 90_000;

/** A sentence for each of them. */
export async function otherConfigs(client: Client, deployment: Deployment): Promise<string[]> {
  const own = configDigests(deployment);
  const identities = await Promise.all(queuesOf(deployment).map((queue) => pollersOf(client, queue)));
  const others = [...new Set(identities.flat())].map(readIdentity).filter((found) => {
    if (!found) return false;
    const { pid, host, config } = found;
    // Folders may be mounted at different places on different hosts.
    if (host !== hostname()) return config.shared !== own.shared;
    return config.local !== own.local && isAlive(pid);
  });
  return others.map((found) => otherConfigText(found!.name));
}

export const otherConfigText = (worker: string): string =>
  `worker ${printable(worker)} was started with another temporal.config than the one here; start it again, or a run may park at what it does not know`;

async function pollersOf({ workflowService, options }: Client, { name, role }: ReturnType<typeof queuesOf>[number]) {
  try {
    const request = { namespace: options.namespace, taskQueue: { name }, taskQueueType: QUEUE_TYPES[role] };
    const { pollers } = await workflowService.describeTaskQueue(request);
    return (pollers ?? [])
      .filter(({ lastAccessTime }) => Date.now() - (optionalTsToMs(lastAccessTime) ?? 0) < POLLED_MS)
      .map(({ identity }) => identity ?? '');
  } catch {
    return [];
  }
}
