/** Tables of a run: its finished rounds, and what its steps used. The only place that renders rounds. Pure. */
import { Usage } from '../../contracts/refs.js';
import type { RunStatus } from '../../contracts/run.js';
import type { EvalResult, GateOutput, RoundSummary } from '../../contracts/steps.js';
import { table } from '../../text/columns.js';
import { duration, percent } from '../../text/text.js';

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

/** A finished round in one line: `52.0 % (44.0-60.0)`, `100/640 enriched`, `loss 1.250`, `2 min 6 s`, `rolled back`. */
export function roundParts({ set, trainLoss, evaluation, gate, steps }: RoundSummary): string[] {
  return [
    ...(evaluation ? [accuracyText(evaluation)] : []),
    `${set.enriched}/${set.rows} enriched`,
    `loss ${trainLoss.toFixed(3)}`,
    duration(secondsOf({ steps })),
    ...(gate && gate.verdict !== 'keep' ? [VERDICTS[gate.verdict]] : []),
  ];
}

export const accuracyText = ({ accuracy, low, high }: EvalResult): string =>
  `${percent(accuracy)} % (${percent(low)}-${percent(high)})`;

export const VERDICTS: Record<GateOutput['verdict'], string> = {
  keep: 'kept',
  'roll-back': 'rolled back',
  stop: 'rolled back, the last',
};

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
