import { describe, expect, it } from 'vitest';
import { Gate } from '../../contracts/spec.js';
import { decideGate } from '../../method/gate.js';
import { bootstrapInterval, pairedBootstrap } from '../../method/statistics.js';

const share = (right: number, of: number) => Array.from({ length: of }, (_, e) => e < right);

describe('bootstrap', () => {
  it('contains the mean, and narrows with more questions', () => {
    const few = bootstrapInterval(share(14, 20), 0.95, 1);
    const many = bootstrapInterval(share(700, 1000), 0.95, 1);
    expect(few.low).toBeLessThan(0.7);
    expect(few.high).toBeGreaterThan(0.7);
    expect(many.high - many.low).toBeLessThan((few.high - few.low) / 4);
    // Wald's interval of 700 in 1,000 is 0.672 to 0.728.
    expect(many.low).toBeCloseTo(0.672, 2);
    expect(many.high).toBeCloseTo(0.728, 2);
  });
  it('is the same for the same seed', () => {
    expect(bootstrapInterval(share(14, 20), 0.9, 5)).toEqual(bootstrapInterval(share(14, 20), 0.9, 5));
  });
  it('of equal answers is a point', () => {
    expect(bootstrapInterval(share(5, 5), 0.95, 1)).toEqual({ low: 1, high: 1 });
    expect(pairedBootstrap(share(3, 5), share(3, 5), 0.95, 1)).toEqual({ difference: 0, low: 0, high: 0 });
  });
  it('of b against a is that of a against b with the opposite sign', () => {
    const [a, b] = [share(10, 40), share(16, 40)];
    const forth = pairedBootstrap(a, b, 0.95, 3);
    const back = pairedBootstrap(b, a, 0.95, 3);
    expect(forth.difference).toBeCloseTo(0.15);
    expect([-back.high, -back.low]).toEqual([forth.low, forth.high]);
  });
  it('pairs the questions: the same gain on each is surer than a gain here and a loss there', () => {
    const paired = pairedBootstrap(share(50, 100), share(55, 100), 0.95, 1);
    const crossed = pairedBootstrap(share(50, 100), share(55, 100).reverse(), 0.95, 1);
    expect(paired.low).toBeGreaterThan(0);
    expect(crossed.low).toBeLessThan(0);
  });
  it('of nothing, or of lists that do not pair, is an error', () => {
    expect(() => bootstrapInterval([], 0.95, 1)).toThrow('there is nothing to resample');
    expect(() => pairedBootstrap([true], [], 0.95, 1)).toThrow('cannot pair 1 answers with 0');
  });
});

describe('gate', () => {
  const gate = Gate.parse({ tolerance: 0.05, patience: 2 });
  it('keeps a better round, an equal one, and one in doubt', () => {
    expect(decideGate(share(50, 100), share(60, 100), gate, 0, 1).verdict).toBe('keep');
    expect(decideGate(share(50, 100), share(50, 100), gate, 0, 1)).toEqual({
      verdict: 'keep',
      difference: 0,
      low: 0,
      high: 0,
    });
    expect(decideGate(share(5, 10), share(3, 10), gate, 0, 1).verdict).toBe('keep');
  });
  it('rolls back a round that is surely worse by more than the tolerance', () => {
    const found = decideGate(share(80, 100), share(50, 100), gate, 0, 1);
    expect(found.verdict).toBe('roll-back');
    expect(found.difference).toBeCloseTo(-0.3);
    expect(found.high).toBeLessThan(-0.05);
  });
  it('stops at the last roll-back that patience allows', () => {
    expect(decideGate(share(80, 100), share(50, 100), gate, 1, 1).verdict).toBe('stop');
    expect(decideGate(share(80, 100), share(50, 100), { ...gate, patience: 1 }, 0, 1).verdict).toBe('stop');
    expect(decideGate(share(80, 100), share(80, 100), gate, 1, 1).verdict).toBe('keep');
  });
});
