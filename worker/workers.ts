/**
 * Workers by role: `workflow` runs the workflows, `cpu` selects, mixes and grades, `gpu` samples, computes
 * log-probabilities and trains, `all` is the three in one process. Each is a worker with one of the plugins
 * (worker/plugins.ts) and with what the deployment hands to Temporal's SDK.
 */
import {
  IllegalStateError,
  NativeConnection,
  type NativeConnectionOptions,
  Runtime,
  type RuntimeOptions,
  type WorkerDeploymentOptions as VersionOptions,
  Worker,
  type WorkerOptions,
  type WorkerPlugin,
} from '@temporalio/worker';
import { connectionOptions, unreachable } from '../config/connection.js';
import { workflowConfigOf } from '../config/load.js';
import type { Deployment } from '../contracts/deployment.js';
import { configInvalid } from '../contracts/errors.js';
import { workerIdentity } from '../contracts/worker-identity.js';
import { together } from './gpu-host.js';
import { logger } from './log.js';
import { SrlmCpuPlugin, SrlmGpuPlugin, SrlmPlugin, SrlmWorkflowPlugin } from './plugins.js';
import { Site } from './site.js';

export const ROLES = ['all', 'workflow', 'cpu', 'gpu'] as const;
export type Role = (typeof ROLES)[number];

export interface RunningWorkers {
  /** Resolves after `stop`, rejects when a worker fails. */
  ended: Promise<void>;
  /**
   * Current chunks are finished within the grace time, then activities in progress are interrupted; trainer and model
   * server keep running for the next worker.
   */
  stop(): Promise<void>;
  /** After `stop`: ends the model servers too, which hold memory. A trainer keeps running. */
  stopServers(): Promise<void>;
}

/** Selecting and mixing keep a core busy each. */
const CPU_SLOTS = 4;

type Part = Partial<WorkerOptions> & { taskQueue: string; plugins: [WorkerPlugin] };

/**
 * `options` are laid over those of srlm, for every worker of the process; a `connection` of the caller's is not closed.
 * Throws config.invalid, temporal.unreachable, python.missing (gpu), storage.not-writable.
 */
export async function startWorkers(
  deployment: Deployment,
  role: Role,
  options: Partial<WorkerOptions> = {},
): Promise<RunningWorkers> {
  const site = Site.of(deployment);
  const { dataConverter, interceptors, worker } = deployment;
  const { runtime, ...settings } = worker;
  const parts = partsOf(site, role, settings.tuner ?? options.tuner);
  installRuntime(runtime);
  const { namespace } = connectionOptions();
  const connection = options.connection ?? (await connect(deployment));
  const close = async () => {
    if (!options.connection) await connection.close();
  };
  const workers: Worker[] = [];
  try {
    for (const { plugins, ...part } of parts) {
      workers.push(
        await Worker.create({
          connection,
          namespace,
          ...(dataConverter ? { dataConverter } : {}),
          ...(interceptors.worker ? { interceptors: interceptors.worker } : {}),
          identity: workerIdentity(deployment),
          ...settings,
          ...part,
          ...options,
          plugins: [...(options.plugins ?? []), ...plugins],
        } as WorkerOptions),
      );
    }
  } catch (error) {
    await Promise.allSettled(workers.map(endUnused));
    await close();
    throw refusalOf(error);
  }
  const stop = () => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  const ended = together(workers).finally(close);
  return {
    ended,
    stop: async () => {
      stop();
      await ended;
    },
    stopServers: () => site.deps.engines.stopServers(),
  };
}

/** Temporal's SDK ends a worker only once it runs. */
async function endUnused(worker: Worker): Promise<void> {
  const ended = worker.run();
  worker.shutdown();
  await ended;
}

/** What the SDK does not accept: a converter that is not there, a number out of its range. */
function refusalOf(error: unknown): unknown {
  const { name, message } = error as Error;
  if (!['ValueError', 'TypeError', 'RangeError'].includes(name)) return error;
  return configInvalid('the deployment config', `Temporal's worker cannot be made (${message.split('\n')[0]}).`);
}

/** Throws config.invalid. */
function partsOf(site: Site, role: Role, tuner: WorkerOptions['tuner']): Part[] {
  const { deployment } = site;
  const { taskQueue, singleTaskQueue } = deployment;
  if (singleTaskQueue) {
    if (role === 'all') return [{ ...versionOf(deployment, 'routed'), taskQueue, plugins: [new SrlmPlugin(site)] }];
    throw configInvalid(
      'the deployment config',
      `singleTaskQueue: a worker of the role ${role} needs a queue of its own.`,
    );
  }
  const { cpuQueue, gpuQueue } = workflowConfigOf(deployment, false);
  const declared = versionOf(deployment, 'declared');
  const parts: Record<Exclude<Role, 'all'>, Part> = {
    workflow: {
      ...versionOf(deployment, 'routed'),
      taskQueue,
      maxCachedWorkflows: 100,
      workflowThreadPoolSize: 1,
      plugins: [new SrlmWorkflowPlugin(site)],
    },
    cpu: {
      ...declared,
      taskQueue: cpuQueue,
      ...(tuner ? {} : { maxConcurrentActivityTaskExecutions: CPU_SLOTS }),
      plugins: [new SrlmCpuPlugin(site)],
    },
    gpu: { ...declared, taskQueue: gpuQueue, plugins: [new SrlmGpuPlugin(site)] },
  };
  return role === 'all' ? Object.values(parts) : [parts[role]];
}

/** Temporal's SDK gives the plugins of a connection to every worker that uses it. */
async function connect({ plugins }: Deployment): Promise<NativeConnection> {
  const { options } = connectionOptions();
  const given = { ...options, plugins } as NativeConnectionOptions;
  return NativeConnection.connect(given).catch(async (error) => {
    throw await unreachable(error);
  });
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

/** Those of Temporal's SDK are for milliseconds; steps take seconds to days. */
const BUCKETS = [1, 10, 60, 600, 3600, 14_400, 86_400, 604_800];
const DURATIONS = ['srlm_step_duration', 'srlm_gpu_duration'];

/** Metrics of the deployment, with buckets for srlm's histograms where it sets none. */
function withBuckets(given: RuntimeOptions['telemetryOptions']): Pick<RuntimeOptions, 'telemetryOptions'> {
  const { metrics } = given ?? {};
  if (!metrics) return {};
  const ours = Object.fromEntries(DURATIONS.map((name) => [name, BUCKETS]));
  const bucketed = <T extends { histogramBucketOverrides?: Record<string, number[]> }>(exporter: T): T => ({
    ...exporter,
    histogramBucketOverrides: { ...ours, ...exporter.histogramBucketOverrides },
  });
  const filled =
    'prometheus' in metrics
      ? { ...metrics, prometheus: bucketed(metrics.prometheus) }
      : 'otel' in metrics
        ? { ...metrics, otel: bucketed(metrics.otel) }
        : metrics;
  return { telemetryOptions: { ...given, metrics: filled } };
}

/** Temporal's runtime of this process. One that is there already is used as it is. */
function installRuntime(options: Deployment['worker']['runtime']): void {
  try {
    Runtime.install({ logger, ...options, ...withBuckets(options?.telemetryOptions) });
  } catch (error) {
    if (!(error instanceof IllegalStateError)) throw error;
  }
}
