/**
 * How a step runs: its state is kept for whoever asks, and a step that runs out of retries parks the run instead of
 * failing it. What operators do about it is in control/.
 */
import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  isCancellation,
  log,
  workflowInfo,
} from '@temporalio/workflow';
import {
  type Counts,
  countsText,
  failedReplies,
  failedTexts,
  mostlyCut,
  type TextCounts,
  unreadShare,
  type VerdictCounts,
} from '../../contracts/counts.js';
import { shellWord } from '../../contracts/errors.js';
import type { Usage } from '../../contracts/refs.js';
import type { Parked, StepState } from '../../contracts/run.js';
import type { StepDone, StepMeta, StepName } from '../../contracts/steps.js';
import { addUsage, NO_USAGE } from '../../method/budget.js';
import { spend as spendOfRun, usedUpBound } from '../control/budget.js';
import { now, type RunControl } from '../control/control.js';
import { clipped } from '../control/record.js';
import { countPark, countParkEnded, countStep, countUsage } from '../metrics.js';
import { publish } from '../status.js';
import { acceptModel } from './accept-model.js';
import { cpu, gpu } from './proxies.js';

/** Somebody chose to continue without this step. */
class Skipped {
  constructor(readonly step: string) {}
}

/** So many texts failed that the step is not done. */
class TooFewTexts {
  /** Without the type, which is added to the sentence. */
  constructor(
    readonly type: 'sampling.failed' | 'judge.unreadable',
    readonly sentence: string,
  ) {}
  get message(): string {
    return `${this.sentence} [${this.type}]`;
  }
}

/** A bound of the budget is used up. */
class BudgetSpent {
  constructor(readonly bound: string) {}
}

/** Messages are part of the memo, which is one payload. */
const MAX_MESSAGE_CHARS = 1000;
const MAX_MESSAGE_BYTES = 2000;
const MAX_TYPE_BYTES = 200;

/** What a step works with: its own state, and the activities, with its name on each for Temporal's UI. */
export interface AtStep {
  state: StepState;
  cpu: ReturnType<typeof cpu>;
  gpu: ReturnType<typeof gpu>;
}

/**
 * Runs `work` under a name, again and again until it succeeds or somebody ends it.
 * Throws artifact.damaged, run.stopped, cancellation, and Skipped (for `optional`).
 */
export async function step<T>(
  run: RunControl,
  name: StepName,
  work: (at: AtStep) => Promise<StepDone<T> | T>,
  { rows = null, isBookkeeping = false }: { rows?: number | null; isBookkeeping?: boolean } = {},
): Promise<T> {
  // What is done must be recorded, whoever has paused the run or wants it to end with this step.
  if (!isBookkeeping) await run.checkpoint();
  const startedAt = Date.now();
  const state: StepState = {
    step: name,
    round: run.state.round,
    state: 'running',
    rowsDone: rows === null ? null : 0,
    rowsTotal: rows,
    startedAt: new Date(startedAt).toISOString(),
    seconds: null,
    reused: false,
    usage: null,
    counts: null,
  };
  run.state.steps.push(state);
  for (;;) {
    publish(run);
    try {
      const summary = label(run, name);
      if (run.acceptsModel) await acceptModel(run, run.texts!, name);
      const done = await work({ state, cpu: cpu(run.config, summary), gpu: gpu(run.config, summary) });
      state.state = 'done';
      state.seconds = (Date.now() - startedAt) / 1000;
      countStep(name, state.seconds, state.rowsDone);
      if (!isStepDone(done)) return done;
      state.reused = done.meta.reused;
      state.counts = countsOf(done.output);
      warnOfCut(run, state);
      return done.output;
    } catch (error) {
      const failure = failureOf(run, error);
      const kept = state.rowsDone ? `${state.rowsDone} of ${rows} rows are done and kept.` : '';
      if (rows !== null) state.rowsDone = 0;
      await park(run, state, failure, kept);
    }
  }
}

/** Runs steps that a round can do without [ours]: null if an operator skipped one of them. */
export async function optional<T>(run: RunControl, work: () => Promise<T>): Promise<T | null> {
  const outer = run.skippable;
  run.skippable = true;
  try {
    return await work();
  } catch (error) {
    if (error instanceof Skipped) return null;
    throw error;
  } finally {
    run.skippable = outer;
  }
}

async function park(
  run: RunControl,
  state: StepState,
  failure: Pick<Parked, 'type' | 'message' | 'attempts'>,
  kept: string,
): Promise<void> {
  state.state = 'parked';
  const { step, round } = state;
  // A budget stop cannot be skipped: the round would have nothing to train on.
  const skippable = run.skippable && failure.type !== 'budget.spent';
  const parked: Parked = { kind: 'parked', step, round, ...failure, since: now(), kept, skippable };
  log.warn('parked', { ...parked });
  countPark(step);
  const { kind, command } = await run.halted(parked);
  countParkEnded(step);
  log.info(`${kind} by ${command.who}`, { why: command.why });
  state.state = kind === 'skip' ? 'skipped' : 'running';
  if (kind === 'skip') throw new Skipped(step);
  await run.unpaused();
}

/** The park reason for an error; rethrows errors that end the run. */
function failureOf({ config }: RunControl, error: unknown): Pick<Parked, 'type' | 'message' | 'attempts'> {
  if (error instanceof BudgetSpent) {
    const { bound } = error;
    const raise = `Raise it: srlm set ${shellWord(workflowInfo().workflowId)} ${bound}=N`;
    return {
      type: 'budget.spent',
      message: `${bound} is used up. Everything done is kept. ${raise} [budget.spent]`,
      attempts: 1,
    };
  }
  if (error instanceof TooFewTexts)
    return { type: error.type, message: clipped(error.message, MAX_MESSAGE_CHARS), attempts: 1 };
  if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
  const { type, message } = rootOf(error);
  // The run repeats its steps, and does again what lost its record.
  if (type === 'artifact.damaged') throw ApplicationFailure.nonRetryable(message, type);
  const attempts = error.retryState === 'MAXIMUM_ATTEMPTS_REACHED' ? config.maxAttempts : 1;
  return {
    type: clipped(type, MAX_TYPE_BYTES),
    message: clipped(message.slice(0, MAX_MESSAGE_CHARS), MAX_MESSAGE_BYTES),
    attempts,
  };
}

export function rootOf({ cause, message }: ActivityFailure): { type: string; message: string } {
  if (cause instanceof ApplicationFailure) return { type: cause.type ?? 'unknown', message: cause.message };
  return { type: cause?.name ?? 'unknown', message: cause?.message ?? message };
}

/** Runs work that a pause interrupts; null if it was interrupted. */
export async function pausable<T>(run: RunControl, work: () => Promise<T>, timeoutMs?: number): Promise<T | null> {
  const timeout = timeoutMs === undefined ? {} : { timeout: timeoutMs };
  const scope = new CancellationScope({ cancellable: true, ...timeout });
  run.pausable.add(scope);
  try {
    return await scope.run(work);
  } catch (error) {
    // A run that is cancelled cancels this scope through the one around it. An attempt whose worker died after it was
    // asked to stop is not made again, and fails.
    const isEnded =
      isCancellation(error) || (error instanceof ActivityFailure && error.retryState === 'CANCEL_REQUESTED');
    if (isEnded && scope.consideredCancelled && !CancellationScope.current().consideredCancelled) return null;
    throw error;
  } finally {
    run.pausable.delete(scope);
  }
}

/** Counts what a step has cost, for the step and for the run's budget. */
export function spend(run: RunControl, state: StepState, usage: Usage): void {
  state.usage = addUsage(state.usage ?? NO_USAGE, usage);
  countUsage(state.step, usage);
  spendOfRun(run, usage);
}

export function assertBudget(run: RunControl): void {
  const bound = usedUpBound(run);
  if (bound) throw new BudgetSpent(bound);
}

/** Throws TooFewTexts. Nothing at all is never a result; how much may be missing is the spec's to say. */
export function assertReceived({ settings }: RunControl, step: StepName, counts: TextCounts): void {
  const { maxFailedShare } = settings.sampling;
  const { asked, texts } = counts;
  const failed = isEvaluation(step) ? failedReplies(counts) : failedTexts(counts);
  const isNothing = isEvaluation(step) ? failed === asked : texts === 0;
  if (asked === 0 || (!isNothing && failed <= maxFailedShare * asked)) return;
  const retry = `srlm retry ${shellWord(workflowInfo().workflowId)}`;
  const ways: string[] = [];
  // What a further evaluation set asks for is settled when the run begins.
  const isSettable = !isEvaluation || step === 'evaluate';
  if (mostlyCut(counts) && isSettable) ways.push(`Give it more room: ${retry} --set ${maxTokensField(step)}=N.`);
  if (counts.suspect > 0) ways.push(`Look at the endpoint, then ask again where nothing came: ${retry}.`);
  if (ways.length === 0)
    ways.push('The outcome of each row is kept, for other runs as well; only another seed asks again.');
  if (!isNothing) ways.push(`To continue with what came: ${retry} --set sampling.maxFailedShare=1.`);
  throw new TooFewTexts('sampling.failed', `${countsText(counts)}. ${ways.join(' ')}`);
}

/** Throws TooFewTexts where a judge gave too few verdicts. */
export function assertRead({ settings }: RunControl, counts: VerdictCounts): void {
  const share = unreadShare(counts);
  if (share <= settings.sampling.maxFailedShare && share < 1) return;
  const retry = `srlm retry ${shellWord(workflowInfo().workflowId)}`;
  const ways = `Give it more room: ${retry} --set selection.judge.maxTokens=N. Or ask another one: ${retry} --set selection.judge.engine=NAME.`;
  throw new TooFewTexts('judge.unreadable', `${countsText(counts)}. ${ways}`);
}

function warnOfCut({ state: { warnings } }: RunControl, { round, step, counts }: StepState): void {
  if (counts?.of !== 'texts' || !mostlyCut(counts)) return;
  const { cut, asked, maxTokens } = counts;
  const where = round === null ? step : `round ${round} · ${step}`;
  warnings.push(`${where}: ${cut} of ${asked} texts were cut at maxTokens ${maxTokens}; raise ${maxTokensField(step)}`);
}

/** Steps number the sets beside the gate's: their names are words of the spec. */
function maxTokensField(step: string): string {
  if (!isEvaluation(step)) return 'sampling.maxTokens';
  return step.startsWith('evaluate (set ') ? 'evaluation.others.NAME.maxTokens' : 'evaluation.maxTokens';
}

/** What it asks for are replies to held-out questions. */
const isEvaluation = (step: string) => step === 'evaluate' || /^(?:evaluate|curves) \(/.test(step);

/** `round 2 · sample · shard 3/8`, for Temporal's UI. */
export const label = ({ state }: RunControl, text: string): string =>
  state.round === null ? text : `round ${state.round} · ${text}`;

/** What a step's output says of what it received. */
function countsOf(output: unknown): Counts | null {
  return (output as { counts?: Counts | null } | null)?.counts ?? null;
}

function isStepDone<T>(done: StepDone<T> | T): done is StepDone<T> {
  const { meta } = (done ?? {}) as { meta?: Partial<StepMeta> };
  return typeof meta?.key === 'string';
}
