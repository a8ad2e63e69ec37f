/**
 * Plugins for Temporal workers, from which `srlm worker` itself is built. Each puts its share of srlm into a worker,
 * beside whatever else the worker has: names begin with `srlm`, and where one of the user's is the same, the user's is
 * used. A constructor checks the config and touches nothing else; folders are made when a worker is configured.
 *   SrlmWorkflowPlugin  the workflows, on the queue `taskQueue`
 *   SrlmCpuPlugin       activities that select, mix and grade, on `taskQueue-cpu`
 *   SrlmGpuPlugin       activities that sample, score and train, on `taskQueue-gpu` and on this host's own queue
 *   SrlmPlugin          the three, in one worker (`singleTaskQueue: true`)
 * Throw config.invalid; configured: storage.not-writable, python.missing, gpu.taken.
 */
import { join } from 'node:path';
import type { ReplayWorkerOptions, Worker, WorkerOptions, WorkerPlugin } from '@temporalio/worker';
import { cpuActivities, gpuActivities } from '../activities/index.js';
import { workflowConfigOf } from '../config/load.js';
import type { DeploymentInput } from '../contracts/deployment.js';
import { configInvalid, gpuTaken } from '../contracts/errors.js';
import { checkPython, packageRoot, pythonPath } from '../processes/python.js';
import { servingHost } from './gpu-host.js';
import { type GpuLock, lockGpu } from './gpu-lock.js';
import { Site } from './site.js';

/**
 * The workflows, for a worker that has none of its own. One that has bundles both: its workflows file re-exports
 * `srlm/workflows`.
 */
export class SrlmWorkflowPlugin implements WorkerPlugin {
  readonly name = 'srlm-workflow';
  private readonly site: Site;

  constructor(config: DeploymentInput | Site = {}) {
    this.site = Site.of(config);
  }

  configureWorker(options: WorkerOptions): WorkerOptions {
    assertQueue(options, this.site.deployment.taskQueue);
    return {
      // A query waits for this long at a worker that was killed.
      stickyQueueScheduleToStartTimeout: '3 seconds',
      ...options,
      ...workflowCode(options),
    };
  }

  configureReplayWorker(options: ReplayWorkerOptions): ReplayWorkerOptions {
    return { ...options, ...workflowCode(options) };
  }
}

export class SrlmCpuPlugin implements WorkerPlugin {
  readonly name = 'srlm-cpu';
  private readonly site: Site;

  constructor(config: DeploymentInput | Site = {}) {
    this.site = Site.of(config);
  }

  configureWorker(options: WorkerOptions): WorkerOptions {
    assertQueue(options, workflowConfigOf(this.site.deployment, false).cpuQueue);
    return { ...options, activities: { ...cpuActivities(this.site.deps), ...options.activities } };
  }
}

export class SrlmGpuPlugin implements WorkerPlugin {
  readonly name = 'srlm-gpu';
  private readonly site: Site;
  /** From when a worker is configured until its run ends. */
  private lock: GpuLock | null = null;
  private isRunning = false;

  constructor(config: DeploymentInput | Site = {}) {
    this.site = Site.of(config);
  }

  async configureWorker(options: WorkerOptions): Promise<WorkerOptions> {
    const { deployment, deps } = this.site;
    assertQueue(options, this.queue);
    await checkPython(pythonPath(deployment));
    this.lock ??= await lockGpu(deployment);
    // Many shards wait for one model at a time (engines/hardware.ts); two runs' worth of them, so that neither starves.
    const slots = { maxConcurrentActivityTaskExecutions: 2 * deployment.shardsInFlight };
    return {
      ...(options.tuner ? {} : slots),
      ...options,
      activities: { ...gpuActivities(deps), ...options.activities },
    };
  }

  async runWorker(worker: Worker, next: (worker: Worker) => Promise<void>): Promise<void> {
    if (this.isRunning) throw gpuTaken(process.pid, 'this plugin');
    this.isRunning = true;
    const { site, queue } = this;
    site.undrain();
    try {
      const drain = () => site.drain();
      await servingHost(worker, site.deps, queue, drain, () => next(worker));
    } finally {
      this.isRunning = false;
      await this.lock?.release();
      this.lock = null;
    }
  }

  private get queue(): string {
    return workflowConfigOf(this.site.deployment, false).gpuQueue;
  }
}

export class SrlmPlugin implements WorkerPlugin {
  readonly name = 'srlm';
  private readonly workflow: SrlmWorkflowPlugin;
  private readonly cpu: SrlmCpuPlugin;
  private readonly gpu: SrlmGpuPlugin;

  constructor(config: DeploymentInput | Site = {}) {
    const site = Site.of(config);
    this.workflow = new SrlmWorkflowPlugin(site);
    this.cpu = new SrlmCpuPlugin(site);
    this.gpu = new SrlmGpuPlugin(site);
  }

  configureWorker(options: WorkerOptions): Promise<WorkerOptions> {
    return this.gpu.configureWorker(this.cpu.configureWorker(this.workflow.configureWorker(options)));
  }

  configureReplayWorker(options: ReplayWorkerOptions): ReplayWorkerOptions {
    return this.workflow.configureReplayWorker(options);
  }

  runWorker(worker: Worker, next: (worker: Worker) => Promise<void>): Promise<void> {
    return this.gpu.runWorker(worker, next);
  }
}

/** Work would wait for ever on a queue that nobody polls. */
function assertQueue({ taskQueue }: WorkerOptions, wanted: string): void {
  if (taskQueue === wanted) return;
  const why = `the worker polls the queue ${JSON.stringify(taskQueue)}, and this work is sent to ${JSON.stringify(wanted)}; one worker that does all needs singleTaskQueue: true.`;
  throw configInvalid('the config of the plugin', `taskQueue: ${why}`);
}

type Code = Pick<WorkerOptions, 'workflowsPath' | 'workflowBundle'>;

/** Bundled with the package, unless something of the worker has to be part of the bundle. */
function workflowCode(options: Pick<WorkerOptions, keyof Code | 'dataConverter' | 'interceptors' | 'plugins'>): Code {
  const { workflowsPath, workflowBundle, dataConverter, interceptors, plugins = [] } = options;
  if (workflowsPath || workflowBundle) return {};
  const isPart =
    dataConverter?.payloadConverterPath ||
    dataConverter?.failureConverterPath ||
    interceptors?.workflowModules?.length ||
    plugins.some((plugin) => !OURS.some((kind) => plugin instanceof kind));
  if (isPart) return { workflowsPath: join(packageRoot, 'dist', 'workflows', 'index.js') };
  return { workflowBundle: { codePath: join(packageRoot, 'dist', 'workflow-bundle.js') } };
}

const OURS = [SrlmWorkflowPlugin, SrlmCpuPlugin, SrlmGpuPlugin, SrlmPlugin];
