/**
 * One round as a workflow of its own: a small history and a clear node in the Temporal UI.
 * Round 0 trains on the data as it came; round t >= 1 enriches it first. Imports nothing of Node.
 */
import { ApplicationFailure } from '@temporalio/workflow';
import type { Dataset, Model } from '../contracts/artifacts.js';
import type { RoundLeft, RoundOutcome } from '../contracts/progress.js';
import type { RunSpec } from '../contracts/spec.js';
import type { GateOutput, RoundInput, RoundSummary, ScoreCard, SelectOutput } from '../contracts/steps.js';
import { needs } from '../method/selectors.js';
import { stopped } from './orders.js';
import { Skipped, Steps } from './steps.js';

/** Round t: M(t-1) -> M(t). A step that cannot go on parks the run; it never fails it. */
export async function srlmRound(input: RoundInput): Promise<RoundOutcome> {
  const { operations, spec, round, rounds, startedAt, spent, best } = input;
  const steps = new Steps({ operations, spec, round, rounds, startedAt, spent, scored: best !== null });
  try {
    return await steps.whole(() => runRound(input, steps));
  } catch (error) {
    if (!(error instanceof ApplicationFailure)) throw error;
    const { message, type } = error;
    throw ApplicationFailure.nonRetryable(message, type, leftBy(steps));
  }
}

/** What the run keeps of a round, however it ended: what operators ordered of it, and what it spent. */
function leftBy({ state }: Steps<RunSpec>): RoundLeft {
  const { changes, interventions, steps } = state;
  const spent = steps.flatMap(({ step, spent }) => (spent ? [[step, spent] as const] : []));
  return {
    ...(spent.length > 0 ? { spent: Object.fromEntries(spent) } : {}),
    ...(changes.length > 0 ? { told: Object.assign({}, ...changes.map(({ set }) => set)) } : {}),
    ...(interventions.length > 0 ? { interventions } : {}),
  };
}

async function runRound(input: RoundInput, steps: Steps<RunSpec>): Promise<RoundOutcome> {
  const { round, current, data, catalysts } = input;
  const chosen = round === 0 ? null : await orSkip(() => enrich(input, steps));
  const rows = chosen?.data ?? data;
  const mixture = await steps.step('mix', () => {
    const { catalysts: source, prompts } = steps.spec;
    const recipe = source === 'none' ? { copies: 1, use: 'enrich' as const } : source;
    return steps.cpu.srlmMix({ data: rows, catalysts, copies: recipe.copies, use: recipe.use, prompts });
  });
  const about = { data: rows, rows: mixture.rows, enriched: chosen?.enriched ?? 0, score: null, gate: null };
  if (!(await steps.orders.approved('before-train', about))) throw stopped('training was rejected');
  const trained = await steps.fineTune(() => {
    const { trainer, training, seed, deterministic } = steps.spec;
    const base = training.from === 'start' ? input.start : current;
    return { trainer, base, data: mixture, training, seed, deterministic };
  });
  const score = await orSkip(() => evaluate(input, steps, trained.model));
  const gate = await orSkip(() => decide(input, steps, score));

  const { state } = steps;
  const { spent, ...left } = leftBy(steps);
  const summary: RoundSummary = {
    round,
    model: trained.model,
    changed: chosen?.changed ?? null,
    enriched: chosen?.enriched ?? 0,
    rows: data.rows,
    meanRationaleChars: chosen?.meanRationaleChars ?? input.meanRationaleChars,
    trainLoss: trained.trainLoss,
    score,
    gate,
    data: rows,
    decisions: chosen?.decisions ?? null,
    seconds: Object.fromEntries(state.steps.map(({ step, seconds }) => [step, seconds ?? 0])),
    ...(spent ? { spent } : {}),
  };
  state.summaries.push(summary);
  state.state = 'done';
  steps.publish();
  return { ...summary, ...left };
}

/** What can be done without is done without, if somebody says so: null. */
async function orSkip<T>(work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Skipped) return null;
    throw error;
  }
}

/** Candidates from M(t-1), scored and selected. Each model is loaded once: the current one samples and scores first. */
async function enrich({ round, current, start, data }: RoundInput, steps: Steps<RunSpec>): Promise<SelectOutput> {
  const candidates = await steps.sharded(() => {
    const { engine, prompts, enrichFrom, deterministic, seed, sampling } = steps.spec;
    return {
      step: 'sample',
      input: {
        purpose: 'enrich',
        engine,
        model: current,
        data,
        prompts,
        system: null,
        prompt: null,
        enrichFrom,
        sampling: { ...sampling, stop: [] },
        seed,
        round,
        deterministic,
      },
    };
  }, 'sample');
  const score = (model: Model, label: string): Promise<Dataset> =>
    steps.sharded(() => {
      const { engine, prompts, enrichFrom, deterministic } = steps.spec;
      return { step: 'score', input: { engine, model, data, candidates, prompts, enrichFrom, deterministic } };
    }, label);
  // A selector that needs no score pays for none; changing the selector later costs the score, not the samples.
  const need = needs(steps.spec.selection.selector);
  const onPolicy = need.onPolicy ? await score(current, 'score (current model)') : null;
  const offPolicy = need.offPolicy ? await score(start, 'score (reference)') : null;
  return steps.step('select', () => {
    const { prompts, enrichFrom, selection, seed } = steps.spec;
    return steps.cpu.srlmSelect({ data, candidates, offPolicy, onPolicy, prompts, enrichFrom, selection, seed, round });
  });
}

async function evaluate({ questions }: RoundInput, steps: Steps<RunSpec>, model: Model): Promise<ScoreCard | null> {
  if (!questions || steps.spec.evaluation === 'none') return null;
  const replies = await steps.sharded(() => {
    const { engine, prompts, deterministic, seed } = steps.spec;
    const { maxTokens, chunkSize } = steps.spec.evaluation as Exclude<RunSpec['evaluation'], 'none'>;
    return {
      step: 'sample',
      input: {
        purpose: 'answer',
        engine,
        model,
        data: questions,
        prompts,
        system: null,
        prompt: null,
        enrichFrom: 'original',
        sampling: { k: 1, temperature: 0, topP: 1, topK: 0, maxTokens, chunkSize, stop: [] },
        seed,
        round: 0,
        deterministic,
      },
    };
  }, 'evaluate');
  return steps.step('grade', () => {
    const { gate, prompts } = steps.spec;
    return steps.cpu.srlmGrade({ questions, replies, confidence: gate.confidence, prompts });
  });
}

async function decide(
  { best, failedInARow }: RoundInput,
  steps: Steps<RunSpec>,
  score: ScoreCard | null,
): Promise<GateOutput | null> {
  if (!best || !score) return null;
  return steps.step('gate', () => {
    const { gate, seed } = steps.spec;
    return steps.cpu.srlmGate({ best, current: score, gate, failedInARow, seed });
  });
}
