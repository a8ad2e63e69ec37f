/** The rounds and grades of a study's runs, read from the store, and the result that is made of them. */
import { Grade } from '../contracts/rows.js';
import { RoundTable } from '../contracts/steps.js';
import type { EndedRun, StudyPlan, StudyResult } from '../contracts/study.js';
import { type StudyRound, type StudyRunData, studyResult } from '../method/study/result.js';
import { stepsOf } from '../method/study/reuse.js';
import type { Store } from '../storage/store.js';

/** What is known of a run; `end` null: it has not ended. */
export type KnownRun = Pick<EndedRun, 'index' | 'table'> & { end: EndedRun['end'] | null };

/** Throws artifact.damaged. */
export async function readStudyResult(store: Store, plan: StudyPlan, known: readonly KnownRun[]): Promise<StudyResult> {
  const runs: StudyRunData[] = [];
  // The lists of questions of most rounds are equal, and then one list in memory.
  const lists: string[][] = [];
  for (const [index, { id, arm, seed }] of plan.runs.entries()) {
    const { end = null, table: ref = null } = known.find((one) => one.index === index) ?? {};
    const table = ref && (await store.objects.readJson(ref, RoundTable));
    const rounds: StudyRound[] = [];
    for (const { round, evaluation } of table?.rounds ?? []) {
      if (!evaluation) continue;
      const ids: string[] = [];
      const hits: number[] = [];
      for await (const grade of store.datasets.rows(evaluation.grades, Grade)) {
        ids.push(grade.id);
        hits.push(Number(grade.correct));
      }
      if (ids.length > 0) rounds.push({ round, ids_E: sameList(lists, ids), hits_E: Uint8Array.from(hits) });
    }
    runs.push({ id, arm, seed, end, rounds, steps: table ? stepsOf(table) : [] });
  }
  return studyResult(plan, runs);
}

function sameList(lists: string[][], ids: string[]): string[] {
  const known = lists.find((list) => list.length === ids.length && list.every((id, i) => id === ids[i]));
  if (!known) lists.push(ids);
  return known ?? ids;
}
