/** Grading: replies to held-out questions are right or wrong. Only the evaluation checks answers, never the loop. */
import { Candidate, type Grade, Question } from '../contracts/rows.js';
import { EvalResult, GradeInput } from '../contracts/steps.js';
import { grade, questionText } from '../method/graders/index.js';
import { wilsonInterval } from '../method/statistics.js';
import { activity, type Deps } from './activity.js';
import { gradeInputs } from './keys.js';
import { memoize } from './memoize.js';
import { leftOutOf, textsOf } from './texts.js';

export const srlmGrade = ({ store }: Deps) =>
  activity('grade', GradeInput, async (input, progress) => {
    const { questions, replies, texts, confidence } = input;
    const { prompts } = await textsOf(store, texts);
    progress.expect(questions.rows);
    const leftOut = await leftOutOf(store, input.leftOut);
    return memoize(store, 'grade', gradeInputs(input, prompts, leftOut), EvalResult, async () => {
      const replyChunks = await store.datasets.chunks(replies);
      const correct_E: boolean[] = [];
      const grades = await store.datasets.map(questions, async (chunk, i) => {
        const candidates = await store.objects.readRows(replyChunks[i]!, Candidate);
        const replyOf = new Map(candidates.map(({ id, text }) => [id, text]));
        // A question that got no reply, because it is longer than the context, is a question not answered.
        const graded = (await store.objects.readRows(chunk, Question)).map((question): Grade => {
          const reply = replyOf.get(question.id) ?? '';
          const out = leftOut.has(question.id) ? { leftOut: true as const } : {};
          return { ...grade(question, reply, prompts), ...out, question: questionText(question), reply };
        });
        for (const { correct, leftOut } of graded) if (!leftOut) correct_E.push(correct);
        progress.add(graded.length);
        return graded;
      });
      const total = correct_E.length;
      const correct = correct_E.filter(Boolean).length;
      const interval = wilsonInterval(correct, total, confidence);
      const without = questions.rows - total;
      const counts = { correct, total, ...(without > 0 ? { leftOut: without } : {}) };
      const output: EvalResult = { grades, ...counts, accuracy: correct / total, ...interval };
      return { holds: [{ kind: 'dataset', ref: grades }], output };
    });
  });
