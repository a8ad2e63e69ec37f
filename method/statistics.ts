/**
 * Intervals by the percentile bootstrap: resample the questions, take the middle `confidence` of the means.
 * Axes: E questions. Deterministic in `seed`. Throws a plain Error where there is nothing to resample.
 * Does not correct for small samples: with few questions, or with equal answers, the interval is too narrow.
 */
import { random } from './random.js';

/** Enters the keys of grades. */
export const VERSION = 1;

/** Interval of the accuracy, the share of right answers. */
export function bootstrapInterval(
  correct_E: readonly boolean[],
  confidence: number,
  seed: number,
  draws = 2000,
): { low: number; high: number } {
  return interval(correct_E.map(Number), confidence, seed, draws);
}

/** `difference`: accuracy of b minus that of a, on the same questions in the same order. */
export function pairedBootstrap(
  a_E: readonly boolean[],
  b_E: readonly boolean[],
  confidence: number,
  seed: number,
  draws = 2000,
): { difference: number; low: number; high: number } {
  if (a_E.length !== b_E.length) throw new Error(`cannot pair ${a_E.length} answers with ${b_E.length}`);
  const gains_E = a_E.map((a, e) => Number(b_E[e]) - Number(a));
  const { low, high } = interval(gains_E, confidence, seed, draws);
  return { difference: sum(gains_E) / gains_E.length, low, high };
}

function interval(values_E: readonly number[], confidence: number, seed: number, draws: number) {
  const size = values_E.length;
  if (size === 0) throw new Error('there is nothing to resample');
  const next = random(seed);
  const means = new Float64Array(draws);
  for (let draw = 0; draw < draws; draw++) {
    let total = 0;
    for (let e = 0; e < size; e++) total += values_E[Math.floor(next() * size)]!;
    means[draw] = total / size;
  }
  means.sort();
  const outside = Math.floor(((1 - confidence) / 2) * draws);
  return { low: means[outside]!, high: means[draws - 1 - outside]! };
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
