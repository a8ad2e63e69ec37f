/**
 * One round as a workflow of its own: a small history and a clear node in the Temporal UI.
 * Round 0 trains on the data as it came; round t >= 1 enriches it first. Imports nothing of Node.
 */
import type { Dataset, Model } from '../contracts/artifacts.js';
import type { GateOutput, RoundInput, RoundSummary, ScoreCard, SelectOutput } from '../contracts/steps.js';
import { needs } from '../method/selectors.js';
import { Steps } from './steps.js';

/** Round t: M(t-1) -> M(t). A step out of retries parks the run; it never fails it. */
export async function srlmRound(input: RoundInput): Promise<RoundSummary> {
  return new Steps(input.operations, input.round, input.rounds).whole((steps) => runRound(input, steps));
}

async function runRound(input: RoundInput, steps: Steps): Promise<RoundSummary> {
  const { spec, round, current, data, catalysts } = input;
  const chosen = round === 0 ? null : await enrich(input, steps);
  const rows = chosen?.data ?? data;
  const recipe = spec.catalysts === 'none' ? { copies: 1, use: 'enrich' as const } : spec.catalysts;
  const mixture = await steps.step('mix', () =>
    steps.cpu.srlmMix({ data: rows, catalysts, copies: recipe.copies, use: recipe.use, prompts: spec.prompts }),
  );
  const trained = await steps.fineTune({
    trainer: spec.trainer,
    base: spec.training.from === 'start' ? input.start : current,
    data: mixture,
    training: spec.training,
    seed: spec.seed,
    deterministic: spec.deterministic,
  });
  const score = await evaluate(input, steps, trained.model);
  const gate = await decide(input, steps, score);

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
    seconds: Object.fromEntries(steps.state.steps.map(({ step, seconds }) => [step, seconds ?? 0])),
  };
  steps.state.summaries.push(summary);
  steps.state.state = 'done';
  steps.publish();
  return summary;
}

/** Candidates from M(t-1), scored and selected. Each model is loaded once: the current one samples and scores first. */
async function enrich({ spec, round, current, start, data }: RoundInput, steps: Steps): Promise<SelectOutput> {
  const { engine, prompts, enrichFrom, deterministic, seed } = spec;
  const candidates = await steps.sharded(
    {
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
        sampling: { ...spec.sampling, stop: [] },
        seed,
        round,
        deterministic,
      },
    },
    'sample',
  );
  const score = (model: Model, label: string): Promise<Dataset> =>
    steps.sharded(
      { step: 'score', input: { engine, model, data, candidates, prompts, enrichFrom, deterministic } },
      label,
    );
  // A selector that needs no score pays for none; changing the selector later costs the score, not the samples.
  const need = needs(spec.selection.selector);
  const onPolicy = need.onPolicy ? await score(current, 'score (current model)') : null;
  const offPolicy = need.offPolicy ? await score(start, 'score (reference)') : null;
  return steps.step('select', () =>
    steps.cpu.srlmSelect({
      data,
      candidates,
      offPolicy,
      onPolicy,
      prompts,
      enrichFrom,
      selection: spec.selection,
      seed,
      round,
    }),
  );
}

async function evaluate({ spec, questions }: RoundInput, steps: Steps, model: Model): Promise<ScoreCard | null> {
  if (!questions || spec.evaluation === 'none') return null;
  const { engine, prompts, deterministic, seed, evaluation } = spec;
  const replies = await steps.sharded(
    {
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
        sampling: {
          k: 1,
          temperature: 0,
          topP: 1,
          topK: 0,
          maxTokens: evaluation.maxTokens,
          chunkSize: evaluation.chunkSize,
          stop: [],
        },
        seed,
        round: 0,
        deterministic,
      },
    },
    'evaluate',
  );
  return steps.step('grade', () =>
    steps.cpu.srlmGrade({ questions, replies, confidence: spec.gate.confidence, prompts }),
  );
}

async function decide(
  { spec, best, failedInARow }: RoundInput,
  steps: Steps,
  score: ScoreCard | null,
): Promise<GateOutput | null> {
  if (!best || !score) return null;
  return steps.step('gate', () =>
    steps.cpu.srlmGate({ best, current: score, gate: spec.gate, failedInARow, seed: spec.seed }),
  );
}
