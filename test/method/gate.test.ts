import { describe, expect, it } from 'vitest';
import { Gate } from '../../contracts/spec.js';
import { decideGate } from '../../method/gate.js';
import { pairedBootstrap, wilsonInterval } from '../../method/statistics.js';

const share = (right: number, of: number) => Array.from({ length: of }, (_, e) => e < right);

describe('bootstrap', () => {
  it('narrows with more questions', () => {
    const few = pairedBootstrap(share(0, 20), share(14, 20), 0.95, 1);
    const many = pairedBootstrap(share(0, 1000), share(700, 1000), 0.95, 1);
    expect(few.low).toBeLessThan(0.7);
    expect(few.high).toBeGreaterThan(0.7);
    expect(many.high - many.low).toBeLessThan((few.high - few.low) / 4);
    // Wald's interval of 700 in 1,000 is 0.672 to 0.728.
    expect(many.low).toBeCloseTo(0.672, 2);
    expect(many.high).toBeCloseTo(0.728, 2);
  });
  it('is the same for the same seed', () => {
    const once = () => pairedBootstrap(share(0, 20), share(14, 20), 0.9, 5);
    expect(once()).toEqual(once());
  });
  it('of equal answers is a point', () => {
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
    expect(() => pairedBootstrap([], [], 0.95, 1)).toThrow('there is nothing to resample');
    expect(() => pairedBootstrap([true], [], 0.95, 1)).toThrow('cannot pair 1 answers with 0');
  });
});

describe("Wilson's interval of a score", () => {
  // Newcombe (1998), table I, method 3.
  it.each([
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ])('is the published one: %i of %i', (correct, total, low, high) => {
    const found = wilsonInterval(correct, total, 0.95);
    expect(found.low).toBeCloseTo(low, 4);
    expect(found.high).toBeCloseTo(high, 4);
  });
  it('is no point where all answers are wrong, or right', () => {
    expect(wilsonInterval(0, 24, 0.95)).toEqual({ low: 0, high: expect.closeTo(0.138, 3) });
    expect(wilsonInterval(24, 24, 0.95)).toEqual({ low: expect.closeTo(0.862, 3), high: 1 });
  });
  it('of nothing is an error', () => {
    expect(() => wilsonInterval(0, 0, 0.95)).toThrow('there is no answer to count');
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
  it('rolls back a better round too, where a number is beyond a limit, and says which', () => {
    const beyond = [{ metric: 'distinct2', value: 0.2, limit: 0.3 }] as const;
    const found = decideGate(share(50, 100), share(60, 100), gate, 0, 1, beyond);
    expect(found).toMatchObject({ verdict: 'roll-back', difference: 0.1, watch: beyond });
    expect(decideGate(share(50, 100), share(60, 100), gate, 1, 1, beyond).verdict).toBe('stop');
    expect(decideGate(share(50, 100), share(60, 100), gate, 1, 1)).not.toHaveProperty('watch');
  });
  it('decides by the limits alone where there is no evaluation', () => {
    const beyond = [{ metric: 'repeats', value: 1, limit: 0.9 }] as const;
    const unknown = { difference: null, low: null, high: null };
    expect(decideGate(null, null, gate, 0, 1, beyond)).toEqual({ verdict: 'roll-back', ...unknown, watch: beyond });
    expect(decideGate(share(1, 2), null, gate, 0, 1)).toEqual({ verdict: 'keep', ...unknown });
  });
  it('stops at the last roll-back that patience allows', () => {
    expect(decideGate(share(80, 100), share(50, 100), gate, 1, 1).verdict).toBe('stop');
    expect(decideGate(share(80, 100), share(50, 100), { ...gate, patience: 1 }, 0, 1).verdict).toBe('stop');
    expect(decideGate(share(80, 100), share(80, 100), gate, 1, 1).verdict).toBe('keep');
  });
});
