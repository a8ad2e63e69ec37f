/**
 * Evaluation sets beside the gate's, sets that are scored by log-probabilities, and the report of a round. Every set is a
 * step, or a few, that the round can do without. Steps number the sets: a set's name is a word of the spec, and a search
 * attribute holds the name of the step in clear text.
 */
import { patched } from '@temporalio/workflow';
import type { EvaluationKind, SetName } from '../contracts/evaluation-sets.js';
import type { DatasetRef, ModelRef, ObjectRef } from '../contracts/refs.js';
import type { SetResult } from '../contracts/report.js';
import type { RunInput } from '../contracts/run.js';
import type { RunSettings } from '../contracts/spec.js';
import type { EvalResult, SampleStep, StepCost, StepName } from '../contracts/steps.js';
import { addUsage } from '../method/budget.js';
import type { RunControl } from './control/control.js';
import { sharded } from './steps/shards.js';
import { optional, step } from './steps/step.js';

type Run = RunControl<RunSettings>;
export type Others = Record<SetName, SetResult>;

/** What a model is asked. */
interface Question {
  questions: DatasetRef;
  maxTokens: () => number;
  model: ModelRef;
  /** What the steps are named after; null: the gate's set. */
  number: number | null;
}

/** One set, as it is evaluated in this round. */
interface Asked extends Question {
  kind: EvaluationKind | null;
  leftOut: { sets: ObjectRef; set: SetName | null } | undefined;
}

/** The greedy replies of a model to questions. */
export const replies = (run: Run, texts: ObjectRef, { questions, maxTokens, model, number }: Question) =>
  sharded(run, named('evaluate', number), () =>
    repliesStep(run, { texts, model, questions }, { k: 1, temperature: 0, maxTokens: maxTokens() }),
  );

/** `k` replies of a model to each question. */
export function repliesStep(
  run: Run,
  { texts, model, questions }: Pick<Question, 'questions' | 'model'> & { texts: ObjectRef },
  drawn: Pick<SampleStep['sampling'], 'k' | 'temperature' | 'maxTokens'>,
): SampleStep {
  const { engine, deterministic, seed } = run.settings;
  return {
    ...{ step: 'sample', purpose: 'evaluate', engine, model, data: questions, texts, enrichFrom: 'original' },
    sampling: { ...drawn, topP: 1, topK: 0, stop: [] },
    seed,
    // The same draws in each round, so that rounds differ by their models alone.
    round: 0,
    deterministic,
  };
}

const named = (name: 'evaluate' | 'grade', number: number | null, part = ''): StepName => {
  const about = [...(number === null ? [] : [`set ${number}`]), ...(part ? [part] : [])].join(', ');
  return about ? `${name} (${about})` : name;
};

/** Steps of a set beside the gate's. They are too many for the payload that keeps a round: it has their sum. */
export const isOfSet = (step: string): boolean => /^(?:evaluate|grade) \(sets?\b/.test(step);

/** Steps as one; none where there are none. */
export function summed(step: string, costs: readonly StepCost[]): StepCost[] {
  if (costs.length === 0) return [];
  const usages = costs.flatMap(({ usage }) => (usage ? [usage] : []));
  const seconds = costs.reduce((sum, one) => sum + one.seconds, 0);
  const usage = usages.length > 0 ? usages.reduce(addUsage) : null;
  return [{ step, seconds, usage, reused: costs.every(({ reused }) => reused) }];
}

/** Every set beside the gate's, in alphabetical order; one that was skipped is missing. */
export async function evaluateOthers(run: Run, { texts, sets: ref }: RunInput, model: ModelRef): Promise<Others> {
  const found: Others = {};
  if (!ref || ref.others === 0) return found;
  const { others: _, ...sets } = ref;
  const opened = await optional(run, () =>
    step(run, 'evaluate (sets)', ({ cpu }) => cpu.srlmOpenSets({ texts, sets })),
  );
  // By name, as stored objects list them: the numbers of a run and of its fork are the same.
  const inOrder = Object.entries(opened?.sets ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [i, [name, { kind, watch, questions, maxTokens }]] of inOrder.entries()) {
    const leftOut = { sets, set: name };
    const asked: Asked = { kind, questions, maxTokens: () => maxTokens, model, number: i + 1, leftOut };
    const result = await optional(run, () => evaluateSet(run, texts, asked));
    if (result) found[name] = { kind, watch, ...result };
  }
  return found;
}

/** Where to find the questions of the gate's set that do not count. */
export const leftOutOfGate = ({ sets: ref }: RunInput): Asked['leftOut'] => {
  if (!ref) return undefined;
  const { others: _, ...sets } = ref;
  return { sets, set: null };
};

async function evaluateSet(run: Run, texts: ObjectRef, asked: Asked): Promise<Omit<SetResult, 'kind' | 'watch'>> {
  const { kind, questions, number, leftOut } = asked;
  if (kind === 'likelihood' || kind === 'choice-likelihood') {
    const { correct: _, ...result } = await byLogprob(run, texts, { ...asked, kind });
    return { ...result, unanswered: unansweredIn(run, number) };
  }
  const answers = await replies(run, texts, asked);
  const unanswered = unansweredIn(run, number);
  const graded = await step(run, named('grade', number), ({ cpu }) => {
    const { confidence } = run.settings.gate;
    return cpu.srlmGrade({ questions, replies: answers, texts, confidence, ...(leftOut ? { leftOut } : {}) });
  });
  const { accuracy: value, low, high, grades, total, leftOut: out = 0 } = graded;
  return { value, low, high, grades, total, leftOut: out, unanswered, gain: null };
}

/** What a model did not answer, as the last sharded step of the set has counted it. */
function unansweredIn({ state: { steps, round } }: Run, number: number | null): number {
  const names = [named('evaluate', number), named('evaluate', number, 'logprob')];
  const counts = steps.findLast((one) => one.round === round && names.includes(one.step as StepName))?.counts;
  if (counts?.of === 'texts') return counts.asked - counts.texts;
  return counts?.of === 'scores' ? counts.without : 0;
}

/**
 * Scores a set by the log-probability of answers, through the step that scores candidates: its rows are the choices of
 * each question, or the questions with the rationale of the model's own reply.
 */
async function byLogprob(run: Run, texts: ObjectRef, asked: Asked & { kind: 'choice-likelihood' | 'likelihood' }) {
  const { kind, questions, number, model, leftOut } = asked;
  const answers = kind === 'likelihood' ? await replies(run, texts, asked) : null;
  const { data, candidates } = await step(run, named('evaluate', number, 'rows'), ({ cpu }) =>
    cpu.srlmAnswerRows({ kind, questions, replies: answers, texts }),
  );
  const scores = await sharded(run, named('evaluate', number, 'logprob'), () => {
    const { engine, deterministic } = run.settings;
    return { step: 'logprob', engine, model, data, candidates, texts, deterministic };
  });
  return step(run, named('grade', number), ({ cpu }) => {
    const { seed, gate } = run.settings;
    const graded = { kind, questions, replies: answers, scores, texts, confidence: gate.confidence, seed };
    return cpu.srlmGradeLogprobs({ ...graded, ...(leftOut ? { leftOut } : {}) });
  });
}

/** The gate's set by the likelihood of its choices. */
export async function gateByLikelihood(
  run: Run,
  input: RunInput,
  questions: DatasetRef,
  model: ModelRef,
): Promise<EvalResult> {
  const kind = 'choice-likelihood' as const;
  const asked = { kind, questions, maxTokens: () => 0, model, number: null, leftOut: leftOutOfGate(input) };
  const graded = await byLogprob(run, input.texts, asked);
  const { value: accuracy, low, high, grades, total, correct, leftOut: out } = graded;
  return { grades, correct, total, accuracy, low, high, ...(out > 0 ? { leftOut: out } : {}) };
}

/** The report of a round; null: there is nothing in it, or it was skipped. */
export async function report(run: Run, evaluation: EvalResult | null, others: Others): Promise<ObjectRef | null> {
  const { state } = run;
  const round = state.round ?? 0;
  const isAsked = Object.keys(others).length > 0;
  if (!isAsked && (round === 0 || !evaluation || !patched('round-report'))) return null;
  const made = await optional(run, () =>
    step(run, 'report', ({ cpu }) => {
      const { seed, gate } = run.settings;
      const best = state.best?.round ?? null;
      const { confidence } = gate;
      return cpu.srlmReport({ round, table: state.table, best, evaluation, others, confidence, seed });
    }),
  );
  return made?.report ?? null;
}
