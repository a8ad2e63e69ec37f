import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bestOfCurve, majorityCurve, type Sampled } from '../../method/curves.js';

/** Every choice of n of the samples, in every order in which they may come. */
function* choices<T>(samples: readonly T[], n: number): Generator<T[]> {
  if (n === 0) {
    yield [];
    return;
  }
  for (const [i, sample] of samples.entries())
    for (const rest of choices([...samples.slice(0, i), ...samples.slice(i + 1)], n - 1)) yield [sample, ...rest];
}

/** The answer with the most votes; of equally many, the one that was given first. */
function majority(samples: readonly Sampled[]): Sampled | null {
  let best: { of: Sampled; votes: number } | null = null;
  for (const of of samples) {
    if (of.answer === null) continue;
    const votes = samples.filter(({ answer }) => answer === of.answer).length;
    if (!best || votes > best.votes) best = { of, votes };
  }
  return best?.of ?? null;
}

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const curveBy = <T>(samples: readonly T[], isRight: (drawn: T[]) => boolean) =>
  samples.map((_, i) => mean([...choices(samples, i + 1)].map((drawn) => Number(isRight(drawn)))));

const close = (found: number[], expected: number[]) => {
  expect(found).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(found[i]).toBeCloseTo(value, 10);
};

const answers = fc.constantFrom('a', 'b', 'c', null);
const samples = fc
  .array(answers, { minLength: 1, maxLength: 6 })
  // Which answers are right: several forms may be.
  .chain((given) =>
    fc
      .subarray(['a', 'b', 'c'])
      .map((right) => given.map((answer): Sampled => ({ answer, correct: answer !== null && right.includes(answer) }))),
  );

describe('accuracy against the number of samples', () => {
  it('by majority vote equals that over all choices, in every order', () =>
    fc.assert(
      fc.property(samples, (given) =>
        close(
          majorityCurve(given),
          curveBy(given, (drawn) => majority(drawn)?.correct ?? false),
        ),
      ),
      { numRuns: 60 },
    ));
  it('by the best of N equals that over all choices', () =>
    fc.assert(
      fc.property(
        fc
          .uniqueArray(fc.integer({ min: -9, max: 9 }), { minLength: 1, maxLength: 6 })
          .chain((scores) =>
            fc
              .array(fc.boolean(), { minLength: scores.length, maxLength: scores.length })
              .map((right) => scores.map((score, i) => ({ score, correct: right[i]! }))),
          ),
        (given) =>
          close(
            bestOfCurve(given),
            curveBy(given, (drawn) => drawn.reduce((best, one) => (one.score > best.score ? one : best)).correct),
          ),
      ),
      { numRuns: 60 },
    ));
  it('with one sample is the share of right ones, with all of them the vote itself', () =>
    fc.assert(
      fc.property(samples, (given) => {
        const [one] = majorityCurve(given);
        expect(one).toBeCloseTo(mean(given.map(({ correct }) => Number(correct))), 12);
      }),
    ));
  it('takes 64 samples without losing a digit', () => {
    const given = Array.from({ length: 64 }, (_, i): Sampled => ({ answer: String(i % 7), correct: i % 7 === 0 }));
    const curve = majorityCurve(given);
    // Each of seven answers is as likely to win: the first has 10 of 64 votes, as the others have 9.
    expect(curve[0]).toBeCloseTo(10 / 64, 12);
    expect(curve[63]).toBeCloseTo(1, 12);
    expect(curve.every((value) => value >= 0 && value <= 1 + 1e-12)).toBe(true);
    expect(
      majorityCurve(given.map((one) => ({ ...one, correct: true }))).every((value) => Math.abs(value - 1) < 1e-9),
    ).toBe(true);
  });
});
