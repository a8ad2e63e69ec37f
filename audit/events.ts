/**
 * Temporal's history events as JSON has them (historyToJSON, and the files of an export): the fields that are read
 * here, and what their payloads and failures say. Pure. A payload that is not plain JSON (a codec of the user's own)
 * reads as undefined.
 */
export interface Recorded {
  workflowId: string;
  history: { events: Event[] };
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

export interface Execution {
  workflowId: string;
  runId: string;
}

interface Ref {
  scheduledEventId: string;
  identity?: string;
}
interface Closed {
  failure?: Failure;
  result?: Payloads;
}
interface ChildClosed extends Closed {
  initiatedEventId: string;
}

export interface Event {
  eventId: string;
  eventTime: string;
  eventType: string;
  workflowExecutionStartedEventAttributes?: {
    workflowType: { name: string };
    input?: Payloads;
    identity?: string;
    originalExecutionRunId: string;
  };
  workflowExecutionCompletedEventAttributes?: Closed;
  workflowExecutionFailedEventAttributes?: Closed;
  workflowExecutionTimedOutEventAttributes?: object;
  workflowExecutionCanceledEventAttributes?: object;
  workflowExecutionTerminatedEventAttributes?: { reason?: string; identity?: string };
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
  activityTaskScheduledEventAttributes?: { activityType: { name: string }; input?: Payloads };
  activityTaskStartedEventAttributes?: Ref & { attempt?: number; lastFailure?: Failure };
  activityTaskCompletedEventAttributes?: Ref & Closed;
  activityTaskFailedEventAttributes?: Ref & Closed;
  activityTaskTimedOutEventAttributes?: Ref & Closed;
  activityTaskCanceledEventAttributes?: Ref;
  startChildWorkflowExecutionInitiatedEventAttributes?: { workflowId: string; input?: Payloads };
  childWorkflowExecutionStartedEventAttributes?: { initiatedEventId: string; workflowExecution: Execution };
  childWorkflowExecutionCompletedEventAttributes?: ChildClosed;
  childWorkflowExecutionFailedEventAttributes?: ChildClosed;
  childWorkflowExecutionCanceledEventAttributes?: ChildClosed;
  childWorkflowExecutionTimedOutEventAttributes?: ChildClosed;
  childWorkflowExecutionTerminatedEventAttributes?: ChildClosed;
}

/** The first value, or undefined. */
export function value(payloads: Payloads | undefined): unknown {
  return decoded(payloads?.payloads?.[0]);
}

export function decoded(payload: Payload | undefined): unknown {
  if (payload?.data === undefined) return undefined;
  try {
    return JSON.parse(Buffer.from(payload.data, 'base64').toString('utf8'));
  } catch {
    return undefined;
  }
}

const TIMEOUTS: Record<string, string> = {
  TIMEOUT_TYPE_HEARTBEAT: 'its worker fell silent',
  TIMEOUT_TYPE_START_TO_CLOSE: 'it took longer than it may',
  TIMEOUT_TYPE_SCHEDULE_TO_START: 'no worker took it',
  TIMEOUT_TYPE_SCHEDULE_TO_CLOSE: 'it took longer than it may',
};

/** The root of a failure in one line, and its type. */
export function rootOf(failure: Failure | undefined): { type: string | null; message: string } {
  let root = failure ?? {};
  while (root.cause && (root.cause.message || root.cause.timeoutFailureInfo)) root = root.cause;
  const timeout = TIMEOUTS[root.timeoutFailureInfo?.timeoutType ?? ''];
  const message = (root.message ?? '').split('\n')[0]!;
  if (timeout) return { type: 'timeout', message: timeout };
  return { type: root.applicationFailureInfo?.type ?? null, message: WORDS[message] ?? (message || 'unknown') };
}

const WORDS: Record<string, string> = { WORKER_SHUTDOWN: 'its worker was stopped' };

/** The deployment's version where workers declare one, else SDK and checksum of the workflow code. */
export function versionOf(task: NonNullable<Event['workflowTaskCompletedEventAttributes']>): string {
  const { deploymentVersion, workerVersion } = task;
  if (deploymentVersion?.buildId) return `${deploymentVersion.deploymentName}.${deploymentVersion.buildId}`;
  const [, sdk, code] = /^@temporalio\/worker@([^+]+)(?:\+(\w+))?$/.exec(workerVersion?.buildId ?? '') ?? [];
  if (!sdk) return workerVersion?.buildId ?? 'unknown';
  return `SDK ${sdk}${code ? `, workflow code ${code.slice(0, 12)}` : ''}`;
}

/** A key that sorts by time: servers write three to nine digits of a second. */
export function instant(event: Pick<Event, 'eventTime'>): string {
  const [whole = '', fraction = ''] = event.eventTime.replace(/Z$/, '').split('.');
  return `${whole}.${fraction.padEnd(9, '0')}`;
}

export const isoOf = (event: Pick<Event, 'eventTime'>): string => new Date(event.eventTime).toISOString();

export const secondsBetween = (from: string, to: string): number => (Date.parse(to) - Date.parse(from)) / 1000;

/** An execution that has ended: its history changes no more. */
export function isClosed({ history }: Recorded): boolean {
  const last = history.events.at(-1)?.eventType ?? '';
  return /WORKFLOW_EXECUTION_(COMPLETED|FAILED|TIMED_OUT|CANCELED|TERMINATED|CONTINUED_AS_NEW)$/.test(last);
}

/** What a run's or round's history says it was started with. */
export function startOf({ history }: Recorded) {
  const first = history.events[0]?.workflowExecutionStartedEventAttributes;
  return {
    type: first?.workflowType.name ?? '',
    runId: first?.originalExecutionRunId ?? '',
    identity: first?.identity ?? '',
    input: value(first?.input),
  };
}

/** Executions of rounds that a run has started, in order. */
export function childrenOf({ history }: Recorded): Execution[] {
  return history.events.flatMap(({ childWorkflowExecutionStartedEventAttributes: started }) =>
    started ? [started.workflowExecution] : [],
  );
}
