import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SELECTORS, Selection } from '../../contracts/spec.js';
import {
  type CandidateRow,
  choose,
  needs,
  selectByRankSum,
  selectByVote,
  selectLength,
  selectOffPolicy,
  selectOnPolicy,
  selectRandom,
} from '../../method/selectors.js';

const select = (selector: Selection['selector'], bounds = {}) => Selection.parse({ selector, ...bounds });
const line = (
  k: number,
  chars: number,
  off: number | null,
  on: number | null,
  guard: CandidateRow['guard'] = null,
): CandidateRow => ({
  k,
  chars,
  guard,
  offPolicyNats: off,
  onPolicyNats: on,
});

const nats = fc.integer({ min: -5, max: 0 });
const candidate = fc.record({
  chars: fc.integer({ min: 0, max: 6 }),
  off: nats,
  on: nats,
  guard: fc.constantFrom(null, null, 'repetition' as const),
});
const tables = fc
  .array(candidate, { minLength: 1, maxLength: 6 })
  .map((rows) => rows.map(({ chars, off, on, guard }, i) => line(i - 1, chars, off, on, i === 0 ? null : guard)));
const selectors = fc.constantFrom(...SELECTORS);

describe('every selector', () => {
  it('chooses the incumbent or a sound candidate', () =>
    fc.assert(
      fc.property(tables, selectors, (table, selector) => {
        const k = choose(table, select(selector), 's');
        expect(table.find((row) => row.k === k)?.guard).toBeNull();
      }),
    ));
  it('keeps the incumbent where no candidate is sound, and needs no score then', () =>
    fc.assert(
      fc.property(selectors, (selector) => {
        expect(choose([line(-1, 5, null, null), line(0, 9, null, null, 'truncated')], select(selector), 's')).toBe(-1);
      }),
    ));
  it('does not depend on the order of the table', () =>
    fc.assert(
      fc.property(tables, selectors, (table, selector) => {
        expect(choose([...table].reverse(), select(selector), 's')).toBe(choose(table, select(selector), 's'));
      }),
    ));
  it('but random keeps the incumbent against candidates that are only equal', () =>
    fc.assert(
      fc.property(
        fc.constantFrom(...SELECTORS.filter((name) => name !== 'random')),
        fc.integer({ min: 1, max: 5 }),
        (selector, count) => {
          const table = Array.from({ length: count + 1 }, (_, i) => line(i - 1, 5, -1, -1));
          expect(choose(table, select(selector), 's')).toBe(-1);
        },
      ),
    ));
  it('but random never chooses what is worse than the incumbent in everything', () =>
    fc.assert(
      fc.property(tables, fc.constantFrom(...SELECTORS.filter((name) => name !== 'random')), (table, selector) => {
        const best = table.map((row) =>
          row.k === -1 ? line(-1, 7, 0, 0) : { ...row, offPolicyNats: -1, onPolicyNats: -1 },
        );
        expect(choose(best, select(selector), 's')).toBe(-1);
      }),
    ));
});

describe('length', () => {
  it('takes the longest within the bounds', () => {
    const table = [line(-1, 5, null, null), line(0, 7, null, null), line(1, 12, null, null), line(2, 9, null, null)];
    expect(choose(table, select('length', { maxChars: 10 }), 's')).toBe(2);
    expect(choose(table, select('length', { maxChars: 4 }), 's')).toBe(-1);
    expect(choose(table, select('length', { minChars: 13 }), 's')).toBe(-1);
  });
  it('takes the first of equally long ones', () =>
    expect(selectLength([3, 9, 9], 4, { minChars: 1, maxChars: 10 })).toBe(1));
});

describe('off-policy and on-policy', () => {
  const table = [
    line(-1, 5, -1, -0.5),
    line(0, 5, -0.4, -0.6),
    line(1, 5, -0.2, -0.9, 'repetition'),
    line(2, 5, -0.3, -0.4),
  ];
  it('take the sound candidate under which the answer is likeliest, each by its own model', () => {
    expect(choose([...table, line(3, 5, -0.9, -0.1)], select('off-policy'), 's')).toBe(2);
    expect(choose([...table, line(3, 5, -0.9, -0.1)], select('on-policy'), 's')).toBe(3);
  });
  it('a tie keeps the incumbent', () => {
    expect(selectOffPolicy([-1, -2], -1)).toBe('incumbent');
    expect(selectOnPolicy([-1, -2], -1)).toBe('incumbent');
    expect(selectOnPolicy([-1, -0.5], -1)).toBe(1);
  });
  it('a missing score is an error, never a choice', () => {
    expect(() => choose([line(-1, 5, -1, null), line(0, 5, null, null)], select('off-policy'), 's')).toThrow(
      'candidate 0 has no off-policy score',
    );
    expect(() => choose([line(-1, 5, -1, null), line(0, 5, -1, -1)], select('vote'), 's')).toThrow(
      'candidate -1 has no on-policy score',
    );
    expect(() => choose([line(0, 5, -1, -1)], select('length'), 's')).toThrow('the table has no incumbent');
  });
});

describe('random', () => {
  it('draws every sound candidate about equally often, and never the incumbent', () => {
    const table = [
      line(-1, 5, null, null),
      line(0, 5, null, null),
      line(1, 5, null, null, 'empty'),
      line(2, 5, null, null),
      line(5, 5, null, null),
    ];
    const drawn = new Map<number, number>();
    for (let i = 0; i < 3000; i++) {
      const k = choose(table, select('random'), `0/1/e${i}`);
      drawn.set(k, (drawn.get(k) ?? 0) + 1);
    }
    expect([...drawn.keys()].sort()).toEqual([0, 2, 5]);
    for (const times of drawn.values()) expect(times).toBeGreaterThan(900);
  });
  it('draws the same for the same seed', () => expect(selectRandom(100, 'a')).toBe(selectRandom(100, 'a')));
});

describe('vote', () => {
  it('two of three decide', () => {
    expect(selectByVote([2, 0, 2])).toBe(2);
    expect(selectByVote(['incumbent', 1, 'incumbent'])).toBe('incumbent');
  });
  it('without a majority the incumbent stays', () => {
    expect(selectByVote([0, 1, 2])).toBe('incumbent');
    expect(selectByVote([0, 0, 1, 2])).toBe('incumbent');
  });
  it('each selector votes once', () => {
    const table = [line(-1, 5, -1, -1), line(0, 9, -0.5, -0.9), line(1, 8, -0.9, -0.1)];
    expect(choose(table, select('vote'), 's')).toBe(0);
  });
});

describe('rank-sum', () => {
  it('the lowest sum of ranks wins', () => {
    // Ranks of k = 0: 2, 2, 2; k = 1: 1, 3, 3; incumbent: 3, 1, 1 (sum 5).
    expect(
      selectByRankSum([
        [8, 9, 5],
        [-2, -3, -1],
        [-2, -3, -1],
      ]),
    ).toBe('incumbent');
    // Now k = 0: 2, 1, 2 (sum 5); incumbent: 3, 2, 1 (sum 6).
    expect(
      selectByRankSum([
        [8, 9, 5],
        [-1, -3, -2],
        [-2, -3, -1],
      ]),
    ).toBe(0);
  });
  it('equal values share the mean of their ranks', () => {
    // Ranks of k = 0: 1.5, 1.5, 3, 2; of k = 1: 1.5, 1.5, 2, 3; of the incumbent: 3, 3, 1, 1. All sums are 8.
    const values = [
      [5, 5, 1],
      [5, 5, 1],
      [1, 2, 3],
      [2, 1, 3],
    ];
    expect(selectByRankSum(values)).toBe('incumbent');
  });
  it('a tie of sums keeps the incumbent, else takes the lower k', () => {
    expect(
      selectByRankSum([
        [9, 5],
        [-2, -1],
      ]),
    ).toBe('incumbent');
    expect(
      selectByRankSum([
        [9, 8, 1],
        [-2, -1, -3],
      ]),
    ).toBe(0);
  });
  it('what is out of bounds ranks last by length', () => {
    const table = [line(-1, 5, -1, -1), line(0, 90, -0.9, -1), line(1, 6, -0.9, -1)];
    expect(choose(table, select('rank-sum', { maxChars: 10 }), 's')).toBe(1);
  });
});

it('only the scores a selector reads are needed', () => {
  expect(Object.fromEntries(SELECTORS.map((name) => [name, needs(name)]))).toEqual({
    length: { offPolicy: false, onPolicy: false },
    'off-policy': { offPolicy: true, onPolicy: false },
    'on-policy': { offPolicy: false, onPolicy: true },
    vote: { offPolicy: true, onPolicy: true },
    'rank-sum': { offPolicy: true, onPolicy: true },
    random: { offPolicy: false, onPolicy: false },
  });
});
