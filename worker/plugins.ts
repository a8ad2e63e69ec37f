/**
 * Plugins for Temporal workers, from which `srlm worker` itself is built. Each puts its share of srlm into a worker,
 * beside whatever else the worker has: names begin with `srlm`, and where one of the user's is the same, the user's is
 * used. A constructor checks the config and touches nothing else; folders are made when a worker is configured.
 *   SrlmWorkflowPlugin  the workflows, on the queue `taskQueue`
 *   SrlmCpuPlugin       activities that select, mix and grade, on `taskQueue-cpu`
 *   SrlmGpuPlugin       activities that sample, score and train, on `taskQueue-gpu` and on this host's own queue
 *   SrlmPlugin          the three, in one worker (`singleTaskQueue: true`)
 * Throw config.invalid; configured: temporal.sdk, storage.not-writable, python.missing, gpu.taken.
 */
import type { ReplayWorkerOptions, Worker, WorkerOptions, WorkerPlugin } from '@temporalio/worker';
import { cpuActivities, gpuActivities } from '../activities/index.js';
import { workflowConfigOf } from '../config/load.js';
import { checkSdk } from '../config/sdk.js';
import type { DeploymentInput } from '../contracts/deployment.js';
import { configInvalid, gpuTakenHere } from '../contracts/errors.js';
import { checkPython, pythonPath } from '../processes/python.js';
import { servingHost } from './gpu-host.js';
import { type GpuLock, lockGpu } from './gpu-lock.js';
import { Site } from './site.js';
import { workflowCode } from './workflow-code.js';

/**
 * Enough for most chunks. What takes longer is interrupted, and continues with the next worker. Kubernetes ends a process
 * 30 seconds after it has asked it to stop.
 */
const GRACE_TIME = '25 seconds';

abstract class SitePlugin implements WorkerPlugin {
  abstract readonly name: string;
  protected readonly site: Site;

  constructor(config: DeploymentInput | Site = {}) {
    this.site = Site.of(config);
  }

  /** The options may have held no object of the SDK. Throws temporal.sdk. */
  runWorker(worker: Worker, next: (worker: Worker) => Promise<void>): Promise<void> {
    checkSdk({ worker });
    return next(worker);
  }
}

/**
 * The workflows, for a worker that has none of its own. One that has bundles both: its workflows file re-exports
 * `srlm/workflows`.
 */
export class SrlmWorkflowPlugin extends SitePlugin {
  readonly name = 'srlm-workflow';

  configureWorker(options: WorkerOptions): WorkerOptions {
    assertFits(options, this.site.deployment.taskQueue);
    return {
      // A query waits for this long at a worker that was killed.
      stickyQueueScheduleToStartTimeout: '3 seconds',
      ...options,
      ...code(options),
    };
  }

  configureReplayWorker(options: ReplayWorkerOptions): ReplayWorkerOptions {
    return { ...options, ...code(options) };
  }
}

export class SrlmCpuPlugin extends SitePlugin {
  readonly name = 'srlm-cpu';

  configureWorker(options: WorkerOptions): WorkerOptions {
    assertFits(options, workflowConfigOf(this.site.deployment, false).cpuQueue);
    return {
      shutdownGraceTime: GRACE_TIME,
      ...options,
      activities: { ...cpuActivities(this.site.deps), ...options.activities },
    };
  }
}

/** Those that hold the GPU for a worker that does not run yet. */
const IDLE = new Set<SrlmGpuPlugin>();

export class SrlmGpuPlugin extends SitePlugin {
  readonly name = 'srlm-gpu';
  /** From when a worker is configured until its run ends. */
  private lock: GpuLock | null = null;
  private isRunning = false;

  async configureWorker(options: WorkerOptions): Promise<WorkerOptions> {
    const { deployment, deps } = this.site;
    assertFits(options, this.queue);
    if (this.computes) {
      await checkPython(pythonPath(deployment));
      await this.takeLock();
    }
    // Many shards wait for one model at a time (engines/hardware.ts); two runs' worth of them, so that neither starves.
    const slots = { maxConcurrentActivityTaskExecutions: 2 * deployment.shardsInFlight };
    return {
      ...(options.tuner ? {} : slots),
      shutdownGraceTime: GRACE_TIME,
      ...options,
      activities: { ...gpuActivities(deps), ...options.activities },
    };
  }

  override runWorker(worker: Worker, next: (worker: Worker) => Promise<void>): Promise<void> {
    return super.runWorker(worker, () => this.serve(worker, () => next(worker)));
  }

  /** A worker of this process that was not created after all, or not run, does not keep others from the GPU. */
  private async takeLock(): Promise<void> {
    const { deployment } = this.site;
    for (const other of IDLE)
      if (other !== this && other.site.deployment.workRoot === deployment.workRoot) await other.release();
    this.lock ??= await lockGpu(deployment);
    if (!this.isRunning) IDLE.add(this);
  }

  private async release(): Promise<void> {
    IDLE.delete(this);
    await this.lock?.release();
    this.lock = null;
  }

  private async serve(worker: Worker, work: () => Promise<void>): Promise<void> {
    if (this.isRunning || (this.computes && !this.lock)) throw gpuTakenHere('this workRoot');
    this.isRunning = true;
    IDLE.delete(this);
    const { site, queue } = this;
    site.undrain();
    try {
      const drain = () => site.drain();
      await servingHost(worker, site.deps, queue, drain, work);
    } finally {
      this.isRunning = false;
      await this.release();
    }
  }

  /** Without an engine that loads weights, nothing is computed here. */
  private get computes(): boolean {
    return Object.values(this.site.deployment.engines).some(({ kind }) => kind === 'builtin');
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

/** With a second copy of the SDK, and on a queue that nobody polls, work would wait for ever. */
function assertFits(options: WorkerOptions, wanted: string): void {
  checkSdk(options);
  const { taskQueue } = options;
  if (taskQueue === wanted) return;
  const why = `the worker polls the queue ${JSON.stringify(taskQueue)}, and this work is sent to ${JSON.stringify(wanted)}; one worker that does all needs singleTaskQueue: true.`;
  throw configInvalid('the deployment config', `taskQueue: ${why}`);
}

/** Temporal's SDK adds what a plugin brings when it bundles. */
const code = (
  options: Pick<WorkerOptions, 'workflowsPath' | 'workflowBundle' | 'dataConverter' | 'interceptors' | 'plugins'>,
) =>
  workflowCode(
    options,
    (options.plugins ?? []).every((plugin) => OURS.some((kind) => plugin instanceof kind)),
  );

const OURS = [SrlmWorkflowPlugin, SrlmCpuPlugin, SrlmGpuPlugin, SrlmPlugin];
