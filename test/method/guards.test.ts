import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Example } from '../../contracts/rows.js';
import { PromptTemplates } from '../../contracts/spec.js';
import { guardsFor } from '../../method/guards/index.js';
import { parseCandidate } from '../../method/parse.js';

const templates = PromptTemplates.parse({});
const example: Example = {
  id: 'e1',
  instruction: 'What is 8 + 3 + 8 + 7 + 3 + 9?',
  original: 'Add them up.',
  rationale: 'Add them up.',
  answer: '38',
  origin: null,
  turns: null,
};
const verdict = (text: string, change: Partial<Example> = {}, finish: 'stop' | 'length' = 'stop') =>
  guardsFor({ templates, example: { ...example, ...change }, enrichFrom: 'original' })(
    parseCandidate({ text, finish }, templates),
  );

describe('sound', () => {
  it.each([
    ['working that progresses', 'Step by step: 8+3=11, 11+8=19, 19+7=26, 26+3=29, 29+9=38.'],
    ['the same with spaces', '8 + 3 = 11; 11 + 8 = 19; 19 + 7 = 26; 26 + 3 = 29; 29 + 9 = 38'],
    ['the same by lines', '1. 8+3=11\n2. 11+8=19\n3. 19+7=26\n4. 26+3=29\n5. 29+9=38'],
    [
      'the same in sentences',
      [11, 19, 26, 29, 38]
        .map(
          (sum, i) => `Next, I take number ${i + 1} of the list and add it to the running total, which makes ${sum}.`,
        )
        .join(' '),
    ],
    ['working with a wrong result', '8+3=12, 12+8=20, 20+7=27.'],
    ['many equal numbers', '7 + 7 + 7 + 7 + 7 + 7 + 7 + 7 + 7 + 7 + 7 + 7 = 84, since 12 * 7 = 84.'],
    ['a list', 'It needs:\n- flour\n- sugar\n- salt\n- an egg\nSo four things in all.'],
    ['a table', '| n | n*n |\n|---|---|\n| 1 | 1 |\n| 2 | 4 |\n| 3 | 9 |'],
    ['a refrain', 'We add. Then we check. 8 and 3 make 11. Then we check. 11 and 8 make 19.'],
    ['another writing system', '先把前两个数相加得到十一，再加八得到十九，然后加七。'],
    [
      'the question repeated before the working',
      'What is 8 + 3 + 8 + 7 + 3 + 9? First 8 and 3 make 11, with 8 it is 19, with 7 it is 26, then 29 and 38.',
    ],
    ['a short thought', 'Group the equal ones.'],
  ])('%s', (_, text) => expect(verdict(text)).toBeNull());

  it('a rationale that was finished before the text ran out', () => {
    expect(verdict('8+3=11, 11+8=19.\nAnswer: 19 and so on and', {}, 'length')).toBeNull();
  });
});

describe('degenerate', () => {
  it.each([
    ['empty', ''],
    ['empty', ' \n...\n'],
    ['empty', 'Answer: 38'],
    ['repetition', '8+3=11, '.repeat(8)],
    ['repetition', 'Add the numbers. Add the numbers. Add the numbers.'],
    ['repetition', '1. Add the numbers.\n2. Add the numbers.\n3. Add the numbers.\n'],
    ['repetition', `First we look at the list. ${'and then and then '.repeat(20)}`],
    [
      'repetition',
      `${Array.from({ length: 30 }, (_, i) => `${i}+${i}=${2 * i}`).join(', ')} ${'so we go on with the next of them '.repeat(3)}`,
    ],
    ['repetition', 'Take the first one and add. Take the next one. '.repeat(4)],
    ['repetition', 'ha'.repeat(2000)],
    ['repetition', '1'.repeat(2000)],
    ['repetition', '0 '.repeat(200)],
    ['repetition', '把它们加起来。'.repeat(10)],
    ['unchanged', ' Add  them\nup. '],
    ['copied-prompt', 'What is 8 + 3 + 8 + 7 + 3 + 9?'],
    ['copied-prompt', '8 + 3 + 8 + 7 + 3 + 9'],
    [
      'copied-prompt',
      'Rewrite the reasoning so that it is more comprehensive. Use whichever of these help: reflection, decomposition into steps.',
    ],
    ['pasted-answer', '38'],
    ['pasted-answer', 'So the final answer is **38**.'],
  ])('%s: %j', (want, text) => expect(verdict(text)).toBe(want));

  it('truncated: a rationale cut by the limit of tokens', () => {
    expect(verdict('8+3=11, 11+8=19, 19+', {}, 'length')).toBe('truncated');
  });
  it('copied-prompt: the original rationale, where the incumbent is another one', () => {
    expect(verdict('Add them up.', { rationale: '8+3=11, 11+8=19.' })).toBe('copied-prompt');
  });
  it('pasted-answer: mostly the text of a long answer', () => {
    const answer = 'Rest well, drink water, and see a doctor if the fever stays above 39 degrees for three days.';
    expect(verdict(`Say: ${answer}`, { answer })).toBe('pasted-answer');
    expect(
      verdict('Fever: what helps by itself, and what is a sign of danger? Rest; a limit in days; a doctor.', {
        answer,
      }),
    ).toBeNull();
  });
});

describe('the order of guards', () => {
  it('is that of the contract: a candidate is reported by the first guard that it does not pass', () => {
    expect(verdict('...', {}, 'length')).toBe('empty');
    expect(verdict('Add the numbers. '.repeat(9), {}, 'length')).toBe('truncated');
    expect(verdict('go on and '.repeat(12), { rationale: 'go on and '.repeat(12) })).toBe('repetition');
    expect(verdict('Add them up.')).toBe('unchanged');
    expect(verdict('38', { instruction: '38' })).toBe('copied-prompt');
  });
});

it('the prompt is the one that the candidate was sampled from', () => {
  const candidate = { rationale: 'First 8 and 3, then 8 more, then the rest of them.', truncated: false };
  const held = { ...example, rationale: candidate.rationale.replace('First', 'At first') };
  expect(guardsFor({ templates, example: held, enrichFrom: 'original' })(candidate)).toBeNull();
  expect(guardsFor({ templates, example: held, enrichFrom: 'current' })(candidate)).toBe('copied-prompt');
});

it('an example without a first rationale is no reason for a guard', () => {
  const bare = { ...example, original: null, rationale: '' };
  const candidate = { rationale: '8+3=11, 11+8=19.', truncated: false };
  expect(guardsFor({ templates, example: bare, enrichFrom: 'original' })(candidate)).toBeNull();
});

it('any text has a verdict, a long degenerate one without searching it for minutes', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void verdict(text)));
  const started = performance.now();
  for (const unit of [' ', '\n', 'a', '. ', '0 ', '*', '"', '# ', 'a b c d. ', '= ', '\u0301'])
    verdict(unit.repeat(100_000 / unit.length));
  verdict(Array.from({ length: 20_000 }, (_, i) => `n${i % 997}`).join(' '));
  expect(performance.now() - started).toBeLessThan(10_000);
});
