/** Statistics of scores on the same questions, against SciPy's. Intervals and the gate: gate.test.ts. */
import { describe, expect, it } from 'vitest';
import { exactPairedTest, pairedBootstrap } from '../../method/statistics.js';

describe('the exact paired test', () => {
  // Recorded with SciPy 1.17: binomtest(gained, gained + lost).pvalue
  it.each([
    [1, 0, 1],
    [5, 1, 0.21875],
    [10, 2, 0.03857421875],
    [30, 12, 0.007915897334896727],
    [7, 7, 1],
    [120, 80, 0.005685155996750306],
    [1, 9, 0.021484375],
    [600, 500, 0.0028195449914364284],
  ])('of %i gained and %i lost is that of SciPy', (gained, lost, p) => {
    const both = [true, true, false];
    const a = [...both, ...Array<boolean>(gained).fill(false), ...Array<boolean>(lost).fill(true)];
    const b = [...both, ...Array<boolean>(gained).fill(true), ...Array<boolean>(lost).fill(false)];
    expect(exactPairedTest(a, b)).toEqual({ gained, lost, p: expect.closeTo(p, 12) });
  });
  it('finds no difference where there is none, however many questions there are', () => {
    expect(exactPairedTest([], [])).toEqual({ gained: 0, lost: 0, p: 1 });
    const many = Array.from({ length: 20_000 }, (_, i) => i % 2 === 0);
    expect(
      exactPairedTest(
        many,
        many.map((one) => !one),
      ).p,
    ).toBeCloseTo(1, 9);
  });
});

describe('the paired bootstrap', () => {
  it('gives the interval of SciPy', () => {
    // a = [1]*20 + [0]*20; b = [1]*15 + [0]*5 + [1]*12 + [0]*8
    // bootstrap((b - a,), np.mean, confidence_level=.95, n_resamples=200000, method='percentile'): (-0.025, 0.375)
    const times = (count: number, value: boolean) => Array<boolean>(count).fill(value);
    const a = [...times(20, true), ...times(20, false)];
    const b = [...times(15, true), ...times(5, false), ...times(12, true), ...times(8, false)];
    const { difference, low, high } = pairedBootstrap(a, b, 0.95, 1, 20_000);
    expect(difference).toBeCloseTo(0.175, 12);
    // The means lie 0.025 apart.
    expect(Math.abs(low - -0.025)).toBeLessThan(0.026);
    expect(Math.abs(high - 0.375)).toBeLessThan(0.026);
  });
});
