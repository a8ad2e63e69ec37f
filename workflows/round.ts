/**
 * One round, M(t-1) -> M(t). Round 0 trains on the data as it came; round t >= 1 enriches it first. A step that runs out
 * of retries parks the run; it never fails it.
 */
import { patched } from '@temporalio/workflow';
import type { DatasetRef, ModelRef } from '../contracts/refs.js';
import type { ScoreName } from '../contracts/rows.js';
import type { RunInput } from '../contracts/run.js';
import type { RunSettings } from '../contracts/spec.js';
import type { EvalResult, GateOutput, RoundSummary, SelectInput, SelectOutput } from '../contracts/steps.js';
import { scoresOf, scoresToKeep } from '../method/selectors/index.js';
import type { RunControl } from './control/control.js';
import { curves } from './curves.js';
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
  const gate = await optional(run, () => decide(run, evaluation));
  return {
    round: number,
    set,
    model: trained.model,
    trainLoss: trained.trainLoss,
    evaluation,
    gate,
    ...(drawn ? { curves: drawn } : {}),
    steps: [],
    changed: enrichment?.selected.changed ?? null,
    candidates: enrichment?.candidates ?? null,
    decisions: enrichment?.selected.decisions ?? null,
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
  const selected = await step(run, 'select', ({ cpu }) => {
    const { enrichFrom, selection, seed } = run.settings;
    return cpu.srlmSelect({ data, candidates: parsed, ...found, texts, enrichFrom, selection, seed, round });
  });
  return { candidates, selected };
}

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

async function evaluate(run: Run, { texts }: RunInput, model: ModelRef): Promise<EvalResult | null> {
  const { questions } = run.state.prepared!;
  const { evaluation } = run.settings;
  if (!questions || evaluation === 'none') return null;
  const replies = await sharded(run, 'evaluate', () => {
    const { engine, deterministic, seed } = run.settings;
    const { maxTokens } = run.settings.evaluation as typeof evaluation;
    return {
      step: 'sample',
      purpose: 'evaluate',
      engine,
      model,
      data: questions,
      texts,
      enrichFrom: 'original',
      sampling: { k: 1, temperature: 0, topP: 1, topK: 0, maxTokens, stop: [] },
      seed,
      round: 0,
      deterministic,
    };
  });
  return step(run, 'grade', ({ cpu }) => {
    const { confidence } = run.settings.gate;
    return cpu.srlmGrade({ questions, replies, texts, confidence });
  });
}

async function decide(run: Run, current: EvalResult | null): Promise<GateOutput | null> {
  const best = run.state.best?.evaluation;
  if (!best || !current) return null;
  return step(run, 'gate', ({ cpu }) => {
    const { gate, seed } = run.settings;
    const { rollbacksInARow } = run.state;
    return cpu.srlmGate({ best, current, gate, rollbacksInARow, seed });
  });
}
