/** Curves over the number of samples equal what brute force over all subsets gives. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Answered, anyOf, bestOf, CurveSum, choose, majority, type Scored } from '../../method/curves.js';
import { vote, voteOf } from '../../method/vote.js';

/** All subsets of `size` of the samples. */
function subsets<T>(samples: readonly T[], size: number): T[][] {
  if (size === 0) return [[]];
  return samples.flatMap((first, i) => subsets(samples.slice(i + 1), size - 1).map((rest) => [first, ...rest]));
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The mean of `value` over all subsets, for each size. */
const bruteForce = <T>(samples: readonly T[], value: (subset: readonly T[]) => number): number[] =>
  samples.map((_, i) => mean(subsets(samples, i + 1).map(value)));

/** Every one of those that tie wins as often. */
function voted(subset: readonly Answered[]): number {
  const counts = new Map<string, { count: number; correct: boolean }>();
  for (const { vote, correct } of subset)
    if (vote !== null) counts.set(vote, { count: (counts.get(vote)?.count ?? 0) + 1, correct });
  const most = Math.max(0, ...[...counts.values()].map(({ count }) => count));
  const winners = [...counts.values()].filter(({ count }) => count === most);
  return winners.length === 0 ? 0 : mean(winners.map(({ correct }) => Number(correct)));
}

function best(subset: readonly Scored[]): number {
  const value = ({ score }: Scored) => score ?? Number.NEGATIVE_INFINITY;
  const top = Math.max(...subset.map(value));
  return mean(subset.filter((one) => value(one) === top).map(({ correct }) => Number(correct)));
}

const close = (found: readonly number[], wanted: readonly number[]) => {
  expect(found).toHaveLength(wanted.length);
  for (const [i, value] of wanted.entries()) expect(found[i]).toBeCloseTo(value, 10);
};

/** Answer `a` is right. */
const answered = (maxLength = 8) =>
  fc
    .array(fc.constantFrom('a', 'b', 'c', 'd', null), { minLength: 1, maxLength })
    .map((votes): Answered[] => votes.map((vote) => ({ vote, correct: vote === 'a' })));
const scored = fc.array(fc.record({ score: fc.constantFrom(1, 2, 3, null), correct: fc.boolean() }), {
  minLength: 1,
  maxLength: 8,
});

describe('majority vote over N of S samples', () => {
  it('is the mean over all subsets, those that tie sharing it', () => {
    fc.assert(fc.property(answered(), (samples) => close(majority(samples), bruteForce(samples, voted))));
  });
  it('is the same with two answers that are right', () => {
    const two = answered().map((samples) =>
      samples.map(({ vote }) => ({ vote, correct: vote === 'a' || vote === 'c' })),
    );
    fc.assert(fc.property(two, (samples) => close(majority(samples), bruteForce(samples, voted))));
  });
  it('of all samples is the plain vote, where nothing ties', () => {
    fc.assert(
      fc.property(answered(40), (samples) => {
        const votes = vote(samples.map(({ vote: given }) => given));
        fc.pre(votes.length > 0 && votes[0]!.count !== votes[1]?.count);
        expect(majority(samples).at(-1)).toBeCloseTo(Number(votes[0]!.answer === 'a'), 10);
      }),
    );
  });
  it('is the share of right samples for N = 1, and does not depend on the order of the samples', () => {
    fc.assert(
      fc.property(answered(20), (samples) => {
        const [first] = majority(samples);
        expect(first).toBeCloseTo(mean(samples.map(({ correct }) => Number(correct))), 10);
        close(majority([...samples].reverse()), majority(samples));
      }),
    );
  });
  it('stays exact with 64 samples', () => {
    // Two answers, 40 to 24: the tail of a hypergeometric distribution, SciPy 1.17.1: hypergeom(64, 40, 9).sf(4).
    const samples = Array.from({ length: 64 }, (_, i): Answered => ({ vote: i < 40 ? 'a' : 'b', correct: i < 40 }));
    const curve = majority(samples);
    expect(curve[8]).toBeCloseTo(0.7997523799250873, 12);
    expect(curve[63]).toBe(1);
    // 64 different answers: each N has the same chance.
    const different = samples.map((_, i): Answered => ({ vote: `${i}`, correct: i === 0 }));
    for (const share of majority(different)) expect(share).toBeCloseTo(1 / 64, 12);
  });
});
describe('best of N by a score', () => {
  it('is the mean over all subsets, equal scores sharing it, samples without a score last', () => {
    fc.assert(fc.property(scored, (samples) => close(bestOf(samples), bruteForce(samples, best))));
  });
});

describe('any of N', () => {
  it('is the mean over all subsets, and never falls with N', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 8 }), (correct) => {
        const curve = anyOf(correct);
        close(
          curve,
          bruteForce(correct, (subset) => Number(subset.some(Boolean))),
        );
        for (let n = 1; n < curve.length; n++) expect(curve[n]).toBeGreaterThanOrEqual(curve[n - 1]! - 1e-12);
      }),
    );
  });
  it('is above majority vote and above best of N', () => {
    fc.assert(
      fc.property(answered(16), (samples) => {
        const any = anyOf(samples.map(({ correct }) => correct));
        const scores = samples.map(({ correct }, i) => ({ correct, score: i % 5 }));
        for (const curve of [majority(samples), bestOf(scores)])
          for (const [i, share] of curve.entries()) expect(share).toBeLessThanOrEqual(any[i]! + 1e-9);
      }),
    );
  });
});

describe('curves of several questions', () => {
  it('are their mean, with the standard error over the questions', () => {
    const sum = new CurveSum();
    for (const values of [
      [0, 1],
      [1, 1],
      [1, 1],
      [0, 1],
    ])
      sum.add(values);
    const { mean_N, error_N } = sum.result();
    expect(mean_N).toEqual([0.5, 1]);
    // The standard deviation of 0, 1, 1, 0 is sqrt(1/3).
    close(error_N, [Math.sqrt(1 / 3 / 4), 0]);
  });
});

it('chooses as many ways as there are', () => {
  expect([choose(5, 2), choose(5, 0), choose(5, 5), choose(5, 6), choose(0, 0), choose(0, 1)]).toEqual([
    10, 1, 1, 0, 1, 0,
  ]);
  expect(choose(64, 32) / 1.83262414094259e18).toBeCloseTo(1, 12);
});

it('gives equal answers one vote, and no vote to what is no answer', () => {
  expect(voteOf('$1,000.0')).toBe(voteOf('1000'));
  expect([voteOf(null), voteOf(' ?! '), voteOf('')]).toEqual([null, null, null]);
});
