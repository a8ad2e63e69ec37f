/**
 * Curves of an evaluation: accuracy against the number of samples and the depth, from replies that are stored. Cheap, so
 * it keeps no record. Throws artifact.damaged.
 */
import { CurvesInput, type CurvesReport, type DepthCurves } from '../contracts/curves.js';
import type { ObjectRef } from '../contracts/refs.js';
import { Candidate, Grade, Question } from '../contracts/rows.js';
import type { PromptTemplates } from '../contracts/spec.js';
import { type Answered, anyOf, bestOf, CurveSum, majority, type Scored } from '../method/curves.js';
import { grade } from '../method/graders/index.js';
import { parseRationale } from '../method/parse.js';
import { groupById } from '../method/rows.js';
import { voteOf } from '../method/vote.js';
import { activity, type Deps } from './activity.js';
import { textsOf } from './texts.js';

export const srlmCurves = ({ store }: Deps) =>
  activity('curves', CurvesInput, async (input, progress): Promise<ObjectRef> => {
    const { questions, replies_D, texts, temperature, evaluation } = input;
    const { objects, datasets } = store;
    const { prompts } = await textsOf(store, texts);
    progress.expect(questions.rows);
    const chunks_D = await Promise.all(replies_D.map((replies) => datasets.chunks(replies)));
    const sums_D = replies_D.map(() => new DepthSum());
    const gradeChunks = await datasets.chunks(evaluation.grades);
    let samples = 1;
    for (const [i, chunk] of (await datasets.chunks(questions)).entries()) {
      const counted = new Set((await objects.readRows(gradeChunks[i]!, Grade)).filter(isCounted).map(({ id }) => id));
      const rows = (await objects.readRows(chunk, Question)).filter(({ id }) => counted.has(id));
      const read = chunks_D.map(async (chunks) => groupById(await objects.readRows(chunks[i]!, Candidate)));
      const replies_DE = await Promise.all(read);
      for (const question of rows) {
        const texts_DS = replies_DE.map((replies) => (replies.get(question.id) ?? []).map(({ text }) => text));
        samples = Math.max(samples, texts_DS[0]!.length);
        for (const [depth, texts_S] of texts_DS.entries())
          sums_D[depth]!.add(question, texts_S, texts_DS[depth - 1] ?? null, prompts);
      }
      progress.add(chunk.rows);
    }
    const depths = sums_D.map((sum, depth) => sum.result(depth));
    const { total, accuracy: greedy } = evaluation;
    const report: CurvesReport = { version: 1, questions: total, samples, temperature, greedy, depths };
    return objects.putJson(report);
  });

/** A question that the score leaves out is no part of the curves. */
const isCounted = ({ leftOut }: Grade): boolean => !leftOut;

/** What is summed at one depth. */
class DepthSum {
  private readonly counts = { replies: 0, changed: 0, silent: 0 };
  private readonly sums = { majority: new CurveSum(), longest: new CurveSum(), any: new CurveSum() };

  /** `before_S`: the replies of the depth before. */
  add(question: Question, texts_S: readonly string[], before_S: readonly string[] | null, templates: PromptTemplates) {
    const { counts, sums } = this;
    const samples_S = texts_S.map((text): Answered & Scored => {
      const { given, correct } = grade(question, text, templates);
      return { vote: voteOf(given), correct, score: parseRationale(text, templates).length };
    });
    counts.replies += samples_S.length;
    counts.silent += samples_S.filter(({ vote }) => vote === null).length;
    if (before_S) counts.changed += texts_S.filter((text, s) => text !== before_S[s]).length;
    sums.majority.add(majority(samples_S));
    sums.longest.add(bestOf(samples_S));
    sums.any.add(anyOf(samples_S.map(({ correct }) => correct)));
  }

  result(depth: number): DepthCurves {
    const { majority, longest, any } = this.sums;
    return { depth, ...this.counts, majority: majority.result(), longest: longest.result(), any: any.result() };
  }
}
