/**
 * One round, M(t-1) -> M(t). Round 0 trains on the data as it came; round t >= 1 enriches it first. A step that runs out
 * of retries parks the run; it never fails it.
 */
import { patched } from '@temporalio/workflow';
import type { DatasetRef, ModelRef, ObjectRef } from '../contracts/refs.js';
import type { ScoreName } from '../contracts/rows.js';
import type { RunInput } from '../contracts/run.js';
import type { RunSettings } from '../contracts/spec.js';
import type {
  EvalResult,
  GateOutput,
  RoundSummary,
  SelectInput,
  SelectOutput,
  TrainingSet,
} from '../contracts/steps.js';
import type { RoundWatch } from '../contracts/watch.js';
import type { WatchInput } from '../contracts/watch-input.js';
import { scoresOf, scoresToKeep } from '../method/selectors/index.js';
import type { RunControl } from './control/control.js';
import { curves } from './curves.js';
import { evaluateOthers, gateByLikelihood, leftOutOfGate, replies, report } from './evaluation-sets.js';
import { stopped } from './failures.js';
import { sharded } from './steps/shards.js';
import { optional, step } from './steps/step.js';
import { train } from './steps/training.js';

type Run = RunControl<RunSettings>;

export async function round(run: Run, input: RunInput): Promise<RoundSummary> {
  const { texts } = input;
  const { prepared, head } = run.state;
  const number = run.state.round ?? 0;
  const enrichment = number === 0 ? null : await optional(run, () => enrich(run, input));
  const set = enrichment?.selected.set ?? head!.set;
  const mixture = await step(run, 'mix', ({ cpu }) => {
    const { catalysts } = run.settings;
    const { copies, use } = catalysts === 'none' ? { copies: 1, use: 'enrich' as const } : catalysts;
    const sources = { data: set.dataset, catalysts: prepared!.catalysts };
    return cpu.srlmMix({ ...sources, copies, use, texts });
  });
  const review = { data: set.dataset, rows: mixture.rows, enriched: set.enriched, evaluation: null, gate: null };
  if (!(await run.approval('before-train', review))) throw stopped('Stopped: training was rejected');
  const trained = await train(run, () => {
    const { trainer, training, seed, deterministic } = run.settings;
    const base = training.from === 'start' ? prepared!.model : head!.model;
    return { trainer, base, data: mixture, training, seed, deterministic };
  });
  const evaluation = await optional(run, () => evaluate(run, input, trained.model));
  const drawn = await optional(run, () => curves(run, input, trained.model, evaluation));
  const others = await evaluateOthers(run, input, trained.model);
  const decisions = enrichment?.selected.decisions ?? null;
  const reported = await report(run, evaluation, others);
  const measured = {
    decisions,
    evaluation,
    ...(reported ? { report: reported } : {}),
    ...(drawn ? { curves: drawn } : {}),
  };
  const watch = await optional(run, () => measure(run, set, measured));
  const gate = await optional(run, () => decide(run, evaluation, watch));
  return {
    round: number,
    set,
    model: trained.model,
    trainLoss: trained.trainLoss,
    evaluation,
    gate,
    ...(reported ? { report: reported } : {}),
    ...(drawn ? { curves: drawn } : {}),
    steps: [],
    changed: enrichment?.selected.changed ?? null,
    candidates: enrichment?.candidates ?? null,
    decisions,
    ...(watch ? { watch } : {}),
  };
}

/** Candidates from M(t-1), scored and selected. Each model is loaded once: the current one samples and scores first. */
async function enrich(run: Run, { texts }: RunInput): Promise<{ candidates: DatasetRef; selected: SelectOutput }> {
  const { head, prepared } = run.state;
  const round = run.state.round!;
  const data = head!.set.dataset;
  const candidates = await sharded(run, 'sample', () => {
    const { engine, enrichFrom, deterministic, seed, sampling } = run.settings;
    const { chunkSize: _, maxFailedShare: __, ...drawn } = sampling;
    return {
      step: 'sample',
      purpose: 'enrich',
      engine,
      model: head!.model,
      data,
      texts,
      enrichFrom,
      sampling: { ...drawn, stop: [] },
      seed,
      round,
      deterministic,
    };
  });
  const parsed = await step(run, 'parse', ({ cpu }) => cpu.srlmParse({ candidates, texts }));
  const found: Scores = { scores: {}, withoutRationale: {} };
  for (let missing = missingScore(run, found); missing; missing = missingScore(run, found)) {
    const { of, model, alone } = missing;
    const name = `logprob (${model}${alone ? ', no rationale' : ''})` as const;
    found[alone ? 'withoutRationale' : 'scores'][of] = await sharded(run, name, () => {
      const { engine, deterministic } = run.settings;
      const scoredBy = of === 'on-policy' ? head!.model : prepared!.model;
      // The answer alone is the same in all rounds: under the reference model it is found from the second one on.
      const rows = alone ? { data: prepared!.set.dataset, candidates: null } : { data, candidates: parsed };
      return { step: 'logprob', engine, model: scoredBy, ...rows, texts, deterministic };
    });
  }
  const judged = run.settings.selection.judge ? { judged: await judge(run, data, parsed, texts) } : {};
  const selected = await step(run, 'select', ({ cpu }) => {
    const { enrichFrom, selection, seed } = run.settings;
    return cpu.srlmSelect({ data, candidates: parsed, ...found, ...judged, texts, enrichFrom, selection, seed, round });
  });
  return { candidates, selected };
}

const judge = (run: Run, data: DatasetRef, candidates: DatasetRef, texts: ObjectRef) =>
  sharded(run, 'judge', () => {
    const { enrichFrom, deterministic, selection } = run.settings;
    const { engine, maxTokens } = selection.judge!;
    const { model } = run.state.prepared!;
    return { step: 'judge', engine, model, data, candidates, texts, enrichFrom, maxTokens, deterministic };
  });

type Scores = Required<Pick<SelectInput, 'scores' | 'withoutRationale'>>;

/** In this order: the current model is loaded already, and each model once. */
const SCORED: { of: ScoreName; model: string; alone: boolean }[] = [
  { of: 'on-policy', model: 'current model', alone: false },
  { of: 'on-policy', model: 'current model', alone: true },
  { of: 'off-policy', model: 'reference', alone: false },
  { of: 'off-policy', model: 'reference', alone: true },
];

/** Asked again after each of them: an operator may choose another selector while one is parked, which is then the last. */
function missingScore({ settings: { selection } }: Run, { scores, withoutRationale }: Scores) {
  const keep = patched('all-scores')
    ? scoresToKeep(selection)
    : { names: scoresOf(selection.selector), withoutRationale: [] };
  return SCORED.find(({ of, alone }) =>
    alone ? keep.withoutRationale.includes(of) && !withoutRationale[of] : keep.names.includes(of) && !scores[of],
  );
}

async function evaluate(run: Run, input: RunInput, model: ModelRef): Promise<EvalResult | null> {
  const { questions } = run.state.prepared!;
  const { evaluation } = run.settings;
  const { texts } = input;
  if (!questions || evaluation === 'none') return null;
  if (evaluation.kind === 'choice-likelihood') return gateByLikelihood(run, input, questions, model);
  const maxTokens = () => (run.settings.evaluation as typeof evaluation).maxTokens;
  const answers = await replies(run, texts, { questions, maxTokens, model, number: null });
  return step(run, 'grade', ({ cpu }) => {
    const { confidence } = run.settings.gate;
    const leftOut = leftOutOfGate(input);
    return cpu.srlmGrade({ questions, replies: answers, texts, confidence, ...(leftOut ? { leftOut } : {}) });
  });
}

/** The numbers by which the round is watched; null: there is nothing to measure. */
async function measure(
  run: Run,
  { dataset: _, ...set }: TrainingSet,
  from: Pick<WatchInput, 'decisions' | 'evaluation' | 'report' | 'curves'>,
): Promise<RoundWatch | null> {
  if (!(from.decisions || from.evaluation) || !patched('round-watch')) return null;
  return step(run, 'watch', ({ cpu }) => {
    const { round, table } = run.state;
    return cpu.srlmWatch({ ...from, set, round: round!, table, selection: run.settings.selection });
  });
}

/** null: there is no better round to return to, or nothing to decide by. */
async function decide(run: Run, current: EvalResult | null, watch: RoundWatch | null): Promise<GateOutput | null> {
  const best = run.state.best?.evaluation ?? null;
  const isLimited = () => watch !== null && Object.keys(run.settings.gate.watch).length > 0;
  if (!run.state.best || !((best && current) || isLimited())) return null;
  return step(run, 'gate', ({ cpu }) => {
    const { gate, seed } = run.settings;
    const { rollbacksInARow, table } = run.state;
    const limited = isLimited() ? { watch, table } : {};
    return cpu.srlmGate({ best, current, gate, rollbacksInARow, seed, ...limited });
  });
}
