/**
 * What all activities share: input decoded by its schema, errors turned into Temporal's (one place), progress as
 * heartbeats, and `once`: a step whose record stands under its key is not done again.
 */
import { setMaxListeners } from 'node:events';
import { hostname } from 'node:os';
import { ApplicationFailure, CancelledFailure, Context, type Info } from '@temporalio/activity';
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import { ZodError, type z } from 'zod';
import type { Manifest, Spent, StepRecord } from '../contracts/artifacts.js';
import type { Deployment } from '../contracts/deployment.js';
import { inputInvalid, Problem } from '../contracts/errors.js';
import type { Heartbeat } from '../contracts/progress.js';
import type { EngineHost } from '../engine/host.js';
import { type ArtifactStore, stepKey } from '../storage/store.js';

export const HOST = hostname();

/** What activities work with; made once a worker. */
export interface Deps {
  store: ArtifactStore;
  host: EngineHost;
  deployment: Deployment;
}

const UNKNOWN_ATTEMPTS = 10;

/** Wraps `work`: unreadable input is not retried, and a Problem keeps its type, sentence and retry rule. */
export function activity<In, Out>(name: string, schema: z.ZodType<In>, work: (input: In) => Promise<Out>) {
  return async (raw: unknown): Promise<Out> => {
    try {
      const parsed = schema.safeParse(raw);
      if (!parsed.success) {
        const issue = parsed.error.issues[0];
        throw inputInvalid(name, `${issue?.path.join('.')}: ${issue?.message}`);
      }
      return await work(parsed.data);
    } catch (error) {
      throw asFailure(error);
    }
  };
}

export function asFailure(error: unknown): unknown {
  // Temporal tells cancellation, pause and shutdown by this class.
  if (error instanceof CancelledFailure || error instanceof ApplicationFailure) return error;
  if (Context.current().cancellationSignal.aborted) return Context.current().cancellationSignal.reason ?? error;
  if (error instanceof Problem) {
    const { message, type, retry, waitMs } = error;
    const nextRetryDelay = waitMs === undefined ? {} : { nextRetryDelay: waitMs };
    return ApplicationFailure.create({ message, type, nonRetryable: !retry, ...nextRetryDelay });
  }
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return ApplicationFailure.create({
      message: `There is no space left: ${(error as Error).message}. Free some, then \`srlm retry\`. [storage.full]`,
      type: 'storage.full',
      nonRetryable: true,
    });
  }
  if (error instanceof ZodError || error instanceof TypeError) {
    // A fault of ours, or data of another version: the same again would give the same.
    const issue = error instanceof ZodError ? error.issues[0] : null;
    const message = issue ? `${issue.path.join('.')}: ${issue.message}` : error.message;
    return ApplicationFailure.create({ message, type: error.name, nonRetryable: true, cause: error });
  }
  // What nobody foresaw may pass, but is not waited for as a lost engine is.
  if (Context.current().info.attempt >= UNKNOWN_ATTEMPTS) {
    const { message, name } = error as Error;
    return ApplicationFailure.create({ message, type: name, nonRetryable: true, cause: error as Error });
  }
  return error;
}

/** The cancellation signal: aborted on cancel, pause, shutdown and lost heartbeats alike. */
export function stopSignal(): AbortSignal {
  const signal = Context.current().cancellationSignal;
  // Each request in flight listens; Node's warning of a leak is meant for something else.
  setMaxListeners(0, signal);
  return signal;
}

/** The run wants no more of this: it was cancelled, or paused, or it was closed while this worker did not hear. */
export async function isUnwanted(): Promise<boolean> {
  const { cancellationDetails, client, info } = Context.current();
  if (cancellationDetails?.cancelRequested) return true;
  if (!cancellationDetails?.notFound || !info.workflowExecution) return false;
  return isClosed(client, info.workflowExecution);
}

/** An answer that does not come is no: what nobody knows is left alone. */
export async function isClosed(client: Client, run: { workflowId: string; runId: string }): Promise<boolean> {
  try {
    return (await client.workflow.getHandle(run.workflowId, run.runId).describe()).status.name !== 'RUNNING';
  } catch (error) {
    return error instanceof WorkflowNotFoundError;
  }
}

/** Counts units and heartbeats them; Temporal's SDK throttles what is sent. */
export class Meter {
  private done = 0;
  private readonly startedAt = Date.now();
  /** Units found done: no part of the rate. */
  private free = 0;
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly step: string,
    private readonly unit: Heartbeat['unit'],
    private total: number,
    private note?: string,
  ) {
    // Silence would be taken for death: a slow request must not end the attempt.
    this.timer = setInterval(() => this.beat(), 1000);
    this.beat();
  }

  add(units: number, free = false): void {
    this.done += units;
    if (free) this.free += units;
  }

  set(done: number, total: number, note?: string): void {
    if (this.total === 0) this.free = done;
    this.done = done;
    this.total = total;
    if (note !== undefined) this.note = note;
  }

  end(): void {
    clearInterval(this.timer);
  }

  private beat(): void {
    const seconds = (Date.now() - this.startedAt) / 1000;
    const rate = seconds > 0.5 && this.done > this.free ? (this.done - this.free) / seconds : null;
    const beat: Heartbeat = {
      step: this.step,
      unit: this.unit,
      done: this.done,
      total: this.total,
      rate,
      secondsLeft: rate ? (this.total - this.done) / rate : null,
      ...(this.note === undefined ? {} : { note: this.note }),
    };
    Context.current().heartbeat(beat);
  }
}

/** Runs `work` with a meter that ends with it. */
export async function metered<T>(
  step: string,
  unit: Heartbeat['unit'],
  total: number,
  work: (meter: Meter) => Promise<T>,
): Promise<T> {
  const meter = new Meter(step, unit, total);
  try {
    return await work(meter);
  } finally {
    meter.end();
  }
}

/** The record under the key of (step, inputs), made by `work` if there is none. `inputs` must hold all that decides. */
export async function once(
  store: ArtifactStore,
  step: string,
  inputs: unknown,
  work: () => Promise<{ files: Manifest[]; output: unknown; spent?: Spent }>,
): Promise<StepRecord> {
  const found = await store.findStep(step, stepKey(step, inputs));
  if (found) return found;
  const startedAt = Date.now();
  const { spent, ...result } = await work();
  // An attempt that was given up, and woke, may come late: what others have read since stays as it is.
  const meanwhile = await store.findStep(step, stepKey(step, inputs));
  if (meanwhile) return meanwhile;
  const measured = {
    seconds: (Date.now() - startedAt) / 1000,
    host: HOST,
    endedAt: new Date().toISOString(),
    run: runOf(Context.current().info),
    ...(spent ? { spent } : {}),
  };
  return store.recordStep(step, inputs, { ...result, measured });
}

/** A round is part of its run. */
const runOf = ({ workflowExecution, activityId }: Info): string =>
  workflowExecution?.workflowId.replace(/\.round-\d+$/, '') ?? activityId;

/** Was the record made for this run since then, in whichever attempt? Then what it cost is still to be told. */
export function isOwn({ measured }: StepRecord, since = Context.current().info.scheduledTimestampMs): boolean {
  return measured.run === runOf(Context.current().info) && Date.parse(measured.endedAt) >= since;
}
