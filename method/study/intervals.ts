/**
 * Intervals of a study. Over seeds: Student's t, which takes the runs as drawn from all that could have been. Between two
 * arms: the percentile bootstrap over questions, where a question is drawn with its answers in all seeds, so that what
 * makes a question hard is not counted once a seed.
 * Axes: S seeds, E questions. Deterministic. Throws a plain Error where there is nothing to compute with.
 */
import type { Interval } from '../../contracts/study.js';
import { pairedBootstrap } from '../statistics.js';

const SEED = 0;

/** Interval of the mean; at least two values. */
export function tInterval(values_S: readonly number[], confidence: number): Interval & { mean: number } {
  const size = values_S.length;
  if (size < 2) throw new Error('one value has no spread');
  const mean = meanOf(values_S);
  const variance = values_S.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (size - 1);
  const half = tQuantile((1 + confidence) / 2, size - 1) * Math.sqrt(variance / size);
  return { mean, low: mean - half, high: mean + half };
}

/** `gains_S_E[s][e]`: what question e gains in seed s. */
export function bootstrap(gains_S_E: readonly (readonly number[])[], confidence: number): Interval & { mean: number } {
  const size = gains_S_E[0]?.length ?? 0;
  if (size === 0) throw new Error('there is nothing to resample');
  const gains_E = gains_S_E[0]!.map((_, e) => meanOf(gains_S_E.map((gains) => gains[e]!)));
  const nothing_E = gains_E.map(() => 0);
  const { difference: mean, low, high } = pairedBootstrap(nothing_E, gains_E, confidence, SEED);
  return { mean, low, high };
}

export const meanOf = (values: readonly number[]): number =>
  values.reduce((total, value) => total + value, 0) / values.length;

/** t with P(T <= t) = `share`, for shares from 0.5 to below 1. */
export function tQuantile(share: number, freedom: number): number {
  let [low, high] = [0, 1];
  while (tShare(high, freedom) < share) high *= 2;
  for (let step = 0; step < 80; step++) {
    const middle = (low + high) / 2;
    if (tShare(middle, freedom) < share) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** P(T <= t) for t >= 0 and whole degrees of freedom: Abramowitz and Stegun 26.7.3 and 26.7.4. */
function tShare(t: number, freedom: number): number {
  const angle = Math.atan(t / Math.sqrt(freedom));
  const cos2 = Math.cos(angle) ** 2;
  const isOdd = freedom % 2 === 1;
  let term = isOdd ? Math.cos(angle) : 1;
  let sum = freedom === 1 ? 0 : term;
  for (let k = isOdd ? 3 : 2; k <= freedom - 2; k += 2) {
    term *= ((k - 1) / k) * cos2;
    sum += term;
  }
  const within = isOdd ? (2 / Math.PI) * (angle + Math.sin(angle) * sum) : Math.sin(angle) * sum;
  return 0.5 + within / 2;
}
