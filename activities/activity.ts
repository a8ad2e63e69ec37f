/**
 * What all activities share: their dependencies, input parsed by its schema, errors turned into Temporal's (one place),
 * and how an activity learns that it is no longer wanted.
 */
import { setMaxListeners } from 'node:events';
import { ApplicationFailure, asyncLocalStorage, CancelledFailure, Context } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import { ZodError, type z } from 'zod';
import type { Deployment } from '../contracts/deployment.js';
import { inputInvalid, Problem } from '../contracts/errors.js';
import { explain } from '../contracts/issues.js';
import type { EngineHost } from '../engines/index.js';
import { fileSystemProblem } from '../storage/files.js';
import type { Store } from '../storage/store.js';
import { ProgressReporter } from './progress.js';

/** When each activity began here, by the steady clock of this process. */
const begun = new WeakMap<Context, number>();

/**
 * Now, in milliseconds since 1970, by the clock of the Temporal server: what an activity writes down or compares must
 * agree with the times of workflows and of other hosts, and the clock of this one may be wrong or set at any moment. The
 * time that the attempt waited for a worker is left out. Outside of an activity, the clock of this host.
 */
export function temporalNow(): number {
  const context = asyncLocalStorage.getStore();
  const startedAt = context && begun.get(context);
  if (startedAt === undefined) return Date.now();
  return Math.floor(context!.info.currentAttemptScheduledTimestampMs + performance.now() - startedAt);
}

/** Made once a worker. */
export interface Deps {
  /** Aborts when the worker is stopped: what can be handed over now need not be interrupted later. */
  readonly draining: AbortSignal;
  store: Store;
  engines: EngineHost;
  deployment: Deployment;
}

/** Errors nobody foresaw are retried, but not as often as a lost engine is. */
const UNKNOWN_ATTEMPTS = 10;
/** What a command meets as well, where there is nothing to retry. */
const FULL_OR_REFUSED = new Set(['storage.full', 'storage.not-writable']);
const THEN_RETRY = 'Then `srlm retry`.';
/** A failure is part of the history, so its message is bounded. */
const MAX_MESSAGE_CHARS = 1000;

/**
 * Wraps `work`: input that does not parse is not retried, a Problem keeps its type, sentence and retry rule, and the
 * activity heartbeats until it ends. Only a workflow may ask for an activity: what Temporal runs on its own ("standalone"
 * activities) leaves no run that could answer for it.
 */
export function activity<In, Out>(
  name: string,
  schema: z.ZodType<In>,
  work: (input: In, progress: ProgressReporter) => Promise<Out>,
) {
  return async (raw: In): Promise<Out> => {
    const progress = new ProgressReporter(name);
    begun.set(Context.current(), performance.now());
    try {
      if (!Context.current().info.workflowExecution) throw inputInvalid(name, 'no workflow has asked for it');
      const parsed = schema.safeParse(raw, { reportInput: true });
      if (!parsed.success) {
        const { field, reason } = explain(parsed.error.issues[0]!);
        throw inputInvalid(name, field ? `${field}: ${reason}` : reason);
      }
      return await work(parsed.data, progress);
    } catch (error) {
      throw asFailure(error);
    } finally {
      progress.end();
    }
  };
}

export function asFailure(thrown: unknown): unknown {
  const error = fileSystemProblem(thrown);
  // Temporal recognises cancellation, pause and shutdown by this class.
  if (error instanceof CancelledFailure || error instanceof ApplicationFailure) return error;
  if (Context.current().cancellationSignal.aborted) return Context.current().cancellationSignal.reason ?? error;
  if (error instanceof Problem) return failureOf(FULL_OR_REFUSED.has(error.type) ? error.adding(THEN_RETRY) : error);
  // A fault of ours, or data of another version: the same again would give the same.
  if (error instanceof ZodError || error instanceof TypeError) return finalFailure(error);
  return Context.current().info.attempt >= UNKNOWN_ATTEMPTS ? finalFailure(error as Error) : error;
}

function failureOf({ message, type, retry, waitMs, attempts = Number.POSITIVE_INFINITY }: Problem): ApplicationFailure {
  const nextRetryDelay = waitMs === undefined ? {} : { nextRetryDelay: waitMs };
  const nonRetryable = !retry || Context.current().info.attempt >= attempts;
  return ApplicationFailure.create({ message: bounded(message), type, nonRetryable, ...nextRetryDelay });
}

function finalFailure(error: Error): ApplicationFailure {
  const issue = error instanceof ZodError ? error.issues[0] : null;
  const message = bounded(issue ? `${issue.path.join('.')}: ${issue.message}` : error.message);
  return ApplicationFailure.create({ message, type: error.name, nonRetryable: true });
}

/** The type, which ends a message, is kept. */
function bounded(message: string): string {
  if (message.length <= MAX_MESSAGE_CHARS) return message;
  const end = /\[[\w.-]+\]$/.exec(message)?.[0] ?? '';
  return `${message.slice(0, MAX_MESSAGE_CHARS - end.length - 4)}... ${end}`;
}

/** WorkflowExecutionStatus RUNNING. */
const RUNNING = 1;
/** gRPC status code. */
const NOT_FOUND = 5;

/** The cancellation signal: aborted on cancel, pause, shutdown and lost heartbeats. */
export function stopSignal(): AbortSignal {
  const signal = Context.current().cancellationSignal;
  // Each request in flight listens; Node's warning of a leak is meant for something else.
  setMaxListeners(0, signal);
  return signal;
}

/** The run was cancelled or paused, or it was closed while this worker could not hear of it. */
export async function isUnwanted(): Promise<boolean> {
  const { cancellationDetails, client, info } = Context.current();
  if (cancellationDetails?.cancelRequested) return true;
  if (!cancellationDetails?.notFound || !info.workflowExecution) return false;
  return isClosed(client, info.workflowExecution, true);
}

/**
 * False where nobody answers: what is not known is left alone. `ifUnknown`: of a run that this Temporal does not know. It
 * may be one of another Temporal, whose workers use the same store.
 */
export async function isClosed(
  client: Client,
  run: { workflowId: string; runId: string },
  ifUnknown = false,
): Promise<boolean> {
  try {
    // The SDK's `describe` decodes the memo too, for which this client may lack a key.
    const { namespace } = client.options;
    const described = await client.workflowService.describeWorkflowExecution({ namespace, execution: run });
    return described.workflowExecutionInfo?.status !== RUNNING;
  } catch (error) {
    const { code, cause } = error as { code?: number; cause?: { code?: number } };
    return ifUnknown && (code ?? cause?.code) === NOT_FOUND;
  }
}
