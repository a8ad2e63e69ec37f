import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Question } from '../../contracts/records.js';
import { Gate, Prompts } from '../../contracts/spec.js';
import { decideGate } from '../../method/gate.js';
import { grade } from '../../method/grading.js';
import { hash32, random } from '../../method/random.js';
import { rowSeed } from '../../method/seeds.js';
import { bootstrapInterval, pairedBootstrap } from '../../method/statistics.js';

const prompts = Prompts.parse({});
const open = (answer: string): Question => ({ id: 'q', question: 'Q', choices: null, answer });
const isRight = (given: string, answer: string) => grade(open(answer), `So.\nAnswer: ${given}`, prompts).correct;
const share = (right: number, of: number) => Array.from({ length: of }, (_, e) => e < right);

describe('exact match', () => {
  it.each([
    ['1,000', '1000'],
    ['$1000.0', '1,000'],
    ['\\$1000', '1000'],
    ['1000.', '1000'],
    ['007', '7'],
    ['.50', '0.5'],
    ['−5', '-5'],
    ['-0', '0'],
    ['50%', '50'],
    ['The Eiffel Tower.', 'eiffel tower'],
    ['"Paris"', 'paris'],
    ['ﬁve', 'five'],
    ['A', 'a'],
  ])('%s is %s', (given, answer) => expect(isRight(given, answer)).toBe(true));
  it.each([
    ['1000', '100'],
    ['5', '-5'],
    ['0.5', '5'],
    ['12345678901234567890', '12345678901234567891'],
    ['18 dollars', '18'],
    ['1,00', '100'],
    ['not Paris', 'Paris'],
    ['a', 'the'],
  ])('%s is not %s', (given, answer) => expect(isRight(given, answer)).toBe(false));

  it('a reply without an answer is wrong, and says so', () => {
    expect(grade(open('5'), '2+3=5', prompts)).toEqual({ id: 'q', correct: false, given: null, expected: '5' });
  });
  it('an answer matches itself, with thousands and a sign or without', () =>
    fc.assert(
      fc.property(fc.integer(), (number) => {
        expect(isRight(number.toLocaleString('en'), String(number))).toBe(true);
        expect(isRight(String(number + 1), String(number))).toBe(false);
      }),
    ));
});

describe('multiple choice', () => {
  const question: Question = { id: 'q', question: 'Q', choices: ['A dog', 'The cat', '42'], answer: 'B' };
  const given = (text: string, of = question) => grade(of, `So.\nAnswer: ${text}`, prompts).given;
  it.each([
    'B',
    'b',
    '(b)',
    'B.',
    'B)',
    'B) The cat',
    '(B) the cat',
    'B. The cat',
    'B: cat',
    'B - cat',
    'Option B',
    'the cat',
    'Cat.',
  ])('%s is B', (text) => expect(given(text)).toBe('B'));
  it('a choice that begins with an article is no letter', () => {
    expect(given('A dog')).toBe('A');
    expect(given('A wolf')).toBe('A wolf');
    expect(given('42.0')).toBe('C');
  });
  it('a letter beyond the choices is none of them', () => expect(given('D')).toBe('D'));
  it('a bare letter is a letter even where choices are letters', () => {
    expect(given('A', { ...question, choices: ['B', 'A'] })).toBe('A');
  });
  it('only the right one is right', () => {
    expect(grade(question, 'Answer: (b)', prompts)).toEqual({ id: 'q', correct: true, given: 'B', expected: 'B' });
    expect(grade(question, 'Answer: C', prompts).correct).toBe(false);
  });
});

it('grading never throws', () => {
  const question: Question = { id: 'q', question: 'Q', choices: ['x', 'y'], answer: 'B' };
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      grade(question, `Answer: ${text}`, prompts);
      expect(grade(open(text.trim() || 'x'), text, prompts).id).toBe('q');
    }),
  );
});

describe('bootstrap', () => {
  it('holds the mean, and narrows with more questions', () => {
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
  it('of b against a is that of a against b turned round', () => {
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

describe('seeds', () => {
  it('never change: stored runs were drawn with them', () => {
    expect([hash32(''), hash32('srlm'), hash32('日本')]).toEqual([0, 2522168209, 322114415]);
    expect(rowSeed(0, 1, 'enrich', 'r000001')).toBe(545966754);
    const next = random(1);
    expect([next(), next()]).toEqual([0.6270739405881613, 0.002735721180215478]);
  });
  it('leave room for 64 samples below 2^31', () =>
    fc.assert(
      fc.property(fc.nat(), fc.nat(100), fc.string(), fc.string(), (seed, round, purpose, id) => {
        const found = rowSeed(seed, round, purpose, id);
        expect(Number.isInteger(found) && found >= 0 && found <= 2 ** 31 - 1 - 64).toBe(true);
      }),
    ));
  it('differ between rows, rounds, purposes and runs, and spread evenly', () => {
    const seeds: number[] = [];
    for (let i = 0; i < 4000; i++)
      seeds.push(rowSeed(0, 1, 'enrich', `r${String(i).padStart(6, '0')}`), rowSeed(i + 1, 1, 'enrich', 'r'));
    for (let round = 0; round < 4000; round++) seeds.push(rowSeed(0, round, 'answer', 'r'));
    expect(seeds.length - new Set(seeds).size).toBeLessThan(3);
    const buckets = Array.from(
      { length: 16 },
      (_, b) => seeds.filter((seed) => Math.floor(seed / 2 ** 27) === b).length,
    );
    for (const count of buckets) expect(Math.abs(count - seeds.length / 16)).toBeLessThan(150);
  });
});
