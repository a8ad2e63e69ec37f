import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Catalyst, Example } from '../../contracts/rows.js';
import { PromptTemplates } from '../../contracts/spec.js';
import { evaluateMessages } from '../../method/graders/index.js';
import { answerRow, catalystRow } from '../../method/mixture.js';
import {
  answerMark,
  answerMessages,
  answerSuffix,
  enrichPrompt,
  fill,
  rationalizePrompt,
  reply,
  replyPrefix,
  sampleMessages,
} from '../../method/prompts.js';

const templates = PromptTemplates.parse({});
const withReply = (reply: string) => PromptTemplates.parse({ reply });
const example: Example = {
  id: 'e1',
  instruction: 'What is 2 + 3?',
  original: 'Add them up.',
  rationale: '2+3=5.',
  answer: '5',
  origin: null,
  turns: null,
};
const anyText = fc.string({ unit: 'binary' });
const replies = [
  '{rationale}\nAnswer: {answer}',
  '{rationale} Answer: {answer}',
  '{rationale}{answer}',
  '<think>\n{rationale}\n</think>\n{answer}',
  '{rationale}\n{answer} or\n {answer}',
];

const user = (content: string) => ({ role: 'user', content }) as const;
const system = (content: string) => ({ role: 'system', content }) as const;
const asks = (instruction: string) => ({ instruction, turns: null });

describe('prompts', () => {
  it('a value is never filled again', () => {
    expect(fill('{a} {b} {c} {}', { a: '{b}', b: '$& {a}' })).toBe('{b} $& {a} {c} {}');
  });
  it('a name of Object.prototype is no value', () => expect(fill('{constructor}', {})).toBe('{constructor}'));

  it('prefix and suffix are the whole reply, and the white space belongs to the answer', () =>
    fc.assert(
      fc.property(fc.constantFrom(...replies), anyText, anyText, (template, rationale, answer) => {
        const own = withReply(template);
        const prefix = replyPrefix(own, rationale);
        expect(prefix + answerSuffix(own, answer)).toBe(reply(own, rationale, answer));
        expect(prefix).toBe(prefix.trim());
      }),
    ));
  it('the reply is the template filled', () => {
    expect(reply(templates, '2+3=5.', '5')).toBe('2+3=5.\nAnswer: 5');
    expect(replyPrefix(templates, '2+3=5.')).toBe('2+3=5.\nAnswer:');
    expect(answerSuffix(templates, '5')).toBe(' 5');
  });
  it('a missing rationale leaves no gap', () => expect(reply(templates, '', '5')).toBe('Answer: 5'));

  it.each([
    [replies[0]!, 'Answer:'],
    [replies[2]!, null],
    [replies[3]!, '</think>'],
  ])('the answer mark of %j is %j', (template, mark) => expect(answerMark(withReply(template))).toBe(mark));

  it('enriches the original or the current rationale, and never shows the answer', () => {
    const own = PromptTemplates.parse({ enrich: '{instruction}|{rationale}' });
    expect(enrichPrompt(own, example, 'original')).toBe('What is 2 + 3?|Add them up.');
    expect(enrichPrompt(own, example, 'current')).toBe('What is 2 + 3?|2+3=5.');
    const secret = { ...example, answer: 'SECRET' };
    expect(enrichPrompt(templates, secret, 'original')).not.toContain('SECRET');
  });
  it('rationalizes from question and answer', () => {
    const own = PromptTemplates.parse({ rationalize: '{instruction}|{answer}' });
    expect(rationalizePrompt(own, example)).toBe('What is 2 + 3?|5');
  });
  it('enriches nothing where there is no first rationale', () => {
    const own = PromptTemplates.parse({ enrich: '{instruction}|{rationale}' });
    expect(enrichPrompt(own, { ...example, original: null, rationale: '' }, 'original')).toBe('What is 2 + 3?|');
  });
  it('a sample run asks by its own template, or the instruction alone', () => {
    expect(sampleMessages('Now: {instruction}', null, asks('{x}'))).toEqual([user('Now: {x}')]);
    expect(sampleMessages(null, 'Be short.', asks('{x}'))).toEqual([system('Be short.'), user('{x}')]);
  });
  it('evaluates with the answer template, applied once, and lists choices one per line', () => {
    const own = PromptTemplates.parse({ answer: 'Q: {instruction}' });
    expect(answerMessages(own, asks('Why?'))).toEqual([user('Q: Why?')]);
    const question = { id: 'q', question: 'Which?', turns: null, choices: ['{x}', 'y'], answer: 'B' };
    expect(evaluateMessages(own, question)).toEqual([user('Q: Which?\nA. {x}\nB. y')]);
    expect(evaluateMessages(own, { ...question, question: 'Why?', choices: null })).toEqual([user('Q: Why?')]);
  });
  it('applies the template to the last turn of a conversation, and leaves the turns before it as they are', () => {
    const own = PromptTemplates.parse({ answer: 'Q: {instruction}' });
    const before = [system('Be kind.'), user('Hello'), { role: 'assistant', content: 'Hi.' } as const];
    const turns = [...before, user('Which?')];
    const asked = { instruction: 'all of it', turns };
    expect(answerMessages(own, asked)).toEqual([...before, user('Q: Which?')]);
    const [trained] = [answerRow({ ...example, ...asked, rationale: 'So.', answer: '5' }, own)];
    expect(trained.messages.slice(0, -1)).toEqual([...before, user('Q: Which?')]);
    const question = { id: 'q', question: 'all of it', turns, choices: ['x', 'y'], answer: 'B' };
    expect(evaluateMessages(own, question)).toEqual([...before, user('Q: Which?\nA. x\nB. y')]);
    const [first, ...rest] = before;
    expect(sampleMessages(null, 'Be short.', asked)).toEqual([
      system(`Be short.\n\n${first!.content}`),
      ...rest,
      user('Which?'),
    ]);
  });
});

describe('what a model is trained with is what it meets later', () => {
  const own = fc.record({
    // Whole characters: a cut one is no template.
    answer: anyText.map((text) => `${[...text].slice(0, 3).join('')}{instruction}`),
    enrich: fc.constantFrom('{instruction}|{rationale}', '{rationale} {instruction} {other}'),
    reply: fc.constantFrom(...replies),
  });
  const texts = fc.record({ instruction: anyText, original: anyText, rationale: anyText, answer: anyText });

  it('in evaluation: the same text gets the same user turn, and so when the answer is scored', () =>
    fc.assert(
      fc.property(own, texts, (parts, text) => {
        const all = PromptTemplates.parse(parts);
        const [user, assistant] = answerRow({ ...example, ...text }, all).messages;
        const question = { id: 'q', question: text.instruction, turns: null, choices: null, answer: text.answer };
        expect(evaluateMessages(all, question)).toEqual([user]);
        expect(answerMessages(all, asks(text.instruction))).toEqual([user]);
        expect(replyPrefix(all, text.rationale) + answerSuffix(all, text.answer)).toBe(assistant!.content);
      }),
    ));

  it('when a rationale is enriched: a catalyst is trained with the prompt of an example with the same texts', () =>
    fc.assert(
      fc.property(own, texts, (parts, text) => {
        const all = PromptTemplates.parse(parts);
        const { instruction, original, rationale } = text;
        const trained = (short: string) =>
          catalystRow(
            { id: 'c', instruction, rationale: short, enriched: 'long', skills: [], answer: null },
            all,
            'enrich',
          ).messages[0]!.content;
        expect(enrichPrompt(all, { ...example, ...text }, 'original')).toBe(trained(original));
        expect(enrichPrompt(all, { ...example, ...text }, 'current')).toBe(trained(rationale));
      }),
    ));
});

describe('mixture', () => {
  it('an example is trained as prompt and reply', () => {
    expect(answerRow(example, templates)).toEqual({
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
    const own = PromptTemplates.parse({ enrich: '{instruction}|{rationale}' });
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
    expect(catalystRow({ ...catalyst, answer: '5' }, templates, 'answer')).toMatchObject({
      messages: [{ content: 'Q' }, { content: 'long\nAnswer: 5' }],
      source: 'catalyst-answer',
    });
    expect(() => catalystRow(catalyst, templates, 'answer')).toThrow(
      'catalysts: catalyst "c1" has no answer, which use: answer needs. [data.unusable]',
    );
  });
});
