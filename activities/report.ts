/**
 * The report of a round: its evaluation sets, and comparisons with earlier rounds on the same questions. Cheap, so it keeps
 * no record. Throws artifact.damaged.
 */
import type { DatasetRef } from '../contracts/refs.js';
import { type Comparison, ReportInput, type ReportOutput, RoundReport } from '../contracts/report.js';
import { Grade, LikelihoodGrade } from '../contracts/rows.js';
import { type RoundSummary, RoundTable } from '../contracts/steps.js';
import { type Answers_E, compare, roundsToCompare } from '../method/comparisons.js';
import type { Store } from '../storage/store.js';
import { activity, type Deps } from './activity.js';

export const srlmReport = ({ store }: Deps) =>
  activity('report', ReportInput, async (input): Promise<ReportOutput> => {
    const { round, table, best, evaluation, others } = input;
    const { rounds } = table ? await store.objects.readJson(table, RoundTable) : { rounds: [] };
    const comparisons: Comparison[] = [];
    for (const [number, against] of roundsToCompare(round, best)) {
      const earlier = rounds.find((one) => one.round === number);
      if (!earlier) continue;
      const report = await reportOf(store, earlier);
      const pairs: [Comparison['set'], Graded | null | undefined, Graded | null][] = [
        [null, earlier.evaluation, evaluation],
        ...Object.entries(others).map(([set, now]) => [set, report?.evaluations[set], now] as [string, Graded, Graded]),
      ];
      for (const [set, before, now] of pairs) {
        const compared = before && now && (await comparison(store, before, now, input));
        if (compared) comparisons.push({ set, against, round: number, ...compared });
      }
    }
    const report: RoundReport = { version: 1, evaluations: others, comparisons };
    const ofGate = comparisons.filter(({ set }) => set === null);
    return { report: await store.objects.putJson(report), comparisons: ofGate };
  });

/** The report of a finished round; null: it has none. Throws artifact.damaged. */
export async function reportOf({ objects }: Store, { report }: RoundSummary): Promise<RoundReport | null> {
  return report ? objects.readJson(report, RoundReport) : null;
}

interface Graded {
  grades: DatasetRef;
  kind?: string | null;
}

/** null: the two do not pair, because the set was another one then. */
async function comparison(store: Store, before: Graded, now: Graded, { confidence, seed }: ReportInput) {
  if ((before.kind === 'likelihood') !== (now.kind === 'likelihood')) return null;
  const [before_E, now_E] = await Promise.all([answersOf(store, before), answersOf(store, now)]);
  const shared = [...now_E.keys()].filter((id) => before_E.has(id));
  if (shared.length === 0) return null;
  const of = (answers: Map<string, boolean | number>) => shared.map((id) => answers.get(id)!) as Answers_E;
  return compare(of(before_E), of(now_E), confidence, seed);
}

/** By question; those that do not count are left out. */
async function answersOf(store: Store, { grades, kind }: Graded): Promise<Map<string, boolean | number>> {
  const answers = new Map<string, boolean | number>();
  if (kind === 'likelihood') {
    for await (const { id, nats, leftOut } of store.datasets.rows(grades, LikelihoodGrade))
      if (nats !== null && !leftOut) answers.set(id, nats);
  } else {
    for await (const { id, correct, leftOut } of store.datasets.rows(grades, Grade))
      if (!leftOut) answers.set(id, correct);
  }
  return answers;
}
