/**
 * Why a run stands still, by what Temporal knows, without asking a worker: its workflow code fails, or nobody polls a task
 * queue that it needs. Throws nothing: what Temporal does not say, or does not let this client read, is left out.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Client, Connection, WorkflowExecutionDescription } from '@temporalio/client';
import { decodeOptionalFailureToOptionalError } from '@temporalio/common/lib/internal-non-workflow/index.js';
import { optionalTsToMs } from '@temporalio/common/lib/time.js';
import type { temporal } from '@temporalio/proto';
import { workflowConfigOf } from '../config/load.js';
import type { Deployment } from '../contracts/deployment.js';
import type { CodeFailure, UnpolledQueue } from '../contracts/run.js';
import { printable } from '../text/text.js';
import { hasEnded } from './executions.js';

type Failure = temporal.api.failure.v1.IFailure;
type PendingActivity = temporal.api.workflow.v1.IPendingActivityInfo;

// --- workflow code that fails -----------------------------------------------------------------------------------------
/** Behind the failure there are the events that have come since, few of them. */
const TAIL = 20;
/** Numbers of WorkflowTaskFailedCause: new events came while the task was being done, a reset, a forced end. */
const NO_FAULTS = [1, 17, 18, 20];
const MAX_MESSAGE_CHARS = 500;
const IS_NOT_BUNDLED = /no such function is exported by the workflow bundle/;
const REEXPORT = "The workflows file of that worker lacks `export * from 'srlm/workflows'`.";

/** The last failure of the workflow task that Temporal tries again and again; null: it has not failed. */
export async function codeFailureOf(
  client: Client,
  { raw, workflowId, runId, status }: WorkflowExecutionDescription,
): Promise<CodeFailure | null> {
  const attempt = raw.pendingWorkflowTask?.attempt ?? 1;
  if (hasEnded(status.name) || attempt < 2) return null;
  try {
    const { history } = await client.workflowService.getWorkflowExecutionHistoryReverse({
      namespace: client.options.namespace,
      execution: { workflowId, runId },
      maximumPageSize: TAIL,
    });
    // Only the first of several failures is in the history. A worker that was killed leaves a task that timed out.
    const ended = history?.events?.find(
      (event) =>
        event.workflowTaskFailedEventAttributes ??
        event.workflowTaskCompletedEventAttributes ??
        event.workflowTaskTimedOutEventAttributes,
    );
    const failed = ended?.workflowTaskFailedEventAttributes;
    if (!failed || NO_FAULTS.includes(Number(failed.cause))) return null;
    const message = printable(await messageOf(client, workflowId, failed.failure)).slice(0, MAX_MESSAGE_CHARS);
    const cure = IS_NOT_BUNDLED.test(message) ? `${message.replace(/\.$/, '')}. ${REEXPORT}` : message;
    return { attempt, message: cure };
  } catch {
    return null;
  }
}

/**
 * `TypeError: x is undefined`: the name of an error of JavaScript is in its stack only. Both may be encoded by the data
 * converter.
 */
async function messageOf(
  { options }: Client,
  workflowId: string,
  failure: Failure | null | undefined,
): Promise<string> {
  const { loadedDataConverter, namespace } = options;
  const context = { type: 'workflow', namespace, workflowId } as const;
  const plain = { message: failure?.message ?? '', stack: failure?.stackTrace ?? '' };
  const decoded = await decodeOptionalFailureToOptionalError(loadedDataConverter, failure, context).catch(() => plain);
  const { message, stack = '' } = decoded ?? plain;
  const name = /^(\w*Error): /m.exec(stack)?.[1];
  return name && name !== 'Error' && !message.startsWith(name) ? `${name}: ${message}` : message || 'no message';
}

// --- queues that nobody polls -----------------------------------------------------------------------------------------
type Role = 'workflow' | 'cpu' | 'gpu';

interface Queue {
  name: string;
  role: Role;
}

/** A task that is younger may still be on its way to a worker. */
const WAITED_MS = 10_000;
/** Every idle worker polls, and every worker sends Temporal a sign of life, at least once a minute. */
const SILENT_MS = 120_000;
const GPU_ACTIVITIES = ['srlmShard', 'srlmFineTune', 'srlmPrepareModel', 'srlmClaimHost'];
/** Numbers of PendingActivityState, TaskQueueType and WorkerStatus. */
const SCHEDULED = 1;
export const QUEUE_TYPES: Record<Role, number> = { workflow: 1, cpu: 2, gpu: 2 };
const RUNNING = 1;

/** Queues on which activities of a run wait and, if no worker has `answered`, that of its workflow. */
export async function unpolledQueues(
  client: Client,
  deployment: Deployment,
  described: WorkflowExecutionDescription,
  answered: boolean,
): Promise<UnpolledQueue[]> {
  if (hasEnded(described.status.name)) return [];
  const pending = described.raw.pendingActivities ?? [];
  const queueOf = (activity: PendingActivity) => queueOfActivity(activity, deployment);
  // A worker that has all it can do at a time does not poll.
  const served = pending.filter(({ state }) => Number(state) > SCHEDULED).map((one) => queueOf(one).name);
  const needed = pending.filter(isWaiting).map(queueOf);
  if (!answered) needed.unshift({ name: described.taskQueue, role: 'workflow' });
  const queues = needed.filter(({ name, role }, i) => {
    const isFirst = needed.findIndex((one) => one.name === name && one.role === role) === i;
    return isFirst && (role === 'workflow' || !served.includes(name));
  });
  return unpolledOf(client, deployment, queues);
}

/** The queues of a deployment that nobody polls; those of single hosts are not known. */
export function unpolledQueuesOf(client: Client, deployment: Deployment): Promise<UnpolledQueue[]> {
  return unpolledOf(client, deployment, queuesOf(deployment));
}

export function queuesOf(deployment: Deployment): Queue[] {
  const { cpuQueue, gpuQueue } = workflowConfigOf(deployment, false);
  return [
    { name: deployment.taskQueue, role: 'workflow' },
    { name: cpuQueue, role: 'cpu' },
    { name: gpuQueue, role: 'gpu' },
  ];
}

async function unpolledOf(client: Client, deployment: Deployment, queues: readonly Queue[]): Promise<UnpolledQueue[]> {
  const polled = await Promise.all(queues.map((queue) => isPolled(client, queue)));
  return queues
    .filter((_, i) => !polled[i])
    .map((queue) => ({ queue: queue.name, start: startOf(queue, client, deployment) }));
}

/** Scheduled for a while, and not waiting for its next try. */
function isWaiting({ state, scheduledTime, nextAttemptScheduleTime }: PendingActivity): boolean {
  const since = Math.max(optionalTsToMs(scheduledTime) ?? 0, optionalTsToMs(nextAttemptScheduleTime) ?? 0);
  return Number(state) === SCHEDULED && Date.now() - since > WAITED_MS;
}

function queueOfActivity({ activityType, activityOptions }: PendingActivity, deployment: Deployment): Queue {
  const role = GPU_ACTIVITIES.includes(activityType?.name ?? '') ? 'gpu' : 'cpu';
  // Older servers do not name the queue.
  const { cpuQueue, gpuQueue } = workflowConfigOf(deployment, false);
  return { role, name: activityOptions?.taskQueue?.name || (role === 'gpu' ? gpuQueue : cpuQueue) };
}

/** True also where Temporal does not say. */
async function isPolled({ workflowService, options }: Client, { name, role }: Queue): Promise<boolean> {
  const { namespace } = options;
  const isRecent = (time: Parameters<typeof optionalTsToMs>[0]) => {
    return Date.now() - (optionalTsToMs(time) ?? 0) < SILENT_MS;
  };
  try {
    const taskQueueType = QUEUE_TYPES[role];
    // A poller that has gone is listed for five minutes.
    const { pollers } = await workflowService.describeTaskQueue({ namespace, taskQueue: { name }, taskQueueType });
    if ((pollers ?? []).some(({ lastAccessTime }) => isRecent(lastAccessTime))) return true;
  } catch {
    return true;
  }
  // Workers that are busy with other runs do not poll; they are listed where server and worker are new enough.
  const query = `TaskQueue="${name.replace(/["\\]/g, '\\$&')}"`;
  const { workersInfo } = await workflowService.listWorkers({ namespace, query }).catch(() => ({ workersInfo: [] }));
  return (workersInfo ?? []).some(
    ({ workerHeartbeat }) => Number(workerHeartbeat?.status) === RUNNING && isRecent(workerHeartbeat?.heartbeatTime),
  );
}

// --- what to start ----------------------------------------------------------------------------------------------------
/** The command that starts what polls this queue. */
function startOf({ name, role }: Queue, client: Client, deployment: Deployment): string {
  if (isEmbedded(client, deployment)) return '`srlm up`';
  if (deployment.singleTaskQueue) return '`srlm worker` or your own';
  const host = /-gpu@(.+)$/.exec(name)?.[1];
  return `\`srlm worker --role ${role}\`${host ? ` on ${host}` : ''}`;
}

/** The client is connected to the server of this folder's `srlm up`, which has written down where it is. */
function isEmbedded({ connection }: Client, { workRoot }: Deployment): boolean {
  const { address } = (connection as Partial<Connection>).options ?? {};
  try {
    const text = readFileSync(join(workRoot, 'temporal', 'temporal.toml'), 'utf8');
    const portOf = (place = '') => /^(?:localhost|127\.0\.0\.1):(\d+)$/.exec(place)?.[1];
    const port = portOf(/^address = "(.*)"$/m.exec(text)?.[1]);
    return port !== undefined && port === portOf(address);
  } catch {
    return false;
  }
}
