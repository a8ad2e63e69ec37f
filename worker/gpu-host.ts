/**
 * What a GPU worker does for its host beside its activities: a worker for the host's own queue, where a training returns
 * to its trainer, and a sweep that ends trainers whose run was closed while nobody had them.
 */
import { Client } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { type Deps, HOST, isClosed } from '../activities/activity.js';
import { endOrphans } from '../training/trainer.js';

const ORPHANS_EVERY_MS = 60_000;

/** Runs `work` of `worker` while the host is served. When one of the two workers ends, the other one ends too. */
export async function servingHost(worker: Worker, deps: Deps, queue: string, work: () => Promise<void>): Promise<void> {
  const stopSweeping = await sweepOrphans(deps, worker);
  try {
    const host = await hostWorker(worker, `${queue}@${HOST}`);
    await together([
      { worker, run: work },
      { worker: host, run: () => host.run() },
    ]);
  } finally {
    stopSweeping();
  }
}

/** A worker like `worker`, whose plugins have configured it, for activities of another queue. One job runs at a time. */
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
    maxConcurrentActivityTaskExecutions: 1,
  });
}

/** Ends trainers whose run is closed, now and from time to time: a run may close while no attempt has the trainer. */
async function sweepOrphans({ store }: Deps, { connection, options }: Worker): Promise<() => void> {
  if (!connection) return () => {};
  const { namespace, dataConverter } = options;
  const client = new Client({ connection, namespace, ...(dataConverter ? { dataConverter } : {}) });
  const sweep = () => endOrphans(store.jobs.root, (execution) => isClosed(client, execution));
  await sweep();
  const timer = setInterval(() => void sweep().catch(() => {}), ORPHANS_EVERY_MS).unref();
  return () => clearInterval(timer);
}

/** Runs workers until all have ended; when one ends, the others are stopped. Throws the first failure. */
export async function together(parts: readonly { worker: Worker; run: () => Promise<void> }[]): Promise<void> {
  const stop = () => {
    for (const { worker } of parts) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  const all = await Promise.allSettled(parts.map(({ run }) => run().finally(stop)));
  const failed = all.find((one) => one.status === 'rejected');
  if (failed) throw failed.reason;
}
