import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import type { ScoreName } from '../../contracts/rows.js';
import { type AnswerScore, SELECTORS, Selection } from '../../contracts/spec.js';
import { answerScore } from '../../method/selectors/answer-score.js';
import { type CandidateRow, choose, decide, scoresOf, scoresToKeep } from '../../method/selectors/index.js';
import { efficiency, likelihoodRank } from '../../method/selectors/nover.js';
import { lowestRankSum } from '../../method/selectors/rank-sum.js';
import { best } from '../../method/selectors/selector.js';
import { majority } from '../../method/selectors/vote.js';

const select = (selector: z.input<typeof Selection>['selector'], bounds = {}) =>
  Selection.parse({ selector, ...(selector === 'judge' ? { judge: { engine: 'teacher' } } : {}), ...bounds });
/** Each token of the answer is as likely as the mean says, and without a rationale less. */
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
  scores: { 'off-policy': off, 'on-policy': on, ...(off === null || k < -1 ? {} : { judge: Math.exp(off) }) },
  logprobs: tokens(off, on),
  ...(k === -1 ? { withoutRationale: tokens(-6, -6) } : {}),
});
const tokens = (off: number | null, on: number | null) => ({
  ...(off === null ? {} : { 'off-policy': [off, off] }),
  ...(on === null ? {} : { 'on-policy': [on, on] }),
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
    expect(best([-1, -2, -1])).toBe('incumbent');
    expect(best([-1, -0.5, -0.5, -1])).toBe(1);
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
          missing[i] ? { ...row, scores: { ...row.scores, 'off-policy': null, judge: null } } : row,
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
    judge: [],
    'off-policy': ['off-policy'],
    'on-policy': ['on-policy'],
    vote: ['off-policy', 'on-policy'],
    'rank-sum': ['off-policy', 'on-policy'],
    verifree: ['on-policy'],
    rlpr: ['on-policy'],
    r3: ['on-policy'],
    nover: ['off-policy'],
    random: [],
  });
});

describe('the scores that a run keeps', () => {
  const all = ['off-policy', 'on-policy'];
  const kept = (selector: z.input<typeof Selection>['selector'], scores?: 'all' | 'needed') =>
    scoresToKeep(select(selector, scores ? { scores } : {}));

  it('are all of them if the selector reads any, so that every selector can be tried later', () => {
    expect(kept('off-policy')).toEqual({ names: all, withoutRationale: all });
    expect(kept('length')).toEqual({ names: [], withoutRationale: [] });
  });
  it('are all or only what the selector reads, where the spec says so', () => {
    expect(kept('length', 'all')).toEqual({ names: all, withoutRationale: all });
    expect(kept('off-policy', 'needed')).toEqual({ names: ['off-policy'], withoutRationale: [] });
    expect(kept('rlpr', 'needed')).toEqual({ names: ['on-policy'], withoutRationale: ['on-policy'] });
  });
});

describe('the formulas of the papers', () => {
  // Recorded with NumPy, from this table:
  //   lp = np.array([[-.1,-2.3,-.05], [-.2,-.7,-.04], [-1.5,-.6,-.06], [-.3,-1.9,-.05]]); alone = np.array([-.4,-2.5,-.05])
  //   chars = np.array([120, 80, 60, 100]); ppl = np.exp(-lp.mean(1))
  const chars = [120, 80, 60, 100];
  const logprobs_NT = [
    [-0.1, -2.3, -0.05],
    [-0.2, -0.7, -0.04],
    [-1.5, -0.6, -0.06],
    [-0.3, -1.9, -0.05],
  ];
  const alone_T = [-0.4, -2.5, -0.05];
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

  /** The same numbers under both models; the last row is the incumbent. */
  const tableOf = (rows_NT: readonly number[][], alone: number[]): CandidateRow[] =>
    rows_NT.map((row_T, i) => ({
      k: i === rows_NT.length - 1 ? -1 : i,
      chars: chars[i % chars.length]!,
      guard: null,
      scores: { 'off-policy': mean(row_T), 'on-policy': mean(row_T) },
      logprobs: { 'off-policy': row_T, 'on-policy': row_T },
      ...(i === rows_NT.length - 1 ? { withoutRationale: { 'off-policy': alone, 'on-policy': alone } } : {}),
    }));
  const table = tableOf(logprobs_NT, alone_T);
  const values = (reduce: AnswerScore['reduce'], minus: AnswerScore['minus'] = 'nothing', of = table) =>
    answerScore({ model: 'current', reduce, minus }).values(of, { minChars: 1, maxChars: 8000 });
  const agree = (found: number[], expected: number[]) =>
    expect(found.map((value) => value.toFixed(12))).toEqual(expected.map((value) => value.toFixed(12)));

  it('ours: lp.mean(1)', () => agree(values('mean-logprob'), [-0.8166666666666665, -0.3133333333333333, -0.72, -0.75]));
  it('VeriFree: np.exp(lp.sum(1))', () =>
    agree(
      values('sequence-prob'),
      [0.08629358649937054, 0.39062783535852114, 0.11532512103806251, 0.10539922456186439],
    ));
  it('RLPR: np.exp(lp).mean(1), and minus np.exp(alone).mean(), clipped at zero', () => {
    agree(values('mean-prob'), [0.6521085620864925, 0.7587018320072382, 0.5712354432755683, 0.6138720881350223]);
    const gains = [0.08423040569974183, 0.19082367562048752, 0.0033572868888176455, 0.0459939317482716];
    agree(values('mean-prob', 'no-rationale'), gains);
    const better = tableOf(logprobs_NT, [0, 0, 0]);
    agree(values('mean-prob', 'no-rationale', better), [0, 0, 0, 0]);
  });
  it('R3: sd = lp.std(0); (lp * sd / sd.sum()).sum(1)', () =>
    agree(
      values('weighted-logprob'),
      [-1.3379496047736983, -0.4805522736655445, -0.9857064121190184, -1.1991772686488085],
    ));
  it('NOVER: its share of ranks by perplexity, and its efficiency', () => {
    const bounds = { minChars: 1, maxChars: 8000 };
    agree(likelihoodRank.values(table, bounds), [0.25, 1, 0.75, 0.5]);
    agree(efficiency.values(table, bounds), [0, 2 / 3, 2 / 3, 1 / 3]);
  });

  const tokenTables = fc
    .tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 2, max: 5 }))
    .chain(([tokens, rows]) => {
      const logprob = fc.integer({ min: -20, max: 0 }).map((value) => value / 4);
      const row = fc.array(logprob, { minLength: tokens, maxLength: tokens });
      return fc.tuple(fc.array(row, { minLength: rows, maxLength: rows }), row);
    });
  it('change with a constant that is added to every log-probability as they must', () =>
    fc.assert(
      fc.property(tokenTables, ([rows_NT, alone]) => {
        const shift = (row_T: readonly number[]) => row_T.map((value) => value - 1);
        const [one, other] = [tableOf(rows_NT, alone), tableOf(rows_NT.map(shift), shift(alone))];
        const both = (reduce: AnswerScore['reduce'], minus: AnswerScore['minus'] = 'nothing') =>
          [values(reduce, minus, one), values(reduce, minus, other)] as const;
        const close = ([before, after]: readonly [number[], number[]], change: (value: number) => number) => {
          for (const [i, value] of before.entries()) expect(after[i]).toBeCloseTo(change(value), 9);
        };
        close(both('mean-logprob'), (value) => value - 1);
        close(both('weighted-logprob'), (value) => value - 1);
        close(both('mean-prob', 'no-rationale'), (value) => value / Math.E);
        close(both('sequence-prob'), (value) => value * Math.exp(-rows_NT[0]!.length));
      }),
    ));
});

describe('a table made by hand, where each selector has its own winner', () => {
  /** An answer of two tokens, whose likelihoods under each model are given. */
  const row = (k: number, chars: number, reference: [number, number], current: [number, number]): CandidateRow => {
    const logprobs = { 'off-policy': reference.map(Math.log), 'on-policy': current.map(Math.log) };
    const score = (name: ScoreName) => (logprobs[name][0]! + logprobs[name][1]!) / 2;
    return {
      ...{ k, chars, guard: null, logprobs },
      scores: { 'off-policy': score('off-policy'), 'on-policy': score('on-policy') },
      ...(k === -1 ? { withoutRationale: { 'off-policy': [-3, -3], 'on-policy': [-3, -3] } } : {}),
    };
  };
  const table = [
    row(-1, 50, [0.2, 0.2], [0.2, 0.2]),
    row(0, 400, [0.3, 0.3], [0.21, 0.22]),
    row(1, 90, [0.7, 0.7], [0.3, 0.3]),
    row(2, 40, [0.6, 0.6], [0.25, 0.25]),
    // The mean probability is highest; the product is not, since one token is unlikely.
    row(3, 95, [0.1, 0.1], [0.98, 0.15]),
    // The product is highest.
    row(4, 96, [0.1, 0.1], [0.5, 0.5]),
  ];
  it.each([
    ['length', 0],
    ['off-policy', 1],
    ['nover', 2],
    ['rlpr', 3],
    ['verifree', 4],
    ['on-policy', 4],
  ] as const)('%s chooses k = %i', (selector, k) => {
    expect(choose(table, select(selector), 's')).toBe(k);
  });
  it('r3 looks at the tokens that vary', () => {
    // Only the second token varies: by it k = 0 is better, though k = 1 has the higher mean.
    const varied = [
      row(-1, 50, [0.2, 0.2], [0.9, 0.1]),
      row(0, 60, [0.2, 0.2], [0.9, 0.5]),
      row(1, 60, [0.2, 0.2], [0.97, 0.49]),
    ];
    expect(choose(varied, select('r3'), 's')).toBe(0);
    expect(choose(varied, select('on-policy'), 's')).toBe(1);
  });
  it('a score of three choices, and weights of several measures, are selectors', () => {
    expect(choose(table, select({ model: 'reference', reduce: 'sequence-prob' }), 's')).toBe(1);
    const of = ['length', 'verifree'] as const;
    expect(choose(table, select({ combine: 'weights', of: [...of], weights: [1, 0] }), 's')).toBe(0);
    expect(choose(table, select({ combine: 'weights', of: [...of], weights: [0, 1] }), 's')).toBe(4);
    expect(choose(table, select({ combine: 'vote', of: ['verifree', 'on-policy', 'length'] }), 's')).toBe(4);
  });
  it('minGain leaves an example as it is unless the gain is above it', () => {
    const gain = Math.log(0.7) - Math.log(0.2);
    expect(choose(table, select('off-policy', { minGain: gain - 0.01 }), 's')).toBe(1);
    expect(choose(table, select('off-policy', { minGain: gain + 0.01 }), 's')).toBe(-1);
  });
  it('a decision shows what the selector compared, and forgets what another one did', () => {
    const decided = decide(table, select('rlpr'), 's');
    expect(decided.map(({ chosen }) => chosen)).toEqual([false, false, false, false, true, false]);
    expect(Object.keys(decided[0]!.scores)).toEqual(['off-policy', 'on-policy', 'rlpr']);
    expect(Object.keys(decide(decided, select('length'), 's')[0]!.scores)).toEqual([
      'off-policy',
      'on-policy',
      'length',
    ]);
  });
});
