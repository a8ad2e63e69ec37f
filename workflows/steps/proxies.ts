/**
 * Activities as the workflows call them: which queue, which timeouts, and why. Imported as types only, so that workflow
 * code stays free of Node.
 */
import { ActivityCancellationType, type ActivityInterfaceFor, proxyActivities } from '@temporalio/workflow';
import type { CpuActivities, GpuActivities } from '../../activities/index.js';
import type { WorkflowConfig } from '../../contracts/workflow-config.js';

/** An export is tried for so long: an outage of the store at night must not cost the audit trail. */
const EXPORT_WITHIN = '12 hours';
/**
 * A host has room for every job, so one that is not started within this time has no worker: another host takes the job,
 * from its newest checkpoint. Long enough for a worker that is replaced.
 */
const HOST_SCHEDULE_TO_START = '2 minutes';

export const cpu = (config: WorkflowConfig, summary: string): ActivityInterfaceFor<CpuActivities> =>
  proxyActivities<CpuActivities>({ ...options(config), taskQueue: config.cpuQueue, summary });

export const gpu = (config: WorkflowConfig, summary: string): ActivityInterfaceFor<GpuActivities> =>
  proxyActivities<GpuActivities>({ ...options(config), taskQueue: config.gpuQueue, summary });

/** The queue of one GPU host. Throws a schedule-to-start timeout when the host stays away. */
export const gpuHost = (config: WorkflowConfig, host: string, summary: string): ActivityInterfaceFor<GpuActivities> =>
  proxyActivities<GpuActivities>({
    ...options(config),
    taskQueue: `${config.gpuQueue}@${host}`,
    scheduleToStartTimeout: HOST_SCHEDULE_TO_START,
    summary,
  });

/** The same, for what must not fail a run: tried for hours. */
export const patientCpu = (config: WorkflowConfig, summary: string): ActivityInterfaceFor<CpuActivities> =>
  proxyActivities<CpuActivities>({
    ...options(config),
    taskQueue: config.cpuQueue,
    scheduleToCloseTimeout: EXPORT_WITHIN,
    retry: { initialInterval: '1 second', maximumInterval: '1 minute' },
    summary,
  });

function options({ heartbeatSeconds, maxAttempts }: WorkflowConfig) {
  return {
    // Training takes as long as it takes. A dead worker is detected by its heartbeat, not by this.
    startToCloseTimeout: '60 days',
    heartbeatTimeout: `${heartbeatSeconds} seconds`,
    // The trainer must have ended before the run says that it has.
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    // A worker that is stopped uses up an attempt, so a small number would park runs because of a deployment.
    retry: { initialInterval: '1 second', maximumInterval: '1 minute', maximumAttempts: maxAttempts },
  } as const;
}
