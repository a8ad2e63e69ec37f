/** What the report of a round says, in words: evaluation sets beside the gate's, and comparisons. Pure. */
import { isShare } from '../contracts/evaluation-sets.js';
import type { Comparison, RoundReport, SetResult } from '../contracts/report.js';
import { percent } from './text.js';

/** `41.0 % of 100 (31.9-50.8)`, `-1.234 nats a token of 100 (-1.301 to -1.170), +0.120 by its rationale`. */
export function setText({ kind, value, low, high, total, leftOut, unanswered, gain }: SetResult): string {
  const without = leftOutText(leftOut) + (unanswered > 0 ? `, ${unanswered} without an answer` : '');
  if (total === 0) return `nothing of 0${without}`;
  if (isShare(kind)) return `${percent(value)} % of ${total} (${percent(low)}-${percent(high)})${without}`;
  const by = gain ? `, ${signed(gain.value)} by the rationale (${signed(gain.low)} to ${signed(gain.high)})` : '';
  return `${value.toFixed(3)} nats a token of ${total} (${low.toFixed(3)} to ${high.toFixed(3)})${by}${without}`;
}

export const leftOutText = (leftOut: number): string =>
  leftOut > 0 ? `, ${leftOut} left out: in the training data` : '';

export const signed = (value: number): string => `${value < 0 ? '' : '+'}${value.toFixed(3)}`;

export const points = (share: number): string => `${share < 0 ? '' : '+'}${percent(share)}`;

/** `mmlu 41.0 % of 100 (31.9-50.8)` for each set beside the gate's. */
export const setParts = ({ evaluations }: Pick<RoundReport, 'evaluations'>): string[] =>
  Object.entries(evaluations).map(([name, result]) => `${name}${result.watch ? ' (watched)' : ''} ${setText(result)}`);

/** `+4.5 points on round 0 (+1.0 to +8.0; p 0.012)`. */
export function comparisonText({ round, difference, low, high, test }: Comparison, isOfShares: boolean): string {
  const by = isOfShares ? points : signed;
  const p = test ? `; p ${pText(test.p)}` : '';
  return `${by(difference)} ${isOfShares ? 'points' : 'nats a token'} on round ${round} (${by(low)} to ${by(high)}${p})`;
}

export const pText = (p: number): string => (p < 0.001 ? '< 0.001' : p.toFixed(3));

/** Comparisons of the gate's set. */
export const comparisonParts = ({ comparisons }: Pick<RoundReport, 'comparisons'>): string[] =>
  comparisons.filter(({ set }) => set === null).map((one) => comparisonText(one, true));
