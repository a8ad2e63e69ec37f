/**
 * Workers by role: `workflow` runs the workflows, `cpu` selects, mixes and grades, `gpu` samples, scores and trains
 * (on the common queue, and alone on this host's own queue), `all` is the three in one process.
 */

import { hostname } from 'node:os';
import { join } from 'node:path';
import { Client } from '@temporalio/client';
import {
  DefaultLogger,
  NativeConnection,
  type NativeConnectionOptions,
  Runtime,
  type WorkerDeploymentOptions as VersionOptions,
  Worker,
} from '@temporalio/worker';
import { isClosed } from '../activities/activity.js';
import { cpuActivities, gpuActivities } from '../activities/index.js';
import { connectionOptions } from '../client/connection.js';
import type { Deployment } from '../contracts/deployment.js';
import { temporalUnreachable } from '../contracts/errors.js';
import { checkPython, packageRoot, pythonPath } from '../engine/python-environment.js';
import { endOrphans } from '../engine/trainer.js';
import { operationsOf } from './config.js';
import { makeDeps } from './plugin.js';

const ORPHANS_EVERY_MS = 60_000;

export const ROLES = ['all', 'workflow', 'cpu', 'gpu'] as const;
export type Role = (typeof ROLES)[number];

const bundle = (name: string) => ({ codePath: join(packageRoot, 'dist', `${name}.js`) });

export interface RunningWorkers {
  /** Resolves after `stop`, rejects when a worker fails. */
  ended: Promise<void>;
  /** Lets activities in flight stop where they are; trainer and model server live on for the next worker. */
  stop(): Promise<void>;
  /** After `stop`: ends the model servers too, which hold memory. A trainer goes on. */
  stopServers(): Promise<void>;
}

/** Throws temporal.unreachable, python.missing (gpu), storage.not-writable. */
export async function startWorkers(deployment: Deployment, role: Role): Promise<RunningWorkers> {
  if (role === 'all' || role === 'gpu') await checkPython(pythonPath(deployment));
  const deps = makeDeps(deployment);
  installRuntime();
  const { options, namespace, address } = connectionOptions();
  const connection = await NativeConnection.connect(options as NativeConnectionOptions).catch((error) => {
    throw temporalUnreachable(address, (error as Error).message.split('\n')[0]!);
  });
  const common = {
    connection,
    namespace,
    // A shard or a training does not end in a grace time: it goes on with the next worker.
    shutdownGraceTime: '2 seconds',
    // What `watch` shows is as old as this.
    maxHeartbeatThrottleInterval: '2 seconds',
    defaultHeartbeatThrottleInterval: '2 seconds',
  } as const;
  const { cpuQueue, gpuQueue } = operationsOf(deployment, false);
  const is = (wanted: Role) => role === 'all' || role === wanted;
  const workers: Worker[] = [];
  let orphanTimer: NodeJS.Timeout | undefined;
  if (is('workflow')) {
    workers.push(
      await Worker.create({
        ...common,
        ...versionOf(deployment, 'routed'),
        taskQueue: deployment.taskQueue,
        workflowBundle: bundle(deployment.versioning ? 'versioned-workflow-bundle' : 'workflow-bundle'),
        maxCachedWorkflows: 100,
        workflowThreadPoolSize: 1,
      }),
    );
  }
  if (is('cpu')) {
    workers.push(
      await Worker.create({
        ...common,
        ...versionOf(deployment, 'declared'),
        taskQueue: cpuQueue,
        activities: cpuActivities(deps),
        maxConcurrentActivityTaskExecutions: 4,
      }),
    );
  }
  if (is('gpu')) {
    const client = new Client({ connection, namespace });
    const endOwnerless = () => endOrphans(deps.store.jobFolder(''), (run) => isClosed(client, run));
    await endOwnerless();
    // A run may also be closed while its next attempt still waits to take the trainer over.
    orphanTimer = setInterval(() => void endOwnerless().catch(() => {}), ORPHANS_EVERY_MS).unref();
    const activities = gpuActivities(deps);
    // Many shards wait for one model at a time (engine/lease.ts); two runs' worth of them, so that neither starves.
    const shards = 2 * deployment.shardsInFlight;
    const gpu = { ...common, ...versionOf(deployment, 'declared'), activities };
    workers.push(
      await Worker.create({ ...gpu, taskQueue: gpuQueue, maxConcurrentActivityTaskExecutions: shards }),
      await Worker.create({
        ...gpu,
        taskQueue: `${gpuQueue}@${hostname()}`,
        maxConcurrentActivityTaskExecutions: 1,
      }),
    );
  }
  const running = workers.map((worker) => worker.run());
  const stop = () => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  const ended = Promise.allSettled(
    running.map((one) =>
      one.catch((error) => {
        stop(); // One worker of a process does not go on without the others.
        throw error;
      }),
    ),
  ).then(async (all) => {
    clearInterval(orphanTimer);
    await connection.close();
    const failed = all.find((one) => one.status === 'rejected');
    if (failed) throw failed.reason;
  });
  return {
    ended,
    stop: async () => {
      stop();
      await ended;
    },
    stopServers: () => deps.host.stopServers(),
  };
}

/**
 * Only workflow code is routed by its version: two versions of it run side by side at little cost, while a GPU host has
 * room for one worker. Activities declare theirs for the record, and serve the workflows of every version.
 */
function versionOf(
  { versioning }: Deployment,
  how: 'routed' | 'declared',
): { workerDeploymentOptions?: VersionOptions } {
  if (!versioning) return {};
  const { runs, ...version } = versioning;
  if (how === 'declared') return { workerDeploymentOptions: { version, useWorkerVersioning: false } };
  // For what says nothing of itself: the run. Its rounds say that they stay (workflows/versioned.ts).
  const defaultVersioningBehavior = runs === 'stay' ? 'PINNED' : 'AUTO_UPGRADE';
  return { workerDeploymentOptions: { version, useWorkerVersioning: true, defaultVersioningBehavior } };
}

let installed = false;
function installRuntime(): void {
  if (installed) return;
  installed = true;
  Runtime.install({
    logger: new DefaultLogger('WARN', ({ level, message, meta }) => {
      // One worker a queue, by design: each has only what its queue asks for.
      if (!/^No (activities|workflows) registered/.test(message)) process.stderr.write(logLine(level, message, meta));
    }),
  });
}

/** One line a message: what went wrong, where. Stack traces are the history's business. */
function logLine(level: string, message: string, meta?: Record<string, unknown>): string {
  const error = meta?.error as Error | undefined;
  const where = [meta?.activityType, meta?.workflowId, meta?.attempt && `attempt ${meta.attempt}`]
    .filter(Boolean)
    .join(' · ');
  return `${level.toLowerCase()}: ${message}${where ? ` (${where})` : ''}${error ? `: ${error.message}` : ''}\n`;
}
