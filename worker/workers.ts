/**
 * Workers by role: `workflow` runs the workflows, `cpu` selects, mixes and grades, `gpu` samples, computes
 * log-probabilities and trains (on the common queue, and one job at a time on this host's own queue), `all` is the three
 * in one process.
 */
import { hostname } from 'node:os';
import { Client } from '@temporalio/client';
import {
  DefaultLogger,
  NativeConnection,
  type NativeConnectionOptions,
  Runtime,
  type WorkerDeploymentOptions as VersionOptions,
  Worker,
  type WorkerOptions,
} from '@temporalio/worker';
import { type Deps, isClosed } from '../activities/activity.js';
import { cpuActivities, gpuActivities } from '../activities/index.js';
import { connectionOptions } from '../config/connection.js';
import { workflowConfigOf } from '../config/load.js';
import { checkSdk } from '../config/sdk.js';
import type { Deployment } from '../contracts/deployment.js';
import { temporalUnreachable } from '../contracts/errors.js';
import { EngineHost } from '../engines/index.js';
import { checkPython, pythonPath } from '../processes/python.js';
import { openStore } from '../storage/store.js';
import { writeNote } from '../text/terminal.js';
import { printable } from '../text/text.js';
import { endOrphans } from '../training/trainer.js';
import { workflowCode } from './workflow-code.js';

const ORPHANS_EVERY_MS = 60_000;

export const ROLES = ['all', 'workflow', 'cpu', 'gpu'] as const;
export type Role = (typeof ROLES)[number];

export interface RunningWorkers {
  /** Resolves after `stop`, rejects when a worker fails. */
  ended: Promise<void>;
  /** Interrupts the activities in progress; trainer and model server keep running for the next worker. */
  stop(): Promise<void>;
  /** After `stop`: ends the model servers too, which hold memory. A trainer keeps running. */
  stopServers(): Promise<void>;
}

/** What activities work with, made once in each worker process. Throws storage.not-writable. */
export function makeDeps(deployment: Deployment): Deps {
  const store = openStore(deployment);
  return { store, deployment, engines: new EngineHost(deployment, store) };
}

interface Site {
  deployment: Deployment;
  deps: Deps;
  common: Pick<WorkerOptions, 'connection' | 'namespace'> & Partial<WorkerOptions>;
}

/** Throws temporal.unreachable, temporal.sdk, python.missing (gpu), storage.not-writable. */
export async function startWorkers(deployment: Deployment, role: Role): Promise<RunningWorkers> {
  const is = (wanted: Role) => role === 'all' || role === wanted;
  if (is('gpu')) await checkPython(pythonPath(deployment));
  const deps = makeDeps(deployment);
  installRuntime();
  const { options, namespace, address } = connectionOptions();
  const connection = await NativeConnection.connect(options as NativeConnectionOptions).catch((error) => {
    throw temporalUnreachable(address, (error as Error).message.split('\n')[0]!);
  });
  checkSdk({ connection });
  const site: Site = {
    deployment,
    deps,
    common: {
      connection,
      namespace,
      // Shards and trainings continue with the next worker, so they need no time to end.
      shutdownGraceTime: '2 seconds',
      // The progress that `watch` shows is as old as this.
      maxHeartbeatThrottleInterval: '2 seconds',
      defaultHeartbeatThrottleInterval: '2 seconds',
    },
  };
  const workers: Worker[] = [];
  let stopSweeping = () => {};
  if (is('workflow')) workers.push(await workflowWorker(site));
  if (is('cpu')) workers.push(await cpuWorker(site));
  if (is('gpu')) {
    stopSweeping = await sweepOrphans(deps, new Client({ connection, namespace }));
    workers.push(...(await gpuWorkers(site)));
  }
  return run(workers, deps, async () => {
    stopSweeping();
    await connection.close();
  });
}

function workflowWorker({ deployment, common }: Site): Promise<Worker> {
  return Worker.create({
    ...common,
    ...versionOf(deployment, 'routed'),
    taskQueue: deployment.taskQueue,
    ...workflowCode(),
    maxCachedWorkflows: 100,
    workflowThreadPoolSize: 1,
    // A query waits for this long at a worker that was killed.
    stickyQueueScheduleToStartTimeout: '3 seconds',
  });
}

function cpuWorker({ deployment, deps, common }: Site): Promise<Worker> {
  return Worker.create({
    ...common,
    ...versionOf(deployment, 'declared'),
    taskQueue: workflowConfigOf(deployment, false).cpuQueue,
    activities: cpuActivities(deps),
    maxConcurrentActivityTaskExecutions: 4,
  });
}

function gpuWorkers({ deployment, deps, common }: Site): Promise<Worker[]> {
  const { gpuQueue } = workflowConfigOf(deployment, false);
  const gpu = { ...common, ...versionOf(deployment, 'declared'), activities: gpuActivities(deps) };
  // Many shards wait for one model at a time (engines/hardware.ts); two runs' worth of them, so that neither starves.
  const shards = 2 * deployment.shardsInFlight;
  return Promise.all([
    Worker.create({ ...gpu, taskQueue: gpuQueue, maxConcurrentActivityTaskExecutions: shards }),
    Worker.create({ ...gpu, taskQueue: `${gpuQueue}@${hostname()}`, maxConcurrentActivityTaskExecutions: 1 }),
  ]);
}

/** Ends trainers whose run is closed, now and from time to time: a run may close while no attempt has the trainer. */
async function sweepOrphans({ store }: Deps, client: Client): Promise<() => void> {
  const sweep = () => endOrphans(store.jobs.root, (execution) => isClosed(client, execution));
  await sweep();
  const timer = setInterval(() => void sweep().catch(() => {}), ORPHANS_EVERY_MS).unref();
  return () => clearInterval(timer);
}

function run(workers: readonly Worker[], deps: Deps, close: () => Promise<void>): RunningWorkers {
  const stop = () => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  const ended = Promise.allSettled(
    workers.map((worker) =>
      worker.run().catch((error) => {
        stop(); // If one worker of a process fails, the others stop too.
        throw error;
      }),
    ),
  ).then(async (all) => {
    await close();
    const failed = all.find((one) => one.status === 'rejected');
    if (failed) throw failed.reason;
  });
  return {
    ended,
    stop: async () => {
      stop();
      await ended;
    },
    stopServers: () => deps.engines.stopServers(),
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
  const { runs: _, ...version } = versioning;
  if (how === 'declared') return { workerDeploymentOptions: { version, useWorkerVersioning: false } };
  // An execution, which is a round, ends on the code it began with. With `runs: auto-upgrade` the next one moves on
  // (WorkflowConfig.upgrades).
  return { workerDeploymentOptions: { version, useWorkerVersioning: true, defaultVersioningBehavior: 'PINNED' } };
}

// --- log --------------------------------------------------------------------------------------------------------------
let isInstalled = false;

/** Temporal's runtime in this process, with a logger that writes one line a message to stderr. */
function installRuntime(): void {
  if (isInstalled) return;
  isInstalled = true;
  const logger = new DefaultLogger('WARN', ({ level, message, meta }) => {
    // There is one worker for each queue, and each has only what its queue asks for.
    if (!/^No (activities|workflows) registered/.test(message)) writeNote(logLine(level, message, meta));
  });
  Runtime.install({ logger });
}

/** Without the stack trace, which is in the history. */
function logLine(level: string, message: string, meta?: Record<string, unknown>): string {
  const error = meta?.error as Error | undefined;
  const where = [meta?.activityType, meta?.workflowId, meta?.attempt && `attempt ${meta.attempt}`]
    .filter(Boolean)
    .join(' · ');
  return `${level.toLowerCase()}: ${message}${where ? ` (${where})` : ''}${error ? `: ${printable(error.message)}` : ''}`;
}
