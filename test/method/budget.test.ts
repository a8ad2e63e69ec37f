import { describe, expect, it } from 'vitest';
import {
  addUsage,
  budgetShare,
  NO_USAGE,
  secondsLeft,
  shares,
  shareUsedUp,
  trainingBounds,
  uncounted,
  usedUp,
} from '../../method/budget.js';

const USAGE = { tokens: 800, gpuSeconds: 30, money: 2 };

describe('a budget', () => {
  it('has a used share for each bound that is set, and for no other', () => {
    expect(shares({ tokens: 1000, hours: 2 }, USAGE, 1)).toEqual({ 'budget.tokens': 0.8, 'budget.hours': 0.5 });
    expect(shares({}, USAGE, 1)).toEqual({});
  });

  it('is used up by the first bound that is reached', () => {
    expect(usedUp({ tokens: 801, money: 2 }, USAGE, 0)).toBe('budget.money');
    expect(usedUp({ money: 1, hours: 1, gpuSeconds: 1, tokens: 1 }, USAGE, 2)).toBe('budget.tokens');
    expect(usedUp({ money: 1, hours: 1 }, USAGE, 2)).toBe('budget.hours');
    expect(usedUp({ tokens: 801, money: 3, gpuSeconds: 31, hours: 1 }, USAGE, 0.99)).toBeNull();
  });

  it('is shared among the shards in flight; without one they are not bounded', () => {
    expect(budgetShare({ tokens: 1000, hours: 1 }, USAGE, 0, 4)).toEqual({
      ...{ tokens: 50, gpuSeconds: null, money: null },
      until: '1970-01-01T01:00:00.000Z',
    });
    expect(budgetShare({ tokens: 500 }, USAGE, 0, 4)?.tokens).toBe(0);
    expect(budgetShare({}, USAGE, 0, 4)).toBeNull();
    expect(budgetShare({ tokens: undefined }, USAGE, 0, 4)).toBeNull();
  });

  it('ends a shard that has used its share, or whose time is over', () => {
    const share = budgetShare({ tokens: 1000, hours: 1 }, USAGE, 0, 4)!;
    expect(shareUsedUp(share, { ...NO_USAGE, tokens: 49, money: 99 }, 3_599_999)).toBe(false);
    expect(shareUsedUp(share, { ...NO_USAGE, tokens: 50 }, 0)).toBe(true);
    expect(shareUsedUp(share, NO_USAGE, 3_600_000)).toBe(true);
    expect(shareUsedUp({ tokens: null, gpuSeconds: null, money: 0, until: null }, NO_USAGE, 0)).toBe(true);
  });

  it('bounds a training by what is left and its own usage so far, never below that', () => {
    const counted = { tokens: 100, gpuSeconds: 20, money: 0 };
    expect(trainingBounds({ tokens: 1000 }, USAGE, counted)).toEqual({ tokenBound: 300 });
    expect(trainingBounds({ gpuSeconds: 10, hours: 1, money: 3 }, USAGE, counted)).toEqual({ gpuSecondsBound: 20 });
    expect(trainingBounds({}, USAGE, counted)).toEqual({});
  });

  it('leaves the rest of its hours, in seconds', () => {
    expect(secondsLeft({ hours: 1 }, 0.5)).toBe(1800);
    expect(secondsLeft({ hours: 1 }, 2)).toBe(0);
    expect(secondsLeft({ tokens: 10 }, 0)).toBeNull();
  });
});

describe('usage', () => {
  it('that is not counted yet is never negative', () => {
    expect(uncounted(USAGE, { tokens: 300, gpuSeconds: 40, money: 0 })).toEqual({
      tokens: 500,
      gpuSeconds: 0,
      money: 2,
    });
  });

  it('adds up', () => {
    expect(NO_USAGE).toEqual({ tokens: 0, gpuSeconds: 0, money: 0 });
    expect(addUsage(USAGE, addUsage(NO_USAGE, USAGE))).toEqual({ tokens: 1600, gpuSeconds: 60, money: 4 });
  });
});
