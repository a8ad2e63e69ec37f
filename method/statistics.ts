/**
 * Intervals. One score: Wilson's (1927), which is right at the edges, too: 0 of 24 may well be 10 %. The difference of two
 * scores on the same questions: the percentile bootstrap, which resamples the questions and takes the middle
 * `confidence` of the means; with few questions, or with equal answers, it is too narrow.
 * Axes: E questions. Deterministic in `seed`. Throws a plain Error where there is nothing to resample.
 */
import { random } from './random.js';

/** Enters the keys of grades. */
export const VERSION = 2;

/** Wilson's score interval of the share `correct / total`. Wilson (1927), without correction for continuity. */
export function wilsonInterval(correct: number, total: number, confidence: number): { low: number; high: number } {
  if (total === 0) throw new Error('there is no answer to count');
  const z = normalQuantile((1 + confidence) / 2);
  const share = correct / total;
  const weight = z ** 2 / total;
  const middle = (share + weight / 2) / (1 + weight);
  const half = (z * Math.sqrt((share * (1 - share)) / total + weight / (4 * total))) / (1 + weight);
  // The edges are exact: what is computed there may be a rounding error off.
  return { low: correct === 0 ? 0 : middle - half, high: correct === total ? 1 : middle + half };
}

/** z with P(Z <= z) = `share`, for shares between 0.5 and 1. */
function normalQuantile(share: number): number {
  let [low, high] = [0, 10];
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (normalShare(middle) < share) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** P(Z <= z) of the standard normal distribution, z >= 0, by its series. Marsaglia (2004). */
function normalShare(z: number): number {
  let [sum, term] = [z, z];
  for (let i = 3; term > 1e-17 * sum; i += 2) {
    term *= z ** 2 / i;
    sum += term;
  }
  return 0.5 + (sum * Math.exp(-(z ** 2) / 2)) / Math.sqrt(2 * Math.PI);
}

/** `difference`: mean of b minus that of a, on the same questions in the same order. Right answers count 1. */
export function pairedBootstrap(
  a_E: readonly (boolean | number)[],
  b_E: readonly (boolean | number)[],
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

/**
 * Are b's answers better or worse than a's, on the same questions in the same order? The exact form of McNemar's test
 * (1947), two-sided: of the questions that one of them alone has right, each would have half, if they were equally good.
 * `p`: the probability of a split at least so uneven then.
 */
export function exactPairedTest(
  a_E: readonly boolean[],
  b_E: readonly boolean[],
): { onlyA: number; onlyB: number; p: number } {
  if (a_E.length !== b_E.length) throw new Error(`cannot pair ${a_E.length} answers with ${b_E.length}`);
  const onlyA = a_E.filter((a, e) => a && !b_E[e]).length;
  const onlyB = a_E.filter((a, e) => !a && b_E[e]).length;
  const total = onlyA + onlyB;
  if (onlyA === onlyB) return { onlyA, onlyB, p: 1 };
  const fewer = Math.min(onlyA, onlyB);
  // The largest term of the tail by its logarithm, since 2^-total may be no number above 0; then downwards by ratios.
  let log = -total * Math.LN2;
  for (let i = 0; i < fewer; i++) log += Math.log((total - i) / (i + 1));
  let tail = 0;
  for (let i = fewer, term = 1; i >= 0 && term > 1e-17 * tail; term *= i / (total - i + 1), i--) tail += term;
  return { onlyA, onlyB, p: Math.min(1, 2 * Math.exp(log) * tail) };
}
