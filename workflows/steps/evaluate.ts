/**
 * The evaluation of a round: one greedy reply a question, which is its score. Where the spec asks for them, also samples
 * and enriched replies, for curves beside the score: these can be skipped on their own.
 */
import type { DatasetRef, ModelRef, ObjectRef } from '../../contracts/refs.js';
import type { RunInput } from '../../contracts/run.js';
import type { RunSettings } from '../../contracts/spec.js';
import type { CurvesInput, EvalResult } from '../../contracts/steps.js';
import type { RunControl } from '../control/control.js';
import { gateByLikelihood, leftOutOfGate, replies as greedyReplies } from '../evaluation-sets.js';
import { sharded } from './shards.js';
import { optional, step } from './step.js';

type Run = RunControl<RunSettings>;
type Evaluation = Exclude<RunSettings['evaluation'], 'none'>;

interface Evaluated {
  evaluation: EvalResult;
  curves: ObjectRef | null;
}

/** What is asked, and of whom. */
interface Asked {
  texts: RunInput['texts'];
  model: ModelRef;
  questions: DatasetRef;
}

export async function evaluate(run: Run, input: RunInput, model: ModelRef): Promise<Evaluated | null> {
  const { questions } = run.state.prepared!;
  const { texts } = input;
  const { evaluation: settings } = run.settings;
  if (!questions || settings === 'none') return null;
  if (settings.kind === 'choice-likelihood')
    return { evaluation: await gateByLikelihood(run, input, questions, model), curves: null };
  const asked: Asked = { texts, model, questions };
  const maxTokens = () => settingsOf(run).maxTokens;
  const replies = await greedyReplies(run, texts, { questions, maxTokens, model, number: null });
  const drawn = drawsMore(run) ? await optional(run, () => draw(run, asked, replies)) : null;
  const found = leftOutOfGate(input);
  const leftOut = found ? { leftOut: found } : {};
  const evaluation = await step(run, 'grade', ({ cpu }) => {
    const { confidence } = run.settings.gate;
    return cpu.srlmGrade({ questions, replies, texts, confidence, ...leftOut });
  });
  const greedy = evaluation.accuracy;
  const curves =
    drawn &&
    (await optional(run, () =>
      step(run, 'curves', ({ cpu }) => cpu.srlmCurves({ questions, ...drawn, texts, greedy, ...leftOut })),
    ));
  return { evaluation, curves };
}

/** Read whenever it is needed: an operator may change it while a step is parked. */
const settingsOf = ({ settings }: Run) => settings.evaluation as Evaluation;

const drawsMore = (run: Run): boolean => settingsOf(run).samples > 1 || settingsOf(run).enrich > 0;

/** One sample is the greedy reply, which is there; its rationale is then enriched greedily, too. */
const temperatureOf = (run: Run): number => (settingsOf(run).samples > 1 ? settingsOf(run).temperature : 0);

/** The replies at each depth. */
async function draw(
  run: Run,
  asked: Asked,
  greedy: DatasetRef,
): Promise<Pick<CurvesInput, 'replies_D' | 'temperature'>> {
  const sampled =
    settingsOf(run).samples === 1
      ? greedy
      : await sharded(run, 'evaluate (samples)', () =>
          sampling(run, asked, { k: settingsOf(run).samples, temperature: temperatureOf(run) }),
        );
  const temperature = temperatureOf(run);
  const replies_D = [sampled];
  for (let depth = 1; depth <= settingsOf(run).enrich; depth++) {
    const replies = replies_D.at(-1)!;
    const deeper = await sharded(run, `evaluate (depth ${depth})`, () => {
      const { engine, deterministic, seed } = run.settings;
      const { maxTokens } = settingsOf(run);
      const { model, questions: data, texts } = asked;
      const sampling = { temperature, maxTokens };
      return { step: 'deepen', engine, model, data, replies, texts, sampling, seed, depth, deterministic };
    });
    replies_D.push(deeper);
  }
  return { replies_D, temperature };
}

function sampling(
  run: Run,
  { texts, model, questions }: Asked,
  { k, temperature }: { k: number; temperature: number },
) {
  const { engine, deterministic, seed } = run.settings;
  const { maxTokens } = settingsOf(run);
  return {
    step: 'sample',
    purpose: 'evaluate',
    engine,
    model,
    data: questions,
    texts,
    enrichFrom: 'original',
    sampling: { k, temperature, topP: 1, topK: 0, maxTokens, stop: [] as string[] },
    seed,
    // The same draws in each round, so that rounds differ by their models alone.
    round: 0,
    deterministic,
  } as const;
}
