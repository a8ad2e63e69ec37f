/**
 * Temporal's history events as JSON has them (`historyToJSON`, and the files of an export): the fields that are read
 * here, and what their payloads and failures mean. Pure. A payload that is not plain JSON (decode.ts makes it so where it
 * can) reads as undefined.
 */

/** What Temporal's SDKs replay, and what a history file holds. */
export interface WorkflowHistory {
  workflowId: string;
  history: { events: Event[] };
}

/** One execution of a run. */
export interface Execution {
  workflowId: string;
  /** Temporal's id of the execution. */
  runId: string;
  /** null: neither Temporal nor an export has it any more. */
  history: { events: Event[] } | null;
  /** The history as Temporal has it, where the one above was decoded. */
  encoded?: { events: Event[] };
  /** What of it could not be decoded: sentences. */
  undecoded?: string;
  /** Path of its file in an export: read, or damaged where there is no history. Absent: the history comes from Temporal. */
  file?: string;
}

interface Payload {
  data?: string;
}
export interface Payloads {
  payloads?: Payload[];
}

export interface Failure {
  message?: string;
  cause?: Failure;
  applicationFailureInfo?: { type?: string };
  timeoutFailureInfo?: { timeoutType?: string };
}

interface ActivityRef {
  scheduledEventId: string;
  identity?: string;
}
interface Closed {
  failure?: Failure;
  result?: Payloads;
}

export interface Event {
  eventId: string;
  eventTime: string;
  eventType: string;
  workflowExecutionStartedEventAttributes?: {
    workflowType: { name: string };
    input?: Payloads;
    identity?: string;
    firstExecutionRunId?: string;
    /** Empty or absent in the first execution. */
    continuedExecutionRunId?: string;
  };
  workflowExecutionContinuedAsNewEventAttributes?: { newExecutionRunId: string; input?: Payloads };
  workflowExecutionCompletedEventAttributes?: Closed;
  workflowExecutionFailedEventAttributes?: Closed;
  workflowExecutionCanceledEventAttributes?: object;
  workflowExecutionTerminatedEventAttributes?: { reason?: string; identity?: string; details?: Payloads };
  workflowExecutionCancelRequestedEventAttributes?: { cause?: string; identity?: string };
  workflowExecutionUpdateAcceptedEventAttributes?: {
    acceptedRequest?: { input?: { name?: string; args?: Payloads } };
  };
  workflowPropertiesModifiedEventAttributes?: { upsertedMemo?: { fields?: Record<string, Payload> } };
  workflowTaskCompletedEventAttributes?: {
    identity?: string;
    workerVersion?: { buildId?: string };
    deploymentVersion?: { deploymentName?: string; buildId?: string };
  };
  activityTaskScheduledEventAttributes?: { activityType: { name: string }; activityId?: string; input?: Payloads };
  activityTaskStartedEventAttributes?: ActivityRef & { attempt?: number; lastFailure?: Failure };
  activityTaskCompletedEventAttributes?: ActivityRef & Closed;
  activityTaskFailedEventAttributes?: ActivityRef & Closed;
  activityTaskTimedOutEventAttributes?: ActivityRef & Closed;
  activityTaskCanceledEventAttributes?: ActivityRef;
}

export function decoded(payload: Payload | undefined): unknown {
  if (payload?.data === undefined) return undefined;
  try {
    return JSON.parse(Buffer.from(payload.data, 'base64').toString('utf8'));
  } catch {
    return undefined;
  }
}

/** Temporal's id of the execution that began the chain. `first`: the first event of one of its executions. */
export const firstRunIdOf = (runId: string, first: Event): string =>
  first.workflowExecutionStartedEventAttributes?.firstExecutionRunId || runId;

/** The execution before this one; null: it began the chain. */
export const continuedOf = (first: Event): string | null =>
  first.workflowExecutionStartedEventAttributes?.continuedExecutionRunId || null;

export const values = (payloads: Payloads | undefined): unknown[] => (payloads?.payloads ?? []).map(decoded);

export const value = (payloads: Payloads | undefined): unknown => decoded(payloads?.payloads?.[0]);

const TIMEOUTS = new Map([
  ['TIMEOUT_TYPE_HEARTBEAT', 'its worker stopped responding'],
  ['TIMEOUT_TYPE_START_TO_CLOSE', 'it took longer than it may'],
  ['TIMEOUT_TYPE_SCHEDULE_TO_START', 'no worker took it'],
  ['TIMEOUT_TYPE_SCHEDULE_TO_CLOSE', 'it took longer than it may'],
]);

/** The root cause of a failure: its type, and one line of text. */
export function rootOf(failure: Failure | undefined): { type: string | null; message: string } {
  let root = failure ?? {};
  while (root.cause && (root.cause.message || root.cause.timeoutFailureInfo)) root = root.cause;
  const timeout = TIMEOUTS.get(root.timeoutFailureInfo?.timeoutType ?? '');
  const message = (root.message ?? '').split('\n')[0]!;
  if (timeout) return { type: 'timeout', message: timeout };
  const words = message === 'WORKER_SHUTDOWN' ? 'its worker was stopped' : message || 'unknown';
  return { type: root.applicationFailureInfo?.type ?? null, message: words };
}

/** The deployment version where workers declare one, else SDK version and checksum of the workflow code. */
export function versionOf(task: NonNullable<Event['workflowTaskCompletedEventAttributes']>): string {
  const { deploymentVersion, workerVersion } = task;
  if (deploymentVersion?.buildId) return `${deploymentVersion.deploymentName}.${deploymentVersion.buildId}`;
  const [, sdk, code] = /^@temporalio\/worker@([^+]+)(?:\+(\w+))?$/.exec(workerVersion?.buildId ?? '') ?? [];
  if (!sdk) return workerVersion?.buildId ?? 'unknown';
  return `SDK ${sdk}${code ? `, workflow code ${code.slice(0, 12)}` : ''}`;
}

export const isoOf = ({ eventTime }: Pick<Event, 'eventTime'>): string => new Date(eventTime).toISOString();

export const secondsBetween = (from: string, to: string): number => (Date.parse(to) - Date.parse(from)) / 1000;

/** A closed execution's history does not change any more. */
export const isClosed = ({ history }: Pick<WorkflowHistory, 'history'>): boolean =>
  /WORKFLOW_EXECUTION_(COMPLETED|FAILED|TIMED_OUT|CANCELED|TERMINATED|CONTINUED_AS_NEW)$/.test(
    history.events.at(-1)?.eventType ?? '',
  );
