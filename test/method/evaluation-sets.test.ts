/** Comparisons of rounds, and questions that are scored by log-probabilities. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Question, Score } from '../../contracts/rows.js';
import { PromptTemplates } from '../../contracts/spec.js';
import { compare, roundsToCompare } from '../../method/comparisons.js';
import { evaluateMessages } from '../../method/graders/index.js';
import { choiceRows, gradeChoices, gradeLikelihood, likelihoodRow } from '../../method/likelihood.js';
import { answerMessages } from '../../method/prompts.js';
import { exactPairedTest } from '../../method/statistics.js';

describe('the exact paired test', () => {
  const pairs = (onlyA: number, onlyB: number, both = 3) => ({
    a_E: [...Array(onlyA).fill(true), ...Array(onlyB).fill(false), ...Array(both).fill(true)] as boolean[],
    b_E: [...Array(onlyA).fill(false), ...Array(onlyB).fill(true), ...Array(both).fill(true)] as boolean[],
  });

  it.each([
    [0, 0, 1],
    [1, 0, 1],
    [0, 6, 0.03125],
    [3, 9, 0.14599609375],
    [10, 10, 1],
  ])('of %i against %i questions has p %f', (onlyA, onlyB, p) => {
    const { a_E, b_E } = pairs(onlyA, onlyB);
    const found = exactPairedTest(a_E, b_E);
    expect(found).toMatchObject({ onlyA, onlyB });
    expect(found.p).toBeCloseTo(p, 12);
  });

  it('is the same whichever of the two comes first, and does not underflow', () => {
    fc.assert(
      fc.property(fc.nat(3000), fc.nat(3000), (onlyA, onlyB) => {
        const { a_E, b_E } = pairs(onlyA, onlyB);
        const [one, other] = [exactPairedTest(a_E, b_E).p, exactPairedTest(b_E, a_E).p];
        expect(one).toBe(other);
        expect(one).toBeGreaterThanOrEqual(0);
        expect(one).toBeLessThanOrEqual(1);
        if (onlyA === onlyB) expect(one).toBeCloseTo(1, 6);
      }),
      { numRuns: 50 },
    );
  });

  it('refuses answers that do not pair', () => {
    expect(() => exactPairedTest([true], [])).toThrow('cannot pair 1 answers with 0');
  });
});

describe('a round is compared with', () => {
  it('the one before it, the best and round 0, each once', () => {
    expect([...roundsToCompare(3, 1)]).toEqual([
      [2, ['before']],
      [1, ['best']],
      [0, ['first']],
    ]);
    expect([...roundsToCompare(2, 1)]).toEqual([
      [1, ['before', 'best']],
      [0, ['first']],
    ]);
    expect([...roundsToCompare(1, 0)]).toEqual([[0, ['before', 'best', 'first']]]);
    expect([...roundsToCompare(0, null)]).toEqual([]);
  });

  it('a test where answers are right or wrong, and an interval alone where they are numbers', () => {
    const found = compare([true, false, false], [true, true, true], 0.95, 0);
    expect(found).toMatchObject({ difference: 2 / 3, test: { onlyOther: 0, onlyThis: 2, p: 0.5 } });
    const nats = compare([-2, -2], [-1, -1.5], 0.95, 0);
    expect(nats).toMatchObject({ difference: 0.75, test: null });
    expect(nats.low).toBeGreaterThanOrEqual(0.5);
  });
});

const templates = PromptTemplates.parse({});
const question: Question = { id: 'q', question: 'Legs of a cat?', turns: null, choices: ['two', 'four'], answer: 'B' };
const score = (id: string, k: number, nats: number): Score => ({ id, k, score: nats });

describe('a question by the likelihood of its choices', () => {
  const scores = (...nats: number[]) => new Map(nats.map((one, i) => [`q#${i}`, [score(`q#${i}`, -2, one)]]));

  it('is a row a choice, without the list of choices', () => {
    expect(choiceRows(question).map(({ id, instruction, answer }) => [id, instruction, answer])).toEqual([
      ['q#0', 'Legs of a cat?', 'two'],
      ['q#1', 'Legs of a cat?', 'four'],
    ]);
  });

  it('has the likeliest choice as its answer; of equal ones, the first', () => {
    expect(gradeChoices(question, scores(-2, -1))).toMatchObject({ correct: true, given: 'B', expected: 'B' });
    expect(gradeChoices(question, scores(-1, -1))).toMatchObject({ correct: false, given: 'A' });
  });

  it('has no answer where one choice has no log-probability', () => {
    expect(gradeChoices(question, scores(-1))).toMatchObject({ correct: false, given: null });
  });
});

describe('a question by the likelihood of its expected answer', () => {
  const open: Question = { id: 'q', question: 'Why?', turns: null, choices: null, answer: 'Because.' };

  it('asks what an evaluation asks, with the rationale of the reply and without one', () => {
    const turns = [
      { role: 'user' as const, content: 'Hello' },
      { role: 'assistant' as const, content: 'Hi' },
      { role: 'user' as const, content: 'Why?' },
    ];
    for (const asked of [open, question, { ...open, turns }, { ...question, turns }]) {
      const { example, candidate } = likelihoodRow(asked, 'It is so.\nAnswer: No.', templates);
      expect(answerMessages(templates, example)).toEqual(evaluateMessages(templates, asked));
      expect(example).toMatchObject({ rationale: '', answer: asked.answer });
      expect(candidate).toEqual({ id: 'q', k: 0, rationale: 'It is so.', truncated: false });
    }
  });

  it('keeps both values', () => {
    expect(gradeLikelihood(open, 'r', [score('q', -1, -3), score('q', 0, -2)])).toMatchObject({
      ...{ nats: -2, natsAlone: -3, expected: 'Because.' },
    });
    expect(gradeLikelihood(open, 'r', [])).toMatchObject({ nats: null, natsAlone: null });
  });
});
