/**
 * Intervals and tests agree with SciPy. Its numbers were made with Python 3.11, SciPy 1.17.1, NumPy 2.4.6 (statsmodels
 * 0.15.0, `mcnemar(..., exact=True)`, gives the same p-values as `binomtest`):
 *   binomtest(onlyA, onlyA + onlyB, 0.5).pvalue
 *   binomtest(correct, total).proportion_ci(confidence, 'wilson')
 *   bootstrap((a, b), lambda x, y, axis: y.mean(axis) - x.mean(axis), paired=True, vectorized=True, n_resamples=1_000_000,
 *             batch=20_000, confidence_level=confidence, method='percentile', random_state=np.random.default_rng(7))
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { exactPairedTest, pairedBootstrap, wilsonInterval } from '../../method/statistics.js';

/** Answers of a and b: so many that both have right, only a, only b, neither. */
function pairs(both: number, onlyA: number, onlyB: number, neither: number): [boolean[], boolean[]] {
  const of = (...parts: [number, boolean][]) => parts.flatMap(([count, right]) => Array<boolean>(count).fill(right));
  return [
    of([both, true], [onlyA, true], [onlyB, false], [neither, false]),
    of([both, true], [onlyA, false], [onlyB, true], [neither, false]),
  ];
}

describe('the exact paired test', () => {
  it.each([
    [1, 0, 1],
    [3, 1, 0.625],
    [10, 2, 0.03857421875],
    [25, 40, 0.08168153394154003],
    [0, 20, 1.9073486328125e-6],
    [7, 7, 1],
    [640, 720, 0.03214042132075612],
    [3, 1500, 0],
  ])("agrees with SciPy's: %i against %i", (onlyA, onlyB, p) => {
    const found = exactPairedTest(...pairs(5, onlyA, onlyB, 9));
    expect(found).toEqual({ onlyA, onlyB, p: expect.anything() });
    expect(found.p / (p || 1)).toBeCloseTo(p === 0 ? 0 : 1, 10);
  });
  it('does not depend on the questions that both have right or wrong, nor on which of the two is first', () => {
    const some = fc.nat({ max: 60 });
    fc.assert(
      fc.property(some, some, some, some, (both, onlyA, onlyB, neither) => {
        const [a, b] = pairs(both, onlyA, onlyB, neither);
        const { p } = exactPairedTest(a, b);
        expect(p).toBe(exactPairedTest(...pairs(0, onlyA, onlyB, 0)).p);
        expect(p).toBe(exactPairedTest(b, a).p);
        expect(p).toBeGreaterThan(0);
        expect(p).toBeLessThanOrEqual(1);
      }),
    );
  });
  it('of lists that do not pair is an error', () => {
    expect(() => exactPairedTest([true], [])).toThrow('cannot pair 1 answers with 0');
  });
});

it.each([
  [0, 24, 0.95, 0, 0.1379762046749802],
  [24, 24, 0.95, 0.8620237953250198, 1],
  [52, 100, 0.95, 0.42316577765223956, 0.6153544824194809],
  [137, 200, 0.9, 0.6288085204768975, 0.7362530300808353],
  [1, 1000, 0.99, 0.00011741635361832165, 0.008460566219981695],
  [33, 64, 0.95, 0.39581601478580125, 0.6336644833456737],
])("Wilson's interval agrees with SciPy's: %i of %i at %d", (correct, total, confidence, low, high) => {
  const found = wilsonInterval(correct, total, confidence);
  expect(found.low).toBeCloseTo(low, 12);
  expect(found.high).toBeCloseTo(high, 12);
});

describe('the paired bootstrap', () => {
  // A quantile of 2,000 draws is off by sqrt(q (1 - q) / 2000) / density, at most 0.06 standard errors of the difference at
  // these levels. Four times that is allowed, and the step of the mean, one question.
  it.each([
    [[60, 30, 40, 70], 0.9, -0.02, 0.12, 0.04165],
    [[60, 30, 40, 70], 0.95, -0.03, 0.13, 0.04165],
    [[200, 45, 95, 160], 0.9, 0.062, 0.138, 0.023222],
    [[200, 45, 95, 160], 0.95, 0.054, 0.146, 0.023222],
    [[20, 4, 10, 30], 0.9, 0, 0.1875, 0.05728],
    [[20, 4, 10, 30], 0.95, -0.015625, 0.203125, 0.05728],
  ] as const)("agrees with SciPy's within its Monte Carlo error: %j at %d", (counts, confidence, low, high, error) => {
    const [a, b] = pairs(...(counts as unknown as [number, number, number, number]));
    const allowed = 4 * 0.06 * error + 1 / a.length;
    for (const seed of [1, 2, 3]) {
      const found = pairedBootstrap(a, b, confidence, seed);
      expect(Math.abs(found.low - low)).toBeLessThanOrEqual(allowed);
      expect(Math.abs(found.high - high)).toBeLessThanOrEqual(allowed);
    }
  });
});
