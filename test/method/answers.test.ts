import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Question } from '../../contracts/rows.js';
import { PromptTemplates } from '../../contracts/spec.js';
import { normaliseAnswer, sameAnswer } from '../../method/answers.js';
import { grade } from '../../method/graders/index.js';
import { vote } from '../../method/vote.js';

const templates = PromptTemplates.parse({});

/** Texts that are often the same answer: numbers and words with all that does not count around them. */
const written = fc
  .tuple(
    fc.constantFrom('', ' ', '"', '“', '$', '\\$', 'the ', 'a ', '-', '−', '0', '€ '),
    fc.constantFrom(
      '50',
      '1,000',
      '1000',
      '5',
      '.5',
      '0.50',
      'cat',
      'Cat',
      'big  cat',
      'the',
      '５０',
      'ﬁve',
      '$50',
      'a',
    ),
    fc.constantFrom('', '.', '%', ' %', '.0', '"', '”', ' .', '!', ', the', '..', ' a'),
  )
  .map((parts) => parts.join(''));
const anyAnswer = fc.oneof(written, fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }));

describe('the normal form', () => {
  it.each([
    ['$1,000.0', '1000'],
    ['50%', '50'],
    ['$ 50', '50'],
    ['50.', '50'],
    ['"50"', '50'],
    ['−.50', '-0.5'],
    ['1,00', '1,00'],
    ['12345678901234567890', '12345678901234567890'],
    ['The Eiffel  Tower.', 'eiffel tower'],
    ['the "Cat"', 'cat'],
    ['A', 'a'],
    ['18 dollars', '18 dollars'],
    ['...', '...'],
    ['', ''],
  ])('of %j is %j', (text, form) => expect(normaliseAnswer(text)).toBe(form));

  it('is its own normal form, so equality is an equivalence relation', () =>
    fc.assert(
      fc.property(anyAnswer, (text) => {
        const form = normaliseAnswer(text);
        expect(normaliseAnswer(form)).toBe(form);
        expect(sameAnswer(text, form)).toBe(true);
      }),
      { numRuns: 2000 },
    ));
  it('is the same for equal answers only', () =>
    fc.assert(
      fc.property(written, written, written, (a, b, c) => {
        expect(sameAnswer(a, a)).toBe(true);
        expect(sameAnswer(a, b)).toBe(sameAnswer(b, a));
        if (sameAnswer(a, b) && sameAnswer(b, c)) expect(sameAnswer(a, c)).toBe(true);
      }),
      { numRuns: 2000 },
    ));
});

describe('the vote', () => {
  it('counts the answers that are equal in whichever spelling', () => {
    expect(vote(['50%', 'the cat', '50', null, '$ 50', 'cat', '50.', 'a cat', ' Fifty '])).toEqual([
      { answer: '50%', count: 4, first: 0 },
      { answer: 'the cat', count: 3, first: 1 },
      { answer: 'Fifty', count: 1, first: 8 },
    ]);
  });
  it('a tie keeps the order in which the answers were given', () => {
    expect(vote(['b', 'a', 'c', 'a', 'b']).map(({ answer }) => answer)).toEqual(['b', 'a', 'c']);
  });
  it('a reply without an answer has no vote', () => {
    expect(vote([null, '', ' ', '...', '"', '“ ”'])).toEqual([]);
  });
  it('groups exactly the answers that a grade would call equal', () => {
    const asked = (answer: string): Question => ({ id: 'q', question: 'Q', turns: null, choices: null, answer });
    // One line: a reply is read up to the end of its line.
    const line = written.map((text) => text.trim()).filter((text) => /[\p{L}\p{N}]/u.test(text));
    return fc.assert(
      fc.property(line, line, (a, b) => {
        const graded = grade(asked(a), `Answer: ${b}`, templates);
        expect(graded.given).toBe(b);
        expect(vote([a, b]).length === 1).toBe(graded.correct);
      }),
      { numRuns: 2000 },
    );
  });
  it('counts every reply that has an answer once', () =>
    fc.assert(
      fc.property(fc.array(fc.option(anyAnswer)), (answers) => {
        const votes = vote(answers);
        const counted = answers.filter((answer) => answer !== null && vote([answer]).length === 1).length;
        expect(votes.reduce((sum, { count }) => sum + count, 0)).toBe(counted);
        for (const { answer, first } of votes) expect(answers[first]!.trim()).toBe(answer);
      }),
    ));
});
