/**
 * What Temporal knows of a run, whose executions form a chain under one workflow id: descriptions, the memo, and what
 * the run was started with. Everything is decoded by the data converter of the client.
 */
import {
  type Client,
  ServiceError,
  type WorkflowExecutionDescription,
  type WorkflowExecutionInfo,
  WorkflowNotFoundError,
} from '@temporalio/client';
import { executionInfoFromRaw } from '@temporalio/client/lib/helpers.js';
import type { SerializationContext } from '@temporalio/common';
import {
  decodeArrayFromPayloads,
  decodeOptionalFailureToOptionalError,
  decodeOptionalSinglePayload,
} from '@temporalio/common/lib/internal-non-workflow/index.js';
import type { temporal } from '@temporalio/proto';
import { decodingProblem } from '../audit/payload-json.js';
import { type Problem, runUnknown } from '../contracts/errors.js';
import { Heartbeat, type Phase, RunMemo, type RunStatus } from '../contracts/run.js';

type Payload = temporal.api.common.v1.IPayload;
type RawExecution = Parameters<typeof executionInfoFromRaw>[0];

const PAGE = 200;
const INVALID_ARGUMENT = 3;
const TYPES = ['srlmRun', 'srlmSample', 'srlmCatalysts'];
/** A study's type: its histories name what its runs and its result need. */
export const STUDY_TYPE = 'srlmStudy';
export const ALL_TYPES = [...TYPES, STUDY_TYPE];

/** `undecoded`: why the memo of a run is left out. */
export type Described = WorkflowExecutionDescription & { undecoded?: Problem };

/** The newest execution of a run. Throws run.unknown, also for a workflow that is no run (of `types`). */
export async function describe(client: Client, runId: string, types: readonly string[] = TYPES): Promise<Described> {
  try {
    const described = await client.workflow
      .getHandle(runId)
      .describe()
      .catch((error: unknown) => withoutMemo(client, runId, error));
    for (const { activityId, lastFailure } of described.raw.pendingActivities ?? [])
      if (lastFailure?.encodedAttributes)
        lastFailure.message = await messageOf(client, lastFailure, contextOf(client, runId, activityId));
    if (types.includes(described.type)) return described;
  } catch (error) {
    // No workflow can have such an id.
    const isNoId = (error as { cause?: { code?: unknown } }).cause?.code === INVALID_ARGUMENT;
    if (!(error instanceof WorkflowNotFoundError || isNoId)) throw error;
  }
  throw runUnknown(runId);
}

/** The description of a run whose memo cannot be decoded. Throws `error` where that is not what is wrong. */
async function withoutMemo(client: Client, workflowId: string, error: unknown): Promise<Described> {
  if (error instanceof WorkflowNotFoundError || error instanceof ServiceError) throw error;
  const { loadedDataConverter, namespace } = client.options;
  const raw = await client.workflowService.describeWorkflowExecution({ namespace, execution: { workflowId } });
  const info = emptyMemo(raw.workflowExecutionInfo as RawExecution);
  const unknown = async () => undefined;
  return {
    ...(await executionInfoFromRaw(info, loadedDataConverter, raw, namespace)),
    ...{ raw, staticDetails: unknown, staticSummary: unknown, undecoded: decodingProblem(error) },
  } as Described;
}

/** Whose the payloads of an activity are: a codec may depend on it. */
const contextOf = (client: Client, workflowId: string, activityId: string | null | undefined) =>
  ({
    type: 'activity',
    namespace: client.options.namespace,
    workflowId,
    activityId: activityId ?? '',
    isLocal: false,
  }) as const;

/** The message of a failure, which the failure converter may have encoded. */
async function messageOf(
  client: Client,
  failure: temporal.api.failure.v1.IFailure,
  context: SerializationContext,
): Promise<string> {
  const decoded = decodeOptionalFailureToOptionalError(client.options.loadedDataConverter, failure, context);
  return decoded.then((error) => error!.message).catch((error: unknown) => decodingProblem(error).reason);
}

/** The defaults of a message are in its prototype. */
const emptyMemo = (raw: RawExecution): RawExecution => Object.assign(Object.create(raw), { memo: null });

export const hasEnded = (status: string) => status !== 'RUNNING' && status !== 'CONTINUED_AS_NEW';

export const firstRunIdOf = ({ raw, runId }: WorkflowExecutionDescription): string =>
  raw.workflowExecutionInfo?.firstRunId || runId;

/** When the chain began; the time of its newest execution where Temporal has deleted the first. */
export async function chainStartedAt(client: Client, described: WorkflowExecutionDescription): Promise<Date> {
  const first = firstRunIdOf(described);
  if (first === described.runId) return described.startTime;
  const handle = client.workflow.getHandle(described.workflowId, first);
  return handle.describe().then(
    ({ startTime }) => startTime,
    () => described.startTime,
  );
}

/**
 * The arguments of the workflow: those of its first execution or, where Temporal has deleted it, of the newest. Throws
 * payload.unreadable.
 */
export async function argumentsOf(client: Client, described: WorkflowExecutionDescription): Promise<unknown[]> {
  const { workflowId, runId } = described;
  const first = firstRunIdOf(described);
  const payloads = await firstEvent(client, workflowId, first).catch((error: unknown) => {
    if (first === runId) throw error;
    return firstEvent(client, workflowId, runId);
  });
  const { loadedDataConverter, namespace } = client.options;
  const context = { type: 'workflow', namespace, workflowId } as const;
  return decodeArrayFromPayloads(loadedDataConverter, payloads, context).catch((error: unknown) => {
    throw decodingProblem(error);
  });
}

async function firstEvent(client: Client, workflowId: string, runId: string): Promise<Payload[]> {
  const { history } = await client.workflowService.getWorkflowExecutionHistory({
    namespace: client.options.namespace,
    execution: { workflowId, runId },
    maximumPageSize: 1,
  });
  return history?.events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads ?? [];
}

/** All executions of all runs, newest first. One whose memo cannot be decoded is listed without it. */
export async function* listExecutions(
  client: Client,
  types: readonly string[] = TYPES,
): AsyncGenerator<WorkflowExecutionInfo & Pick<Described, 'undecoded'>> {
  const { loadedDataConverter, namespace } = client.options;
  const decoded = (raw: RawExecution) => executionInfoFromRaw(raw, loadedDataConverter, raw, namespace);
  const query = `WorkflowType IN (${types.map((type) => `"${type}"`).join(', ')})`;
  let nextPageToken: Uint8Array | undefined;
  do {
    const page = await client.workflowService.listWorkflowExecutions({
      namespace,
      query,
      pageSize: PAGE,
      ...(nextPageToken ? { nextPageToken } : {}),
    });
    for (const raw of page.executions ?? [])
      yield await decoded(raw).catch(async (error) => ({
        ...(await decoded(emptyMemo(raw))),
        undecoded: decodingProblem(error),
      }));
    nextPageToken = page.nextPageToken ?? undefined;
  } while (nextPageToken?.length);
}

/** null: there is no memo of ours, or one of another version. */
export const memoOf = (memo: Record<string, unknown> | undefined): RunMemo | null =>
  RunMemo.safeParse(memo?.srlm).data ?? null;

/** The run itself says that it is over. Between that and its end it exports its history. */
export const isOver = (known: Phase | null): boolean =>
  known === 'done' || known === 'stopped' || known === 'aborted' || known === 'failed';

/** The phase of a run by Temporal's status and the run's last known state (its own, or its memo). */
export function phaseBy(status: string, known: Phase | null): Phase {
  switch (status) {
    case 'RUNNING':
    case 'CONTINUED_AS_NEW':
      return known === null || isOver(known) ? 'running' : known;
    case 'COMPLETED':
      return known === 'stopped' ? 'stopped' : 'done';
    case 'CANCELLED':
    case 'TERMINATED':
      return 'aborted';
    default:
      // An abort fails the workflow too; only the run itself can say which it was.
      return known === 'aborted' || known === 'stopped' ? known : 'failed';
  }
}

/** Exports the history of an earlier execution, beside the steps of the current one. */
const EXPORT = 'srlmExport';

/** Why the history of an execution is not exported yet; empty while no attempt has failed. */
export const exportWarnings = ({ raw }: WorkflowExecutionDescription): string[] =>
  (raw.pendingActivities ?? [])
    .filter(({ activityType, attempt, lastFailure }) => {
      return activityType?.name === EXPORT && (attempt ?? 1) > 1 && lastFailure;
    })
    .map(({ attempt, lastFailure }) => {
      return `the history of an execution is not exported yet; attempt ${attempt} after: ${lastFailure?.message}`;
    });

/** What Temporal's SDK answers for the activities of a worker that is being stopped. */
const STOPPED = 'WORKER_SHUTDOWN';

/** Steps in progress, by the heartbeats of their activities. One without waits for a worker, or failed before it sent one. */
export async function liveActivities(
  client: Client,
  { raw, workflowId }: WorkflowExecutionDescription,
): Promise<RunStatus['live']> {
  const converter = client.options.loadedDataConverter;
  const steps = (raw.pendingActivities ?? []).filter(({ activityType }) => activityType?.name !== EXPORT);
  return Promise.all(
    steps.map(async ({ activityType, activityId, attempt, heartbeatDetails, lastFailure }) => {
      const context = contextOf(client, workflowId, activityId);
      const payload = heartbeatDetails?.payloads?.[0];
      const detail = await decodeOptionalSinglePayload(converter, payload, context).catch(() => null);
      const silent: Heartbeat = {
        step: activityType?.name ?? '',
        unit: 'rows',
        done: 0,
        total: 0,
        rate: null,
        secondsLeft: null,
      };
      return {
        ...(Heartbeat.safeParse(detail).data ?? silent),
        attempt: attempt ?? 1,
        lastFailure: lastFailure?.message === STOPPED ? 'the worker was stopped' : (lastFailure?.message ?? null),
      };
    }),
  );
}
