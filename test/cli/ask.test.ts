/** What `srlm ask` asks the model, and how it votes. The model is a table of replies. */
import { describe, expect, it } from 'vitest';
import { answer } from '../../client/cli/ask.js';
import { Prompts } from '../../contracts/spec.js';
import type { ChatRequest, Text } from '../../engine/client.js';
import { vote } from '../../method/vote.js';

const prompts = Prompts.parse({ enrich: 'Enrich: {instruction} / {rationale}' });
const signal = new AbortController().signal;
const said = (text: string, finish: Text['finish'] = 'stop'): Text => ({ text, finish, tokens: 1, seed: 0 });

/** Answers by `reply`, and remembers what it was asked. */
function model(reply: (request: ChatRequest) => Text[]) {
  const asked: ChatRequest[] = [];
  const chat = async (request: ChatRequest) => {
    asked.push(request);
    return reply(request);
  };
  return { chat, asked };
}

describe('ask', () => {
  it('gives one greedy reply', async () => {
    const { chat, asked } = model(() => [said('Two and two.\nAnswer: 4')]);
    const { replies, votes } = await answer({ chat }, prompts, 'What is 2 + 2?', { maxTokens: 99 }, signal);
    expect(replies).toEqual([{ rationale: 'Two and two.', answer: '4', cut: false }]);
    expect(votes).toEqual([{ answer: '4', count: 1, first: 0 }]);
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatchObject({
      messages: [{ role: 'user', content: 'What is 2 + 2?' }],
      ...{ n: 1, temperature: 0, maxTokens: 99, stop: [] },
    });
  });

  it('samples at 0.7 and takes the answer that most replies give', async () => {
    const { chat, asked } = model(() => [
      said('a\nAnswer: 5'),
      said('b\nAnswer: 4.'),
      said('no answer'),
      said('c\nAnswer: 4'),
    ]);
    const { replies, votes } = await answer({ chat }, prompts, 'q', { samples: 4, maxTokens: 9 }, signal);
    expect(asked[0]).toMatchObject({ n: 4, temperature: 0.7 });
    expect(votes).toEqual([
      { answer: '4.', count: 2, first: 1 },
      { answer: '5', count: 1, first: 0 },
    ]);
    expect(replies[votes[0]!.first]!.rationale).toBe('b');
  });

  it('enriches the greedy rationale, answers after each, and votes', async () => {
    const { chat, asked } = model(({ messages, continueReply, n }) => {
      if (continueReply) return [said(messages[1]!.content.startsWith('Wrong') ? ' 5' : ' 4')];
      return n === 1
        ? [said('Short.\nAnswer: 5')]
        : [said('Wrong turn.'), said('Rationale: Two twos. '), said(''), said('Pairs.')];
    });
    const { replies, votes } = await answer({ chat }, prompts, 'What is 2 + 2?', { enrich: 4, maxTokens: 9 }, signal);
    expect(asked[1]).toMatchObject({
      messages: [{ role: 'user', content: 'Enrich: What is 2 + 2? / Short.' }],
      ...{ n: 4, temperature: 0.7, stop: ['Answer:'] },
    });
    expect(asked[3]).toMatchObject({
      messages: [
        { role: 'user', content: 'What is 2 + 2?' },
        { role: 'assistant', content: 'Two twos.\nAnswer:' },
      ],
      ...{ n: 1, temperature: 0, continueReply: true },
    });
    // One candidate was empty: it gets no answer and no vote.
    expect(replies).toEqual([
      { rationale: 'Wrong turn.', answer: '5', cut: false },
      { rationale: 'Two twos.', answer: '4', cut: false },
      { rationale: 'Pairs.', answer: '4', cut: false },
    ]);
    expect(votes[0]).toEqual({ answer: '4', count: 2, first: 1 });
  });

  it('falls back on the greedy reply when nothing was enriched', async () => {
    const { chat } = model(({ n }) => (n === 1 ? [said('Short.\nAnswer: 5')] : [said(''), said(' ')]));
    const { replies } = await answer({ chat }, prompts, 'q', { enrich: 2, maxTokens: 9 }, signal);
    expect(replies).toEqual([{ rationale: 'Short.', answer: '5', cut: false }]);
  });

  it('refuses a question that is longer than the context', async () => {
    const { chat } = model(() => []);
    await expect(answer({ chat }, prompts, 'q', { maxTokens: 9 }, signal)).rejects.toThrow(
      "The question is longer than the model's context. Shorten it. [question.too-long]",
    );
  });
});

describe('vote', () => {
  it('a tie goes to the answer seen first', () => {
    expect(vote(['b', 'a', 'a', 'b'])[0]).toEqual({ answer: 'b', count: 2, first: 0 });
  });

  it('answers that differ in spelling only are one', () => {
    expect(vote(['$1,000.00', '1000', ' Paris. ', 'paris', '"Paris"', '-0', '0', '.5', '0.50'])).toEqual([
      { answer: 'Paris.', count: 3, first: 2 },
      { answer: '$1,000.00', count: 2, first: 0 },
      { answer: '-0', count: 2, first: 5 },
      { answer: '.5', count: 2, first: 7 },
    ]);
  });

  it('numbers are compared by their digits, however long', () => {
    expect(vote(['90071992547409931', '90071992547409930'])).toHaveLength(2);
  });

  it('no answer has no vote', () => {
    expect(vote([null, '', ' . ', null])).toEqual([]);
  });
});
