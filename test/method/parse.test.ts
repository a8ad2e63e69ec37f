import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PromptTemplates } from '../../contracts/spec.js';
import { parseAnswer, parseCandidate, parseRationale } from '../../method/parse.js';

const templates = PromptTemplates.parse({});
const withReply = (reply: string) => PromptTemplates.parse({ reply });
const anyText = fc.string({ unit: 'binary' });

describe('parseCandidate', () => {
  it('is truncated where the text was cut before its rationale had ended', () => {
    expect(parseCandidate({ text: ' 8+3=11, 11+', finish: 'length' }, templates)).toEqual({
      rationale: '8+3=11, 11+',
      truncated: true,
    });
    expect(parseCandidate({ text: '8+3=11.\nAnswer: 1', finish: 'length' }, templates)).toEqual({
      rationale: '8+3=11.',
      truncated: false,
    });
    for (const finish of ['stop', 'other'] as const)
      expect(parseCandidate({ text: '8+3=11, 11+', finish }, templates).truncated).toBe(false);
  });
  it('a template without an answer mark leaves no sign that the rationale had ended', () => {
    const bare = withReply('{rationale}\n{answer}');
    expect(parseCandidate({ text: '8+3=11.\nAnswer: 11', finish: 'length' }, bare).truncated).toBe(true);
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
  ])('%j is %j', (text, want) => expect(parseRationale(text, templates)).toBe(want));

  it('keeps no answer, and parsing again changes nothing', () =>
    fc.assert(
      fc.property(
        fc.array(fc.oneof(anyText, fc.constantFrom('Answer:', 'Final', '**', '"', '```', '\n', 'Reasoning:'))),
        (parts) => {
          const once = parseRationale(parts.join(''), templates);
          expect(once).not.toContain('Answer:');
          expect(parseRationale(once, templates)).toBe(once);
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
  ])('of %j is %j', (text, want) => expect(parseAnswer(text, templates)).toBe(want));
  it('is the last line where the template has no mark', () => {
    expect(parseAnswer('2+3=5\nso\n5\n', withReply('{rationale}\n{answer}'))).toBe('5');
  });
});
