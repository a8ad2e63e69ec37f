/** Tables of a run: its finished rounds, and what its steps used. The only place that renders rounds. Pure. */
import { countsText, isWhole } from '../../contracts/counts.js';
import { Usage } from '../../contracts/refs.js';
import type { RunStatus } from '../../contracts/run.js';
import type { EvalResult, GateOutput, RoundSummary } from '../../contracts/steps.js';
import { table } from '../../text/columns.js';
import { leftOutText } from '../../text/report.js';
import { duration, percent, printable } from '../../text/text.js';

export function roundsTable(rounds: readonly RoundSummary[]): string[] {
  return table(
    ['round', 'enriched', 'rationale', 'loss', 'held-out', 'time', 'gate'],
    rounds.map(({ round, set, trainLoss, evaluation, gate, steps }) => [
      String(round),
      `${set.enriched}/${set.rows}`,
      `${Math.round(set.meanRationaleChars)} chars`,
      trainLoss.toFixed(3),
      evaluation ? accuracyText(evaluation) : '-',
      duration(secondsOf({ steps })),
      gate ? VERDICTS[gate.verdict] : '-',
    ]),
  );
}

/** A finished round in one line: `52.0 % of 50 (38.5-65.2)`, `100/640 enriched`, `loss 1.250`, `2 min 6 s`, `rolled back`. */
export function roundParts({ set, trainLoss, evaluation, gate, steps }: RoundSummary): string[] {
  return [
    ...(evaluation ? [accuracyText(evaluation)] : []),
    `${set.enriched}/${set.rows} enriched`,
    `loss ${trainLoss.toFixed(3)}`,
    duration(secondsOf({ steps })),
    ...(gate && gate.verdict !== 'keep' ? [VERDICTS[gate.verdict]] : []),
  ];
}

/** `52.0 % of 50 (38.5-65.2)`: how many questions it rests on, and its interval. */
export const accuracyText = ({ accuracy, total, low, high, leftOut = 0 }: EvalResult): string =>
  `${percent(accuracy)} % of ${total} (${percent(low)}-${percent(high)})${leftOutText(leftOut)}`;

export const VERDICTS: Record<GateOutput['verdict'], string> = {
  keep: 'kept',
  'roll-back': 'rolled back',
  stop: 'rolled back, the last',
};

/** A line for each step that received less than it asked for, or left something out; empty where none did. */
export function countLines({ rounds, steps }: Pick<RunStatus, 'rounds' | 'steps'>): string[] {
  const finished = new Set(rounds.map(({ round }) => round));
  const all = [
    ...steps.filter(({ round }) => round === null || !finished.has(round)),
    ...rounds.flatMap(({ round, steps: costs }) => costs.map((cost) => ({ ...cost, round }))),
  ];
  all.sort((a, b) => (a.round ?? -1) - (b.round ?? -1));
  return all.flatMap(({ round, step, counts }) => {
    if (!counts || isWhole(counts)) return [];
    return [`${round === null ? '' : `round ${round} · `}${step}: ${printable(countsText(counts))}`];
  });
}

const secondsOf = ({ steps }: Pick<RoundSummary, 'steps'>): number =>
  steps.reduce((sum, { seconds }) => sum + seconds, 0);

/** What was used, in the kinds of `Usage`, by round and step; empty where nothing was measured. */
export function usageTable({ rounds, steps, usage }: RunStatus): string[] {
  const finished = new Set(rounds.map(({ round }) => round));
  const all = [
    ...steps
      .filter(({ round }) => round === null || !finished.has(round))
      .map(({ round, step, usage: one }) => ({ round, step, usage: one })),
    ...rounds.flatMap(({ round, steps: costs }) => costs.map(({ step, usage: one }) => ({ round, step, usage: one }))),
  ].filter((one): one is typeof one & { usage: Usage } => one.usage !== null);
  if (all.length === 0) return [];
  all.sort((a, b) => (a.round ?? -1) - (b.round ?? -1));
  const kinds = Usage.keyof().options.filter((kind) => usage[kind] > 0);
  const row = (round: string, step: string, one: Usage) => [round, step, ...kinds.map((kind) => amount(one[kind]))];
  return table(
    ['round', 'step', ...kinds],
    [
      ...all.map((one) => row(one.round === null ? '-' : String(one.round), one.step, one.usage)),
      row('all', '', usage),
    ],
  );
}

/** With three digits where it is no whole number. */
const amount = (value: number): string =>
  Number.isInteger(value) || value >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
