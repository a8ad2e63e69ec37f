/**
 * Curves beside the score of a round, where the spec asks for them: samples of each question, and the same with their
 * rationales enriched. A round can do without them, and its score does not depend on them.
 */
import type { DatasetRef, ModelRef, ObjectRef } from '../contracts/refs.js';
import type { RunInput } from '../contracts/run.js';
import type { RunSettings } from '../contracts/spec.js';
import type { EvalResult } from '../contracts/steps.js';
import type { RunControl } from './control/control.js';
import { repliesStep } from './evaluation-sets.js';
import { sharded } from './steps/shards.js';
import { step } from './steps/step.js';

type Run = RunControl<RunSettings>;
type Evaluation = Exclude<RunSettings['evaluation'], 'none'>;

/** null: the spec asks for none, or the round has no score. */
export async function curves(
  run: Run,
  { texts }: RunInput,
  model: ModelRef,
  evaluation: EvalResult | null,
): Promise<ObjectRef | null> {
  const { questions } = run.state.prepared!;
  // Read whenever it is needed: an operator may change it while a step is parked.
  const wanted = () => run.settings.evaluation as Evaluation;
  if (!questions || !evaluation || (wanted().samples === 1 && wanted().enrich === 0)) return null;
  // A single sample is the greedy reply of the score, found under its key; its rationale is then enriched greedily, too.
  const temperature = () => (wanted().samples > 1 ? wanted().temperature : 0);
  const samples = await sharded(run, 'curves (samples)', () => {
    const { samples: k, maxTokens } = wanted();
    return repliesStep(run, { texts, model, questions }, { k, temperature: temperature(), maxTokens });
  });
  const drawnAt = temperature();
  const replies_D: DatasetRef[] = [samples];
  for (let depth = 1; depth <= wanted().enrich; depth++) {
    const replies = replies_D.at(-1)!;
    const deeper = await sharded(run, `curves (depth ${depth})`, () => {
      const { engine, deterministic, seed } = run.settings;
      const sampling = { temperature: drawnAt, maxTokens: wanted().maxTokens };
      return { step: 'deepen', engine, model, data: questions, replies, texts, sampling, seed, depth, deterministic };
    });
    replies_D.push(deeper);
  }
  const input = { questions, replies_D, texts, temperature: drawnAt, evaluation };
  return step(run, 'curves', ({ cpu }) => cpu.srlmCurves(input));
}
