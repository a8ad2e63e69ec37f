/**
 * What a round did, row by row: the candidates of each row beside the rationale that won, and the replies to held-out
 * questions beside the expected answers. Read from the store, one chunk in memory. Throws artifact.damaged.
 */
import type { z } from 'zod';
import type { SetName } from '../contracts/evaluation-sets.js';
import type { SetResult } from '../contracts/report.js';
import { Decision, Example, Grade, LikelihoodGrade } from '../contracts/rows.js';
import type { RoundSummary } from '../contracts/steps.js';
import { groupById } from '../method/rows.js';
import type { Store } from '../storage/store.js';

/** `rationale` is the one that the round trained on. */
export interface ShownRow {
  round: number;
  id: string;
  question: string;
  answer: string;
  /** r0. */
  original: string | null;
  rationale: string;
  /** What was compared, the incumbent (k = -1) first; empty where the round enriched nothing. */
  candidates: Omit<Decision, 'id'>[];
}

/** `set` null: the gate's. */
export type ShownReply = (Grade | LikelihoodGrade) & { round: number; set: SetName | null };

/** The rows of a round, in the order of the data. `id`: this one only. */
export async function* shownRows(
  { objects, datasets }: Store,
  { round, set, decisions }: RoundSummary,
  id?: string,
): AsyncGenerator<ShownRow> {
  // Chunk n of the decisions is about the rows of chunk n.
  const decisionChunks = decisions ? await datasets.chunks(decisions) : [];
  for (const [i, chunk] of (await datasets.chunks(set.dataset)).entries()) {
    const rows = (await objects.readRows(chunk, Example)).filter((row) => id === undefined || row.id === id);
    if (rows.length === 0) continue;
    const of = decisionChunks[i];
    const compared = groupById(of ? await objects.readRows(of, Decision) : []);
    for (const row of rows)
      yield {
        ...{ round, id: row.id, question: row.instruction, answer: row.answer },
        ...{ original: row.original, rationale: row.rationale },
        candidates: (compared.get(row.id) ?? []).sort((a, b) => a.k - b.k).map(({ id: _, ...candidate }) => candidate),
      };
  }
}

/** The graded replies of a round to the questions of a set, null the gate's; none where it was not evaluated. */
export async function* shownReplies(
  { datasets }: Store,
  { round, evaluation }: Pick<RoundSummary, 'round' | 'evaluation'>,
  id?: string,
  set: { name: SetName; result: SetResult } | null = null,
): AsyncGenerator<ShownReply> {
  const graded = set ? set.result : evaluation;
  if (!graded) return;
  const schema: z.ZodType<Grade | LikelihoodGrade> = set?.result.kind === 'likelihood' ? LikelihoodGrade : Grade;
  for await (const grade of datasets.rows(graded.grades, schema))
    if (id === undefined || grade.id === id) yield { round, set: set?.name ?? null, ...grade };
}
