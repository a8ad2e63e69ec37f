/**
 * Evaluation sets that are scored by log-probabilities: their questions become rows that the `logprob` step scores, and
 * the scores become grades. Chunk n of all datasets is about chunk n of the questions. Throws artifact.damaged.
 */
import type { ObjectRef } from '../contracts/refs.js';
import { Candidate, type Grade, type LikelihoodGrade, Question, Score } from '../contracts/rows.js';
import { AnswerRowsInput, AnswerRowsOutput, GradeLogprobsInput, GradeLogprobsOutput } from '../contracts/set-steps.js';
import { choiceRows, gradeChoices, gradeLikelihood, likelihoodRow } from '../method/likelihood.js';
import { groupById } from '../method/rows.js';
import { pairedBootstrap, wilsonInterval } from '../method/statistics.js';
import type { Store } from '../storage/store.js';
import { activity, type Deps } from './activity.js';
import { answerRowsInputs, gradeLogprobsInputs } from './keys.js';
import { memoize } from './memoize.js';
import { leftOutOf, textsOf } from './texts.js';

export const srlmAnswerRows = ({ store }: Deps) =>
  activity('answer rows', AnswerRowsInput, async (input, progress) => {
    const { kind, questions, replies } = input;
    const { prompts } = await textsOf(store, input.texts);
    progress.expect(questions.rows);
    return memoize(store, 'answerRows', answerRowsInputs(input, prompts), AnswerRowsOutput, async () => {
      const replyChunks = replies ? await store.datasets.chunks(replies) : [];
      const candidateChunks: ObjectRef[] = [];
      const data = await store.datasets.map(questions, async (chunk, i) => {
        const asked = await store.objects.readRows(chunk, Question);
        progress.add(asked.length);
        if (kind === 'choice-likelihood') return asked.flatMap(choiceRows);
        const replyOf = await repliesIn(store, replyChunks[i]);
        const rows = asked.map((question) => likelihoodRow(question, replyOf.get(question.id) ?? '', prompts));
        candidateChunks.push(await store.objects.putRows(rows.map(({ candidate }) => candidate)));
        return rows.map(({ example }) => example);
      });
      const candidates = kind === 'likelihood' ? await store.datasets.put(candidateChunks) : null;
      const made = candidates ? [data, candidates] : [data];
      return { holds: made.map((ref) => ({ kind: 'dataset' as const, ref })), output: { data, candidates } };
    });
  });

export const srlmGradeLogprobs = ({ store }: Deps) =>
  activity('grade', GradeLogprobsInput, async (input, progress) => {
    const { kind, questions, scores, replies, confidence, seed } = input;
    const leftOut = await leftOutOf(store, input.leftOut);
    progress.expect(questions.rows);
    return memoize(store, 'grade', gradeLogprobsInputs(input, leftOut), GradeLogprobsOutput, async () => {
      const scoreChunks = await store.datasets.chunks(scores);
      const replyChunks = replies ? await store.datasets.chunks(replies) : [];
      const graded: (Grade | LikelihoodGrade)[] = [];
      const grades = await store.datasets.map(questions, async (chunk, i) => {
        const asked = await store.objects.readRows(chunk, Question);
        const scoreOf = groupById(await store.objects.readRows(scoreChunks[i]!, Score));
        const replyOf = await repliesIn(store, replyChunks[i]);
        const rows = asked.map((question) => ({
          ...(kind === 'likelihood'
            ? gradeLikelihood(question, replyOf.get(question.id) ?? '', scoreOf.get(question.id) ?? [])
            : gradeChoices(question, scoreOf)),
          ...(leftOut.has(question.id) ? { leftOut: true as const } : {}),
        }));
        for (const { question: _, reply: __, ...row } of rows) if (!row.leftOut) graded.push(row as Grade);
        progress.add(rows.length);
        return rows;
      });
      const counted = { grades, leftOut: questions.rows - graded.length };
      const output =
        kind === 'likelihood'
          ? { ...counted, ...meansOf(graded as LikelihoodGrade[], confidence, seed) }
          : { ...counted, ...shareOf(graded as Grade[], confidence) };
      return { holds: [{ kind: 'dataset', ref: grades }], output };
    });
  });

/** By question; a question that got none has none here. */
async function repliesIn({ objects }: Store, chunk: ObjectRef | undefined): Promise<Map<string, string>> {
  const candidates = chunk ? await objects.readRows(chunk, Candidate) : [];
  return new Map(candidates.map(({ id, text }) => [id, text]));
}

function shareOf(grades: readonly Grade[], confidence: number) {
  const total = grades.length;
  const correct = grades.filter((grade) => grade.correct).length;
  return { value: correct / total, ...wilsonInterval(correct, total, confidence), total, correct, gain: null };
}

/** Questions without a log-probability have no part in the mean. Where none has one, it is said to be 0 of 0. */
function meansOf(grades: readonly LikelihoodGrade[], confidence: number, seed: number) {
  const scored = grades.filter(({ nats, natsAlone }) => nats !== null && natsAlone !== null);
  const total = scored.length;
  if (total === 0) return { value: 0, low: 0, high: 0, total, correct: 0, gain: null };
  const nats_E = scored.map(({ nats }) => nats!);
  const alone_E = scored.map(({ natsAlone }) => natsAlone!);
  const zeros_E = scored.map(() => 0);
  const mean = (from_E: number[], to_E: number[]) => {
    const { difference: value, low, high } = pairedBootstrap(from_E, to_E, confidence, seed);
    return { value, low, high };
  };
  return { ...mean(zeros_E, nats_E), total, correct: 0, gain: mean(alone_E, nats_E) };
}
