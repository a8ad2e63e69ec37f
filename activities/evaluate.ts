/** CPU steps after training: replies are graded, and the gate compares the round with the best so far. */
import type { Manifest } from '../contracts/artifacts.js';
import { Candidate, Grade, Question } from '../contracts/records.js';
import { Prompts } from '../contracts/spec.js';
import { GateInput, GradeInput, ScoreCard } from '../contracts/steps.js';
import { decideGate } from '../method/gate.js';
import { grade } from '../method/grading.js';
import { bootstrapInterval } from '../method/statistics.js';
import { gradeInputs } from '../storage/keys.js';
import { activity, type Deps, metered, once } from './activity.js';

export const srlmGrade = ({ store }: Deps) =>
  activity('grade', GradeInput.extend({ prompts: Prompts }), async (input) => {
    const { questions, replies, confidence, prompts } = input;
    const record = await once(store, 'grade', gradeInputs(input), () =>
      metered('grade', 'rows', questions.rows, async (meter) => {
        const replyChunks = await store.chunksOf(replies);
        const chunks: Manifest[] = [];
        const correct_E: boolean[] = [];
        for (const [i, chunk] of (await store.chunksOf(questions)).entries()) {
          const texts = new Map((await store.readRows(replyChunks[i]!, Candidate)).map(({ id, text }) => [id, text]));
          // A question that got no reply (longer than the context) is a question not answered.
          const grades = (await store.readRows(chunk, Question)).map((question) =>
            grade(question, texts.get(question.id) ?? '', prompts),
          );
          for (const { correct } of grades) correct_E.push(correct);
          chunks.push(await store.putRows(grades));
          meter.add(grades.length);
        }
        const file = await store.putDataset(chunks);
        const correct = correct_E.filter(Boolean).length;
        const { low, high } = bootstrapInterval(correct_E, confidence, 0);
        const total = correct_E.length;
        const output: ScoreCard = { grades: file, correct, total, accuracy: correct / total, low, high };
        return { files: [file], output };
      }),
    );
    return ScoreCard.parse(record.output);
  });

export const srlmGate = ({ store }: Deps) =>
  activity('gate', GateInput, async ({ best, current, gate, failedInARow, seed }) => {
    const [best_E, current_E] = await Promise.all([correctOf(store, best), correctOf(store, current)]);
    return decideGate(best_E, current_E, gate, failedInARow, seed);
  });

async function correctOf(store: Deps['store'], card: ScoreCard): Promise<boolean[]> {
  const correct_E: boolean[] = [];
  for await (const { correct } of store.rowsOf(card.grades, Grade)) correct_E.push(correct);
  return correct_E;
}
