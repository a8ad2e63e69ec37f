import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Question } from '../../contracts/rows.js';
import { PromptTemplates } from '../../contracts/spec.js';
import { grade } from '../../method/graders/index.js';

const templates = PromptTemplates.parse({});
const open = (answer: string): Question => ({ id: 'q', question: 'Q', turns: null, choices: null, answer });
const isRight = (given: string, answer: string) => grade(open(answer), `So.\nAnswer: ${given}`, templates).correct;

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
    expect(grade(open('5'), '2+3=5', templates)).toEqual({ id: 'q', correct: false, given: null, expected: '5' });
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
  const question: Question = { id: 'q', question: 'Q', turns: null, choices: ['A dog', 'The cat', '42'], answer: 'B' };
  const given = (text: string, of = question) => grade(of, `So.\nAnswer: ${text}`, templates).given;
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
    expect(grade(question, 'Answer: (b)', templates)).toEqual({ id: 'q', correct: true, given: 'B', expected: 'B' });
    expect(grade(question, 'Answer: C', templates).correct).toBe(false);
  });
});

it('grading never throws', () => {
  const question: Question = { id: 'q', question: 'Q', turns: null, choices: ['x', 'y'], answer: 'B' };
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      grade(question, `Answer: ${text}`, templates);
      expect(grade(open(text.trim() || 'x'), text, templates).id).toBe('q');
    }),
  );
});
