import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Catalyst, Row } from '../../contracts/records.js';
import { Prompts } from '../../contracts/spec.js';
import { answerRow, catalystRow } from '../../method/mixture.js';
import { parseAnswer, parseRationale } from '../../method/parse.js';
import {
  answerMark,
  answerPrompt,
  answerSuffix,
  enrichPrompt,
  fill,
  questionPrompt,
  rationalizePrompt,
  reply,
  replyPrefix,
} from '../../method/prompts.js';

const prompts = Prompts.parse({});
const withReply = (reply: string) => Prompts.parse({ reply });
const row: Row = {
  id: 'e1',
  instruction: 'What is 2 + 3?',
  original: 'Add them up.',
  rationale: '2+3=5.',
  answer: '5',
  origin: null,
};
const anyText = fc.string({ unit: 'binary' });
const templates = [
  '{rationale}\nAnswer: {answer}',
  '{rationale} Answer: {answer}',
  '{rationale}{answer}',
  '<think>\n{rationale}\n</think>\n{answer}',
  '{rationale}\n{answer} or\n {answer}',
];

describe('prompts', () => {
  it('a value is never filled again', () => {
    expect(fill('{a} {b} {c} {}', { a: '{b}', b: '$& {a}' })).toBe('{b} $& {a} {c} {}');
  });
  it('a name of Object.prototype is no value', () => expect(fill('{constructor}', {})).toBe('{constructor}'));

  it('prefix and suffix are the whole reply, and the white space belongs to the answer', () =>
    fc.assert(
      fc.property(fc.constantFrom(...templates), anyText, anyText, (template, rationale, answer) => {
        const own = withReply(template);
        const prefix = replyPrefix(own, rationale);
        expect(prefix + answerSuffix(own, answer)).toBe(reply(own, rationale, answer));
        expect(prefix).toBe(prefix.trim());
      }),
    ));
  it('the reply is the template filled', () => {
    expect(reply(prompts, '2+3=5.', '5')).toBe('2+3=5.\nAnswer: 5');
    expect(replyPrefix(prompts, '2+3=5.')).toBe('2+3=5.\nAnswer:');
    expect(answerSuffix(prompts, '5')).toBe(' 5');
  });
  it('a missing rationale leaves no gap', () => expect(reply(prompts, '', '5')).toBe('Answer: 5'));

  it.each([
    [templates[0]!, 'Answer:'],
    [templates[2]!, null],
    [templates[3]!, '</think>'],
  ])('the answer mark of %j is %j', (template, mark) => expect(answerMark(withReply(template))).toBe(mark));

  it('enriches the original or the current rationale, and never shows the answer', () => {
    const own = Prompts.parse({ enrich: '{instruction}|{rationale}' });
    expect(enrichPrompt(own, row, 'original')).toBe('What is 2 + 3?|Add them up.');
    expect(enrichPrompt(own, row, 'current')).toBe('What is 2 + 3?|2+3=5.');
    expect(enrichPrompt(prompts, { ...row, answer: 'SECRET' }, 'original')).not.toContain('SECRET');
  });
  it('rationalizes from question and answer', () => {
    const own = Prompts.parse({ rationalize: '{instruction}|{answer}' });
    expect(rationalizePrompt(own, { ...row, rationale: null })).toBe('What is 2 + 3?|5');
  });
  it('lists choices one a line', () => {
    const own = Prompts.parse({ answer: 'Q: {instruction}' });
    expect(answerPrompt(own, 'Why?')).toBe('Q: Why?');
    expect(questionPrompt(own, { id: 'q', question: 'Which?', choices: ['{x}', 'y'], answer: 'B' })).toBe(
      'Q: Which?\nA. {x}\nB. y',
    );
    expect(questionPrompt(own, { id: 'q', question: 'Why?', choices: null, answer: 'B' })).toBe('Q: Why?');
  });
});

describe('mixture', () => {
  it('an example is trained as prompt and reply', () => {
    expect(answerRow(row, prompts)).toEqual({
      messages: [
        { role: 'user', content: 'What is 2 + 3?' },
        { role: 'assistant', content: '2+3=5.\nAnswer: 5' },
      ],
      source: 'answer',
      id: 'e1',
    });
  });
  const catalyst: Catalyst = {
    id: 'c1',
    instruction: 'Q',
    rationale: 'short',
    enriched: 'long',
    skills: [],
    answer: null,
  };
  it('a catalyst is trained as the task of enriching', () => {
    const own = Prompts.parse({ enrich: '{instruction}|{rationale}' });
    expect(catalystRow(catalyst, own, 'enrich')).toEqual({
      messages: [
        { role: 'user', content: 'Q|short' },
        { role: 'assistant', content: 'long' },
      ],
      source: 'enrich',
      id: 'c1',
    });
  });
  it('as an answer a catalyst needs one', () => {
    expect(catalystRow({ ...catalyst, answer: '5' }, prompts, 'answer')).toMatchObject({
      messages: [{ content: 'Q' }, { content: 'long\nAnswer: 5' }],
      source: 'catalyst-answer',
    });
    expect(() => catalystRow(catalyst, prompts, 'answer')).toThrow(
      'catalysts: catalyst "c1" has no answer, which use: answer needs. Nothing was started. [data.unusable]',
    );
  });
});

describe('parseRationale', () => {
  it.each([
    ['2+3=5.\nAnswer: 5 Answer: 6', '2+3=5.'],
    ['2+3=5.\n**Final Answer:** 5', '2+3=5.'],
    ['**2+3=5.** Answer: 5', '**2+3=5.**'],
    ['Answer: 5', ''],
    ['Reasoning: 2+3=5.', '2+3=5.'],
    ['Here\'s a more detailed reasoning:\n\n```text\n"2+3=5."\n```', '2+3=5.'],
    ['“2+3=5.”', '2+3=5.'],
    ['"Two" and "three" make "five"', '"Two" and "three" make "five"'],
    ['Step by step: 2+3=5.', 'Step by step: 2+3=5.'],
    ['Here is how: add.', 'Here is how: add.'],
    ['  \n ', ''],
  ])('%j is %j', (text, want) => expect(parseRationale(text, prompts)).toBe(want));

  it('keeps no answer, and reads what it gave the same again', () =>
    fc.assert(
      fc.property(
        fc.array(fc.oneof(anyText, fc.constantFrom('Answer:', 'Final', '**', '"', '```', '\n', 'Reasoning:'))),
        (parts) => {
          const once = parseRationale(parts.join(''), prompts);
          expect(once).not.toContain('Answer:');
          expect(parseRationale(once, prompts)).toBe(once);
        },
      ),
    ));
});

describe('parseAnswer', () => {
  it.each([
    ['2+3=5.\nAnswer: 5\nso it is', '5'],
    ['Answer: 4. No.\nAnswer:\n 5', '5'],
    ['**Answer:** 5', '5'],
    ['Answer: **5**', '5'],
    ['Answer: $\\boxed{\\frac{1}{2}}$', '\\frac{1}{2}'],
    ['2+3=5\n#### 5', '5'],
    ['so \\boxed{5} holds', '5'],
    ['Answer:', null],
    ['no mark at all', null],
    ['\\boxed{5', null],
    ['', null],
  ])('of %j is %j', (text, want) => expect(parseAnswer(text, prompts)).toBe(want));
  it('is the last line where the template has no mark', () => {
    expect(parseAnswer('2+3=5\nso\n5\n', withReply('{rationale}\n{answer}'))).toBe('5');
  });
});
