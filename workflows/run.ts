/**
 * The method, top to bottom: prepare -> (rationalize) -> round 0 -> round 1 ... round R. One execution a round; the first
 * one also prepares (chain.ts).
 */
import type { ObjectRef } from '../contracts/refs.js';
import { type OperatorRecord, RunInput, type RunProgress, type RunResult, type StepState } from '../contracts/run.js';
import { RunSettings } from '../contracts/spec.js';
import type {
  DataKind,
  GateOutput,
  IngestOutput,
  RoundSummary,
  SourceName,
  StepCost,
  StepCounts,
  TrainingSet,
} from '../contracts/steps.js';
import { begin, continueRun, parsed, toEnd } from './chain.js';
import type { RunControl } from './control/control.js';
import { isOfSet, summed } from './evaluation-sets.js';
import { stopped } from './failures.js';
import { reporter } from './report.js';
import { round } from './round.js';
import { sharded } from './steps/shards.js';
import { type AtStep, step } from './steps/step.js';

export async function srlmRun(
  rawInput: RunInput,
  rawRecord?: OperatorRecord,
  rawProgress?: RunProgress,
): Promise<RunResult> {
  const input = parsed('run input', RunInput, rawInput);
  const { settings, config, fork } = input;
  const start = { settings, schema: RunSettings, config, forkOf: fork?.of ?? null };
  const run = begin(start, rawRecord, rawProgress);
  run.texts = input.texts;
  run.report = input.study ? reporter(input.study) : null;
  const soFar = () => finish(run, run.state.best, true);
  return toEnd(run, input, () => execution(run, input), soFar);
}

/** One execution: a round, and what comes before the first one. */
async function execution(run: RunControl<RunSettings>, input: RunInput): Promise<RunResult> {
  const { state } = run;
  if (!state.prepared) await prepare(run, input);
  const number = state.round ?? 0;
  await applyPromotions(run, number);
  run.enter(number);
  const summary = await round(run, input);
  await record(run, summary);
  const verdict = await verdictOn(run, summary);
  take(run, summary, verdict);
  const isLast = verdict === 'stop' || number >= run.settings.rounds;
  if (!isLast && !(state.stopAfter && run.isFirstPass)) {
    state.round = number + 1;
    return continueRun(run, input);
  }
  // Without a best round nothing was kept: the first round was rejected.
  return (await finish(run, summary, !isLast))!;
}

/** The run's result: its best round, or `otherwise`, and the model that `final` asks for; null: it has neither. */
async function finish(
  run: RunControl,
  otherwise: Pick<RoundSummary, 'round' | 'model'> | null,
  stopped: boolean,
): Promise<RunResult | null> {
  const { state } = run;
  // Nothing is left to stop, and what was promoted meanwhile counts.
  state.stopAfter = null;
  await applyPromotions(run, (state.round ?? 0) + 1);
  const best = state.best ?? otherwise;
  if (!best) return null;
  // Where the next round would start: after a roll-back that is the best round.
  const last = state.head?.round == null ? best : { round: state.head.round, model: state.head.model };
  const { round, model } = state.final === 'last' ? last : best;
  return { best: best.round, final: round, model, table: state.table!, stopped };
}

const KINDS: Record<SourceName, DataKind> = { data: 'examples', catalysts: 'catalysts', evaluation: 'questions' };

// --- before the first round -------------------------------------------------------------------------------------------
async function prepare(run: RunControl<RunSettings>, input: RunInput): Promise<void> {
  const { texts } = input;
  const { catalysts, evaluation, sampling } = run.settings;
  const model = await step(run, 'prepare', ({ gpu }) => gpu.srlmPrepareModel({ texts }));
  const ingest = (source: SourceName, file: ObjectRef, limit: number | null = null, chunkSize = sampling.chunkSize) => {
    const kind = KINDS[source];
    const work = ({ cpu }: AtStep) => cpu.srlmIngest({ kind, source, texts, file, limit, chunkSize });
    return step(run, `ingest ${kind}`, work);
  };
  const examples = await ingest('data', input.data, run.settings.data.limit);
  const demonstrations =
    input.catalysts && catalysts !== 'none' ? await ingest('catalysts', input.catalysts, catalysts.limit) : null;
  const questions =
    input.evaluation && evaluation !== 'none'
      ? await ingest('evaluation', input.evaluation, evaluation.limit, evaluation.chunkSize)
      : null;
  const set = await firstSet(run, input, model, examples);
  const dataset = demonstrations?.dataset ?? null;
  const review = { data: dataset, rows: dataset?.rows ?? 0, enriched: null, evaluation: null, gate: null };
  if (!(await run.approval('catalysts', review))) throw stopped('Stopped: the catalysts were rejected');
  run.state.prepared = { model, set, catalysts: dataset, questions: questions?.dataset ?? null };
  run.state.head = { round: null, model, set };
}

/** Where r0 is missing, the starting model (or a named engine) writes a short one from (x, y) [ours]. */
async function firstSet(
  run: RunControl<RunSettings>,
  { texts }: RunInput,
  model: RoundSummary['model'],
  { dataset, missingRationales, meanRationaleChars }: IngestOutput,
): Promise<TrainingSet> {
  if (missingRationales === 0) return { dataset, rows: dataset.rows, enriched: 0, meanRationaleChars };
  const candidates = await sharded(run, 'rationalize', () => {
    const { engine, rationalizeEngine, sampling, seed, deterministic } = run.settings;
    const { chunkSize: _, maxFailedShare: __, ...drawn } = sampling;
    return {
      step: 'sample',
      purpose: 'rationalize',
      engine: rationalizeEngine ?? engine,
      model,
      data: dataset,
      texts,
      // Short because of its prompt; the bound only ends what would not stop.
      sampling: { ...drawn, k: 1, temperature: 0, maxTokens: Math.min(160, sampling.maxTokens), stop: [] },
      enrichFrom: 'original',
      seed,
      round: 0,
      deterministic,
    };
  });
  const added = await step(run, 'addRationales', ({ cpu }) =>
    cpu.srlmAddRationales({ data: dataset, candidates, texts }),
  );
  // A release before 0.4 counted nothing here.
  return 'set' in added ? added.set : added;
}

// --- after a round ----------------------------------------------------------------------------------------------------
/** Adds the round to the run's table; a round that is there already is replaced. */
async function record(run: RunControl, summary: RoundSummary): Promise<void> {
  const { state } = run;
  const isFirst = summary.round === 0;
  // A payload of its own: the round is near its limit.
  const { watch, ...rest } = summary;
  const [own, drawn] = counts(run);
  const keep = ({ cpu }: AtStep) =>
    cpu.srlmKeepRound(
      {
        table: isFirst ? null : state.table,
        preparation: isFirst ? costs(run, null) : null,
        round: { ...rest, steps: costs(run, summary.round) },
      },
      own,
      ...(watch || drawn ? [watch ?? null] : []),
      ...(drawn ? [drawn] : []),
    );
  state.table = await step(run, 'record', keep, { isBookkeeping: true });
  state.rounds = summary.round + 1;
}

/** What the steps of a round took; `round` null: those before the first one. Evaluation sets beside the gate's are one. */
function costs({ state }: RunControl, round: number | null): StepCost[] {
  const steps = state.steps.filter((one) => one.round === round && one.step !== 'record');
  const cost = ({ step, seconds, usage, reused }: StepState) => ({ step, seconds: seconds ?? 0, usage, reused });
  const ofSets = steps.filter(({ step }) => isOfSet(step)).map(cost);
  return [...steps.filter(({ step }) => !isOfSet(step)).map(cost), ...summed('evaluate (sets)', ofSets)];
}

/**
 * What the steps of this execution have counted: those of a round, and before the first one those of the preparation. What
 * evaluation sets beside the gate's count is in the report.
 */
function counts({ state }: RunControl): [StepCounts, ...StepCounts[]] {
  const all: StepCounts = state.steps.flatMap(({ step, round, counts }) =>
    counts && !isOfSet(step) ? [{ round, step, counts }] : [],
  );
  const drawn = all.filter(({ step }) => step.startsWith('curves ('));
  // A payload of their own: together they would be above what one may have.
  return drawn.length === 0 ? [all] : [all.filter((one) => !drawn.includes(one)), drawn];
}

/** The gate's verdict, or the operator's: given now, or recorded in an earlier pass over the rounds or by a fork's parent. */
async function verdictOn(run: RunControl, summary: RoundSummary): Promise<GateOutput['verdict']> {
  const { overrides } = run.state;
  const { round, set, evaluation, gate } = summary;
  const known = overrides.some((one) => one.round === round && one.verdict === 'roll-back');
  const review = { data: set.dataset, rows: set.rows, enriched: set.enriched, evaluation, gate };
  const rejected = known || !(await run.approval('after-round', review));
  if (rejected && !known) overrides.push({ round, verdict: 'roll-back', before: round + 1 });
  if (!rejected || (gate && gate.verdict !== 'keep')) return gate?.verdict ?? 'keep';
  if (gate) {
    summary.gate = { ...gate, verdict: 'roll-back' };
    await record(run, summary);
  }
  return 'roll-back';
}

/** Where the next round starts: this round's model and data, or, rolled back, those of the best round. */
function take(
  { state }: RunControl,
  { round, model, set, evaluation }: RoundSummary,
  verdict: GateOutput['verdict'],
): void {
  if (verdict === 'keep') {
    state.rollbacksInARow = 0;
    state.head = { round, model, set };
    // An unevaluated round cannot be the reference for later ones.
    const best = state.best?.evaluation ?? null;
    if (evaluation ? evaluation.accuracy >= (best?.accuracy ?? 0) : !best)
      state.best = { round, model, set, evaluation };
    return;
  }
  state.rollbacksInARow++;
  if (state.best) state.head = { round: state.best.round, model: state.best.model, set: state.best.set };
}

/** Applies what `promote` has set for the beginning of a round. */
async function applyPromotions(run: RunControl, before: number): Promise<void> {
  const { state } = run;
  for (const override of state.overrides.filter((one) => one.verdict === 'promote' && one.before === before)) {
    const { table } = state;
    if (!table || override.round >= state.rounds) continue;
    const read = ({ cpu }: AtStep) => cpu.srlmReadRound({ table, round: override.round });
    const { round, model, set, evaluation } = await step(run, 'promote', read, { isBookkeeping: true });
    state.head = { round, model, set };
    state.best = { round, model, set, evaluation };
    state.rollbacksInARow = 0;
  }
}
