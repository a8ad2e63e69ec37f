import { describe, expect, it } from 'vitest';
import {
  allowance,
  NOTHING,
  overdrawn,
  secondsLeft,
  shares,
  sum,
  trainingBounds,
  untold,
} from '../../method/spending.js';

const SPENT = { tokens: 800, gpuSeconds: 30, money: 2 };

describe('a budget', () => {
  it('tells the share of each bound that is used up, and of none that is not set', () => {
    expect(shares({ tokens: 1000, hours: 2 }, SPENT, 1)).toEqual({ 'budget.tokens': 0.8, 'budget.hours': 0.5 });
    expect(shares({}, SPENT, 1)).toEqual({});
  });

  it('is overdrawn by the first bound that is reached', () => {
    expect(overdrawn({ tokens: 801, money: 2 }, SPENT, 0)).toBe('budget.money');
    expect(overdrawn({ tokens: 801, money: 3, gpuSeconds: 31, hours: 1 }, SPENT, 0.99)).toBeNull();
  });

  it('is shared among the shards in flight; without one they are not bounded', () => {
    expect(allowance({ tokens: 1000, hours: 1 }, SPENT, 0, 4)).toEqual({
      ...{ tokens: 50, gpuSeconds: null, money: null },
      until: '1970-01-01T01:00:00.000Z',
    });
    expect(allowance({ tokens: 500 }, SPENT, 0, 4)?.tokens).toBe(0);
    expect(allowance({}, SPENT, 0, 4)).toBeUndefined();
  });

  it('bounds a training by what is left and what it has used of it before, never below that', () => {
    const told = { tokens: 100, gpuSeconds: 20, money: 0 };
    expect(trainingBounds({ tokens: 1000 }, SPENT, told)).toEqual({ tokenBound: 300 });
    expect(trainingBounds({ gpuSeconds: 10, hours: 1 }, SPENT, told)).toEqual({ gpuSecondsBound: 20 });
    expect(trainingBounds({}, SPENT, told)).toEqual({});
  });

  it('leaves so many seconds of its hours', () => {
    expect(secondsLeft({ hours: 1 }, 0.5)).toBe(1800);
    expect(secondsLeft({ hours: 1 }, 2)).toBe(0);
    expect(secondsLeft({ tokens: 10 }, 0)).toBeNull();
  });

  it('counts what has not been told yet', () => {
    expect(untold(SPENT, { tokens: 300, gpuSeconds: 40, money: 0 })).toEqual({ tokens: 500, gpuSeconds: 0, money: 2 });
  });

  it('adds up', () => {
    expect(sum(SPENT, sum(NOTHING, SPENT))).toEqual({ tokens: 1600, gpuSeconds: 60, money: 4 });
  });
});
