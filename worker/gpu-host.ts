/**
 * What a GPU worker does for its host beside its activities: a worker for the host's own queue, where a training returns
 * to its trainer; a sweep that ends trainers whose run was closed while nobody had them; and, when the worker is stopped,
 * word to the activities, of which Temporal itself interrupts those that outlast the grace time without one.
 */
import { Client } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { type Deps, isClosed } from '../activities/activity.js';
import { endOrphans } from '../training/trainer.js';

const ORPHANS_EVERY_MS = 60_000;
/** A stop is noticed so soon. */
const STATE_EVERY_MS = 100;
/**
 * Jobs of many runs wait for the hardware in their activities (engines/hardware.ts). The worker always has room for one
 * more, so that a job which no worker takes has no worker, and moves to another host.
 */
const HOST_SLOTS = 1000;

/** Runs `work` of `worker` while the host is served. When one of the two workers ends, the other one ends too. */
export async function servingHost(
  worker: Worker,
  deps: Deps,
  queue: string,
  drain: () => void,
  work: () => Promise<void>,
): Promise<void> {
  const all = [worker];
  // At once: whoever has started a worker may stop it at once, and Temporal's SDK stops only one that runs.
  const working = work();
  const watching = setInterval(() => {
    if (!all.some(isStopping)) return;
    clearInterval(watching);
    drain();
    stopAll(all);
  }, STATE_EVERY_MS).unref();
  const serving = (async () => {
    const host = await hostWorker(worker, `${queue}@${deps.deployment.host}`);
    all.push(host);
    const ended = host.run();
    if (isStopping(worker)) stopAll(all);
    const stopSweeping = sweepOrphans(deps, worker);
    await ended.finally(stopSweeping);
  })();
  const ends = [working, serving].map((one) => one.finally(() => stopAll(all)));
  await allOf(ends).finally(() => clearInterval(watching));
}

/** A worker like `worker`, whose plugins have configured it, for activities of another queue. */
function hostWorker({ options, connection }: Worker, taskQueue: string): Promise<Worker> {
  const { namespace, identity, dataConverter, interceptors, shutdownGraceTime, workerDeploymentOptions } = options;
  const { activity, client } = interceptors;
  const { maxHeartbeatThrottleInterval, defaultHeartbeatThrottleInterval } = options;
  return Worker.create({
    ...(connection ? { connection } : {}),
    ...(dataConverter ? { dataConverter } : {}),
    ...(workerDeploymentOptions && !workerDeploymentOptions.useWorkerVersioning ? { workerDeploymentOptions } : {}),
    namespace,
    identity,
    interceptors: { activity, client },
    shutdownGraceTime,
    maxHeartbeatThrottleInterval,
    defaultHeartbeatThrottleInterval,
    taskQueue,
    activities: Object.fromEntries(options.activities),
    maxConcurrentActivityTaskExecutions: HOST_SLOTS,
  });
}

/** Ends trainers whose run is closed, now and from time to time: a run may close while no attempt has the trainer. */
function sweepOrphans({ store, deployment }: Deps, { connection, options }: Worker): () => void {
  if (!connection) return () => {};
  const { namespace, dataConverter } = options;
  const client = new Client({ connection, namespace, ...(dataConverter ? { dataConverter } : {}) });
  const sweep = () => endOrphans(store.jobs.root, deployment.host, (execution) => isClosed(client, execution));
  const quietly = () => void sweep().catch(() => {});
  quietly();
  const timer = setInterval(quietly, ORPHANS_EVERY_MS).unref();
  return () => clearInterval(timer);
}

/** Runs workers until all have ended; when one ends, the others are stopped. Throws the first failure. */
export function together(workers: readonly Worker[]): Promise<void> {
  return allOf(workers.map((worker) => worker.run().finally(() => stopAll(workers))));
}

/** Waits for the end of all. Throws the first failure. */
async function allOf(work: readonly Promise<void>[]): Promise<void> {
  const all = await Promise.allSettled(work);
  const failed = all.find((one) => one.status === 'rejected');
  if (failed) throw failed.reason;
}

function stopAll(workers: readonly Worker[]): void {
  for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
}

const isStopping = (worker: Worker): boolean => !['INITIALIZED', 'RUNNING'].includes(worker.getState());
