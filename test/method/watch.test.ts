/** The collapse watch: its numbers, limits on them, and alarms. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jsonBytes } from '../../contracts/refs.js';
import { type Decision, INCUMBENT } from '../../contracts/rows.js';
import { Gate } from '../../contracts/spec.js';
import { breachText, METRICS, MetricName, RoundWatch, WatchLimits } from '../../contracts/watch.js';
import { alarms } from '../../method/watch/alarms.js';
import { Choices } from '../../method/watch/choices.js';
import { Diversity } from '../../method/watch/diversity.js';
import { breaches, firstValue } from '../../method/watch/limits.js';
import { majorityGain, watchGain } from '../../method/watch/others.js';
import { DistinctCount, hashOf, ItemEntropy, mixed } from '../../method/watch/sketch.js';
import { TABLE } from './watch-corpus.js';

const diversityOf = (texts: readonly string[]): Diversity => {
  const diversity = new Diversity();
  for (const text of texts) diversity.add(text);
  return diversity;
};
const shown = (diversity: Diversity) => [
  ...([1, 2, 4] as const).map((size) => diversity.distinct(size)),
  diversity.entropy,
  diversity.meanChars,
];

describe('distinct n-grams', () => {
  it('are counted to within 3 %, of ten or of half a million, in the same memory', () => {
    for (const size of [10, 1000, 20_000, 40_000, 500_000]) {
      const counted = new DistinctCount();
      for (let i = 0; i < size; i++) counted.add(hashOf(`item ${i}`), mixed(hashOf(`item ${i}`) ^ 0x9e3779b9));
      expect(Math.abs(counted.count / size - 1)).toBeLessThan(0.03);
    }
  });
  it('are those of a set, for texts as short as a run has', () => {
    const texts = TABLE.flat().map(({ rationale }) => rationale);
    const pairs = texts.flatMap((text) => {
      const words = text.toLowerCase().match(/[\p{L}]+|\p{N}+|[^\p{L}\p{N}\s]/gu) ?? [];
      return words.slice(1).map((word, i) => `${words[i]} ${word}`);
    });
    expect(diversityOf(texts).distinct(2)).toBeCloseTo(new Set(pairs).size / pairs.length, 2);
  });
  it('of nothing, or of texts that are too short, are unknown', () => {
    expect(shown(diversityOf([]))).toEqual([null, null, null, null, null]);
    expect(shown(diversityOf(['one word']))).toEqual([expect.closeTo(1, 2), expect.closeTo(1, 2), null, 1, 8]);
  });
});

describe('entropy', () => {
  it('is 0 for one word again and again, and 3 bits for eight words that are as frequent', () => {
    expect(diversityOf(['so', 'so so', 'so']).entropy).toBe(0);
    expect(diversityOf(['a b c d', 'e f g h']).entropy).toBeCloseTo(3);
  });
  it('is never negative, nor above that of equally frequent items', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 200 }), (items) => {
        const entropy = new ItemEntropy();
        for (const item of items) entropy.add(hashOf(String(item)));
        expect(entropy.bits).toBeGreaterThanOrEqual(0);
        expect(entropy.bits).toBeLessThanOrEqual(Math.log2(new Set(items).size) + 1e-9);
      }),
      { numRuns: 20 },
    );
  });
});

describe('the numbers of texts', () => {
  it('do not depend on their order', () => {
    const texts = TABLE.flat().map(({ rationale }) => rationale);
    fc.assert(
      fc.property(fc.shuffledSubarray(texts, { minLength: texts.length }), (order) => {
        expect(shown(diversityOf(order))).toEqual(shown(diversityOf(texts)));
      }),
      { numRuns: 5 },
    );
  });
  it('say that texts are less varied once some are replaced by copies', () => {
    const texts = Array.from({ length: 100 }, (_, i) => `Add ${i} and ${i + 7}, which is ${2 * i + 7}.`);
    const copies = texts.map((text, i) => (i % 2 === 0 ? text : texts[0]!));
    const [varied, copied] = [diversityOf(texts), diversityOf(copies)];
    for (const size of [1, 2, 4] as const) expect(copied.distinct(size)!).toBeLessThan(varied.distinct(size)!);
    expect(copied.entropy!).toBeLessThan(varied.entropy!);
  });
});

const watchOf = (rows: readonly Decision[][], selector: 'off-policy' | 'random' = 'off-policy') => {
  const choices = new Choices({ selector });
  for (const lines of rows) choices.add(lines);
  return choices.result;
};
const line = (k: number, rationale: string, more: Partial<Decision> = {}): Decision => ({
  ...{ id: 'r', k, rationale, chars: rationale.length, guard: null, scores: {}, chosen: false, ...more },
});

describe('the numbers of choices', () => {
  const row = [
    line(INCUMBENT, 'before', {
      scores: { 'off-policy': -1 },
      withoutRationale: { 'on-policy': [-1, -2], 'off-policy': [-1.5, -1] },
    }),
    line(0, 'same', { scores: { 'off-policy': -0.4 }, chosen: true }),
    line(1, 'same', { scores: { 'off-policy': -0.4 } }),
    line(2, '', { guard: 'empty' }),
    line(3, 'same', { guard: 'pasted-answer' }),
  ];
  const stays = [line(INCUMBENT, 'x', { scores: { 'off-policy': -1 }, chosen: true }), line(0, 'longer')];

  it('are those of a row that was made by hand', () => {
    expect(watchOf([row, stays])).toMatchObject({
      ...{ repeats: 0.6667, changed: 0.5, chosenChars: 4, candidateChars: 3.6 },
      ...{ ownGain: 0.3, guarded: 0.4, empty: 0.2, pastedAnswer: 0.2, truncated: 0 },
      ...{ distance: 0.75, drift: -0.25 },
    });
  });
  it('leave out what is not known: the gain of a selector without values, scores that were not kept', () => {
    const found = watchOf([stays], 'random');
    for (const name of ['ownGain', 'distance', 'drift', 'chosenChars', 'shorter'] as const)
      expect(found).not.toHaveProperty(name);
    expect(watchOf([])).toEqual({});
  });
  it('do not depend on the order of the rows', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(TABLE, { minLength: TABLE.length }), (order) => {
        expect(watchOf(order)).toEqual(watchOf(TABLE));
      }),
      { numRuns: 5 },
    );
  });
  it('count how many became shorter once twenty were replaced', () => {
    expect(watchOf(Array.from({ length: 19 }, () => row))).not.toHaveProperty('shorter');
    expect(watchOf(Array.from({ length: 20 }, () => row)).shorter).toBe(1);
  });
  it('are repeats, all but the first of a row, where candidates are equal', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 16 }), fc.string(), (count, text) => {
        const lines = Array.from({ length: count }, (_, k) => line(k, text));
        expect(watchOf([[line(INCUMBENT, 'i', { chosen: true }), ...lines]]).repeats).toBe(1);
      }),
      { numRuns: 5 },
    );
  });
});

describe('the numbers of other steps', () => {
  it('are the worst watched set against round 0, and what a vote of all samples adds to one', () => {
    const comparisons = [
      { set: null, against: ['first'], difference: -0.9 },
      { set: 'other', against: ['first'], difference: -0.5 },
      { set: 'forget', against: ['before'], difference: -0.4 },
      { set: 'forget', against: ['best', 'first'], difference: -0.2 },
      { set: 'more', against: ['first'], difference: 0.1 },
    ];
    const evaluations = { other: { watch: false }, forget: { watch: true }, more: { watch: true } };
    expect(watchGain({ evaluations, comparisons })).toBe(-0.2);
    expect(watchGain({ evaluations, comparisons: comparisons.slice(0, 3) })).toBeNull();
    const at = (...mean_N: number[]) => ({ depths: [{ majority: { mean_N } }, { majority: { mean_N: [0, 1] } }] });
    expect(majorityGain(at(0.25, 0.3, 0.5))).toBe(0.25);
    expect(majorityGain(at(0.25))).toBeNull();
  });
});

describe('limits', () => {
  const rounds = [
    { round: 0, watch: { replyChars: 50 } },
    { round: 1, watch: { distinct2: 0.6 } },
    { round: 2, watch: { distinct2: 0.5 } },
    { round: 3 },
  ];
  const found = (limits: WatchLimits, watch: RoundWatch) => breaches(WatchLimits.parse(limits), watch, rounds);

  it('are relative to the first round that has the number, or absolute', () => {
    expect(firstValue(rounds, 'distinct2')).toEqual({ round: 1, value: 0.6 });
    expect(found({ distinct2: { drop: 0.5 } }, { distinct2: 0.3 })).toEqual([]);
    expect(found({ distinct2: { drop: 0.5 } }, { distinct2: 0.29 })).toEqual([
      { metric: 'distinct2', value: 0.29, limit: 0.3 },
    ]);
    expect(found({ replyChars: { rise: 1 } }, { replyChars: 101 })).toMatchObject([{ limit: 100 }]);
    expect(found({ ownGain: { min: 0, max: 1 } }, { ownGain: -0.1 })).toMatchObject([{ limit: 0 }]);
    expect(found({ ownGain: { min: 0, max: 1 } }, { ownGain: 1.1 })).toMatchObject([{ limit: 1 }]);
  });
  it('that nothing is known for are not passed', () => {
    expect(found({ distinct2: { drop: 0.5 }, entropy: { drop: 0.1 } }, { entropy: 0.1 })).toEqual([]);
    expect(breaches({ distinct2: { drop: 0.5 } }, { distinct2: 0 }, [])).toEqual([]);
  });
  it.each([
    [{ distinct3: { min: 0 } }, 'distinct3'],
    [{ distinct2: {} }, 'must hold min, max, drop or rise'],
    [{ distinct2: { drop: 1 } }, 'expected number to be <1'],
    [{ distinct2: { min: 'x' } }, 'expected number'],
    [{ heldOutGain: { drop: 0.5 } }, 'takes min and max only'],
    [
      Object.fromEntries(MetricName.options.slice(0, 7).map((name) => [name, { min: 0 }])),
      'must be at most 6 limits, and 200 bytes of JSON',
    ],
  ])('%j is refused: %s', (limits, message) => {
    expect(JSON.stringify(Gate.safeParse({ watch: limits }).error?.issues)).toContain(message);
  });
  it('read as a clause with the number and the limit', () => {
    expect(breachText({ metric: 'distinct2', value: 0.2123, limit: 0.3 })).toBe(
      'distinct2 is 0.212, below its limit of 0.3',
    );
    expect(breachText({ metric: 'heldOutGain', value: 0.5, limit: 0.1 })).toBe(
      'heldOutGain is +0.5, above its limit of +0.1',
    );
  });
});

describe('alarms', () => {
  it('name the number, what it is, and how it stands to the first round', () => {
    const rounds = [
      { round: 1, watch: { distinct2: 0.5, repeats: 0.1 } },
      { round: 2, watch: { distinct2: 0.2, repeats: 0.95 } },
    ];
    expect(alarms(rounds).map(({ text }) => text)).toEqual([
      "round 2: distinct2 (candidates: different pairs of words / all pairs) is 0.2, 40 % of round 1's: a sign of collapse (docs/method.md)",
      'round 2: repeats (candidates but the first of each row: those that are equal to an earlier one) is 0.95: a sign of collapse (docs/method.md)',
    ]);
  });
  it('are none for a run that was not measured, or has one round', () => {
    expect(alarms([{ round: 0 }, { round: 1, watch: { distinct2: 0.01 } }])).toEqual([]);
  });
});

it('the numbers of a round take at most 800 bytes', () => {
  const all = Object.fromEntries(MetricName.options.map((name) => [name, -1234.5678]));
  expect(RoundWatch.parse(all)).toEqual(all);
  expect(jsonBytes(all)).toBeLessThanOrEqual(800);
  expect(Object.values(METRICS).every(({ what }) => what.length > 0)).toBe(true);
});
