import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SELECTORS, Selection } from '../../contracts/spec.js';
import { type CandidateRow, choose, scoresOf } from '../../method/selectors/index.js';
import { lowestRankSum } from '../../method/selectors/rank-sum.js';
import { best } from '../../method/selectors/selector.js';
import { majority } from '../../method/selectors/vote.js';

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
  scores: { 'off-policy': off, 'on-policy': on },
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
          row.k === -1 ? line(-1, 7, 0, 0) : { ...row, scores: { 'off-policy': -1, 'on-policy': -1 } },
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
  it('takes the first of equally long ones', () => {
    const table = [4, 3, 9, 9].map((chars, i) => line(i - 1, chars, null, null));
    expect(choose(table, select('length', { minChars: 1, maxChars: 10 }), 's')).toBe(1);
  });
});

describe('off-policy and on-policy', () => {
  const table = [
    line(-1, 5, -1, -0.5),
    line(0, 5, -0.4, -0.6),
    line(1, 5, -0.2, -0.9, 'repetition'),
    line(2, 5, -0.3, -0.4),
  ];
  it('take the sound candidate under which the answer is most likely, each by its own model', () => {
    expect(choose([...table, line(3, 5, -0.9, -0.1)], select('off-policy'), 's')).toBe(2);
    expect(choose([...table, line(3, 5, -0.9, -0.1)], select('on-policy'), 's')).toBe(3);
  });
  it('a tie keeps the incumbent', () => {
    expect(best([-1, -2], -1)).toBe('incumbent');
    expect(best([-1, -0.5, -0.5], -1)).toBe(1);
    for (const selector of ['off-policy', 'on-policy'] as const)
      expect(choose([line(-1, 5, -1, -1), line(0, 9, -1, -1), line(1, 9, -2, -2)], select(selector), 's')).toBe(-1);
  });
  it('a table without an incumbent is an error, never a choice', () => {
    expect(() => choose([line(0, 5, -1, -1)], select('length'), 's')).toThrow('the table has no incumbent');
  });
});

describe('a missing score', () => {
  const table = [line(-1, 5, -1, -1), line(0, 9, null, -0.1), line(1, 9, -0.5, null), line(2, 9, -0.9, -0.9)];
  it('leaves out the candidates that the selector cannot compare without it', () => {
    const chosen = (selector: Selection['selector']) => choose(table, select(selector), 's');
    expect([chosen('off-policy'), chosen('on-policy')]).toEqual([1, 0]);
    expect([chosen('vote'), chosen('rank-sum'), chosen('length')]).toEqual([2, 2, 0]);
  });
  it('of the incumbent keeps it', () => {
    const unscored = [line(-1, 5, null, -1), ...table.slice(1)];
    const chosen = (selector: Selection['selector']) => choose(unscored, select(selector), 's');
    expect([chosen('off-policy'), chosen('vote'), chosen('rank-sum')]).toEqual([-1, -1, -1]);
    expect([chosen('on-policy'), chosen('length')]).toEqual([0, 0]);
  });
  it('is the same whether it is null or absent', () =>
    fc.assert(
      fc.property(tables, selectors, fc.array(fc.boolean()), (rows, selector, missing) => {
        const nulls = rows.map((row, i) =>
          missing[i] ? { ...row, scores: { ...row.scores, 'off-policy': null } } : row,
        );
        const absent = rows.map((row, i) =>
          missing[i] ? { ...row, scores: { 'on-policy': row.scores['on-policy'] ?? null } } : row,
        );
        expect(choose(absent, select(selector), 's')).toBe(choose(nulls, select(selector), 's'));
      }),
    ));
  it('never decides: what is chosen has every score that the selector reads', () =>
    fc.assert(
      fc.property(tables, selectors, fc.array(fc.boolean()), (rows, selector, missing) => {
        const holes = rows.map((row, i) => (missing[i] ? line(row.k, row.chars, null, null, row.guard) : row));
        const k = choose(holes, select(selector), 's');
        const { scores } = holes.find((row) => row.k === k)!;
        if (k !== -1) for (const name of scoresOf(selector)) expect(scores[name]).not.toBeNull();
      }),
    ));
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
  it('draws by the seed alone: these choices are in stored runs', () => {
    const table = Array.from({ length: 101 }, (_, i) => line(i - 1, 5, null, null));
    expect(['0 1 r000001', '0 1 r000002', '7 2 a'].map((seed) => choose(table, select('random'), seed))).toEqual([
      3, 49, 60,
    ]);
  });
});

describe('vote', () => {
  it('two of three decide', () => {
    expect(majority([2, 0, 2])).toBe(2);
    expect(majority(['incumbent', 1, 'incumbent'])).toBe('incumbent');
  });
  it('without a majority the incumbent stays', () => {
    expect(majority([0, 1, 2])).toBe('incumbent');
    expect(majority([0, 0, 1, 2])).toBe('incumbent');
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
      lowestRankSum([
        [8, 9, 5],
        [-2, -3, -1],
        [-2, -3, -1],
      ]),
    ).toBe('incumbent');
    // Now k = 0: 2, 1, 2 (sum 5); incumbent: 3, 2, 1 (sum 6).
    expect(
      lowestRankSum([
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
    expect(lowestRankSum(values)).toBe('incumbent');
  });
  it('a tie of sums keeps the incumbent, else takes the lower k', () => {
    expect(
      lowestRankSum([
        [9, 5],
        [-2, -1],
      ]),
    ).toBe('incumbent');
    expect(
      lowestRankSum([
        [9, 8, 1],
        [-2, -1, -3],
      ]),
    ).toBe(0);
  });
  it('a candidate out of bounds ranks last by length', () => {
    const table = [line(-1, 5, -1, -1), line(0, 90, -0.9, -1), line(1, 6, -0.9, -1)];
    expect(choose(table, select('rank-sum', { maxChars: 10 }), 's')).toBe(1);
  });
});

it('a selector reads these scores and no others', () => {
  expect(Object.fromEntries(SELECTORS.map((name) => [name, scoresOf(name)]))).toEqual({
    length: [],
    'off-policy': ['off-policy'],
    'on-policy': ['on-policy'],
    vote: ['off-policy', 'on-policy'],
    'rank-sum': ['off-policy', 'on-policy'],
    random: [],
  });
});
