/**
 * A run as a chain of executions under one workflow id: how an execution begins, how the next one takes over
 * (continue-as-new: one execution a round, so that each has a small history of its own), how damage is repaired, and how
 * the run ends. Invariants:
 * - Input is parsed first; what does not parse fails the workflow once, with one sentence.
 * - No accepted command is lost between two executions: nothing is carried before all handlers have finished.
 * - The history of every execution is exported by the next one, and that of the last before the run closes.
 */
import {
  ActivityFailure,
  ApplicationFailure,
  allHandlersFinished,
  CancellationScope,
  CancelledFailure,
  condition,
  isCancellation,
  log,
  makeContinueAsNewFunc,
  TemporalFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { z } from 'zod';
import { inputInvalid } from '../contracts/errors.js';
import { explain } from '../contracts/issues.js';
import { type End, OperatorRecord, RunProgress } from '../contracts/run.js';
import { type AnySettings, now, RunControl, type RunStart } from './control/control.js';
import { carried, freshProgress, freshRecord, MAX_UNEXPORTED } from './control/record.js';
import { settingsAt } from './control/settings.js';
import { isFailure } from './failures.js';
import { memoOf, publish } from './status.js';
import { patientCpu } from './steps/proxies.js';
import { rootOf } from './steps/step.js';

/** Objects damaged again after so many repairs are the disk's fault. */
const MAX_REPAIRS = 20;
const MAX_WARNING_CHARS = 500;

type Execution = (input: object, record: OperatorRecord, progress: RunProgress) => Promise<unknown>;

/** Throws input.invalid, which fails the workflow. */
export function parsed<T>(what: string, schema: z.ZodType<T>, value: unknown): T {
  const found = schema.safeParse(value, { reportInput: true });
  if (found.success) return found.data;
  const { field, reason } = explain(found.error.issues[0]!);
  throw invalid(what, field ? `${field}: ${reason}` : reason);
}

/** Control of a run with what the execution before, or a fork's parent, has left. Throws input.invalid. */
export function begin<S extends AnySettings>(
  start: Omit<RunStart<S>, 'record' | 'progress'>,
  rawRecord: unknown,
  rawProgress: unknown,
): RunControl<S> {
  const record = rawRecord === undefined ? freshRecord() : parsed('operator record', OperatorRecord, rawRecord);
  const progress =
    rawProgress === undefined
      ? freshProgress(workflowInfo().startTime.toISOString())
      : parsed('run progress', RunProgress, rawProgress);
  try {
    for (const { fromRound } of record.changes)
      settingsAt(start.settings, record.changes, fromRound, fromRound, start.schema);
  } catch (error) {
    throw invalid('operator record', (error as Error).message);
  }
  if (!fitsTogether(progress)) throw invalid('run progress', 'round: it does not fit what is said to be done');
  return new RunControl({ ...start, record, progress });
}

/** Whether a run can have come to this: before the first round nothing is made, and later all of it is. */
function fitsTogether({ round, prepared, head, best, table, rounds }: RunProgress): boolean {
  if (round === null) return [prepared, head, best, table].every((one) => one === null);
  return round >= 1 && rounds >= 1 && prepared !== null && head !== null && table !== null;
}

function invalid(what: string, why: string): ApplicationFailure {
  const { message, type } = inputInvalid(what, why.slice(0, 800));
  return ApplicationFailure.nonRetryable(message, type);
}

/**
 * Runs the work of one execution to its end: the run's result, a repair, a stop, an abort. A failure that is not
 * Temporal's is a fault of this code: it fails the workflow task, which Temporal retries until the code is fixed.
 * `soFar`: the result of a run that is stopped early; null if it has none.
 */
export async function toEnd<T extends object>(
  run: RunControl,
  input: object,
  work: () => Promise<T>,
  soFar: () => Promise<T | null> = async () => null,
): Promise<T> {
  run.exported = exportHistories(run);
  let why: string | null = null;
  const toResult = async () => {
    try {
      return await work();
    } catch (error) {
      const isDamaged = isFailure(error, 'artifact.damaged') && run.state.repairs < MAX_REPAIRS;
      if (isDamaged && !run.work.consideredCancelled) return repair(run, input, error.message);
      const result = isFailure(error, 'run.stopped') ? await soFar() : null;
      if (result === null) throw error;
      why = (error as Error).message;
      return result;
    }
  };
  try {
    const result = await run.work.run(toResult);
    // It may have been aborted while the last step, which does not look at cancellation, came to its end.
    if (run.aborted) throw new CancelledFailure('aborted');
    await end(run, 'stopped' in result && result.stopped ? 'stopped' : 'done', why);
    return result;
  } catch (error) {
    if (!(error instanceof TemporalFailure)) throw error;
    if (run.aborted) {
      const { who, why } = run.aborted;
      const where = run.state.steps.at(-1)?.step ?? 'its start';
      const message = `Aborted at ${where} by ${who}${why ? `: ${why}` : ''}. All artifacts are kept.`;
      await end(run, 'aborted', message);
      throw ApplicationFailure.nonRetryable(message, 'run.aborted');
    }
    if (run.work.consideredCancelled || isCancellation(error)) {
      await end(run, 'aborted', error.message);
      throw isCancellation(error) ? error : new CancelledFailure(error.message);
    }
    await end(run, isFailure(error, 'run.stopped') ? 'stopped' : 'failed', error.message);
    throw error;
  }
}

/** Begins the next execution with this one's state. Never returns. */
export async function continueRun(run: RunControl, input: object): Promise<never> {
  const { state, config, forkOf } = run;
  // An export that is under way ends with this execution. Rather than forget one, a run waits here.
  if (state.unexported.length >= MAX_UNEXPORTED - 1) await Promise.race([run.exported, run.work.cancelRequested]);
  // A command that arrived with the event that brought us here has its handler run first.
  await condition(allHandlersFinished);
  if (run.work.consideredCancelled) throw new CancelledFailure('the run was ended');
  state.unexported.push(workflowInfo().runId);
  const next = makeContinueAsNewFunc<Execution>({
    // Search attributes are carried over by the server, a memo that was changed since the start is not.
    memo: { ...workflowInfo().memo, srlm: memoOf(state, forkOf) },
    ...(config.upgrades ? { initialVersioningBehavior: 'AUTO_UPGRADE' } : {}),
  });
  return next(input, ...carried(state));
}

/** Goes through all steps again. They are found by their keys, but for those that lost a record: these are done again. */
async function repair(run: RunControl, input: object, message: string): Promise<never> {
  log.warn(message);
  const { state } = run;
  Object.assign(state, {
    repairs: state.repairs + 1,
    warnings: [...state.warnings, `Made again: ${message}`],
    rollbacksInARow: 0,
    round: null,
    prepared: null,
    head: null,
    best: null,
    table: null,
    rounds: 0,
  });
  return continueRun(run, input);
}

async function end(run: RunControl, kind: End['kind'], message: string | null): Promise<void> {
  const { state } = run;
  state.end = { kind, at: now(), message: message?.slice(0, 1000) ?? null };
  state.halt = null;
  publish(run);
  await CancellationScope.nonCancellable(async () => {
    await run.exported;
    state.unexported.push(workflowInfo().runId);
    await exportHistories(run, workflowInfo().runId);
  });
}

/**
 * Exports what is not exported yet, one after the other. Never throws: a failed export never fails a run, but warns.
 * `lastRunId`: the execution that the run ends with.
 */
async function exportHistories({ state, config }: RunControl, lastRunId?: string): Promise<void> {
  const { workflowId, firstExecutionRunId: firstRunId } = workflowInfo();
  for (const runId of [...state.unexported]) {
    try {
      const last = runId === lastRunId;
      await patientCpu(config, 'export of an execution').srlmExport({ workflowId, firstRunId, runId, last });
      state.unexported = state.unexported.filter((one) => one !== runId);
      state.warnings = state.warnings.filter((one) => !one.startsWith(notExported(runId)));
    } catch (error) {
      const { message } = error instanceof ActivityFailure ? rootOf(error) : (error as Error);
      const warning = `${notExported(runId)}: ${message}`.slice(0, MAX_WARNING_CHARS);
      log.warn(warning);
      state.warnings = [...state.warnings.filter((one) => !one.startsWith(notExported(runId))), warning];
    }
  }
}

const notExported = (runId: string) => `The history of execution ${runId} is not exported`;
