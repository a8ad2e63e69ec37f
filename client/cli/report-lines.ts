/** The reports of rounds, for the command line: found by round, and as tables. Pure. */
import { isShare } from '../../contracts/evaluation-sets.js';
import type { Comparison, RoundReport } from '../../contracts/report.js';
import type { RunStatus } from '../../contracts/run.js';
import { table } from '../../text/columns.js';
import { points, pText, setText, signed } from '../../text/report.js';

export function reportOf({ reports = [] }: Pick<RunStatus, 'reports'>, round: number): RoundReport | null {
  return reports.find((one) => one.round === round)?.report ?? null;
}

/** A line a round and set; empty where no round has others than the gate's. */
export function setsTable(status: Pick<RunStatus, 'reports'>): string[] {
  const rows = (status.reports ?? []).flatMap(({ round, report }) =>
    Object.entries(report.evaluations).map(([name, result]) => [
      String(round),
      name + (result.watch ? ' (watched)' : ''),
      setText(result),
    ]),
  );
  return rows.length > 0 ? table(['round', 'set', 'held-out'], rows) : [];
}

const AGAINST = { before: 'the one before', best: 'the best then', first: 'the first' } as const;

/** A line a round, set and earlier round; empty where nothing was compared. */
export function comparisonsTable(status: Pick<RunStatus, 'reports'>): string[] {
  const rows = (status.reports ?? []).flatMap(({ round, report }) =>
    inOrder(report.comparisons).map(({ set, against, round: other, difference, low, high, test }) => {
      const isOfShares = set === null || isShare(report.evaluations[set]?.kind);
      const by = isOfShares ? points : signed;
      return [
        `${round}`,
        set ?? "the gate's",
        `${other}: ${against.map((one) => AGAINST[one]).join(', ')}`,
        `${by(difference)} (${by(low)} to ${by(high)})${isOfShares ? '' : ' nats'}`,
        test ? `${test.onlyThis} : ${test.onlyOther}, p ${pText(test.p)}` : '-',
      ];
    }),
  );
  return rows.length > 0 ? table(['round', 'set', 'against round', 'difference', 'only right'], rows) : [];
}

/** The gate's set first, then by name; the newest round that is compared with first. */
const inOrder = (comparisons: readonly Comparison[]): Comparison[] =>
  [...comparisons].sort((a, b) => (a.set ?? '').localeCompare(b.set ?? '') || b.round - a.round);
