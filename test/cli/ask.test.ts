/** What `srlm ask` asks the model, and how it votes. The model is a table of replies. */
import { describe, expect, it } from 'vitest';
import { answer } from '../../client/cli/ask.js';
import { PromptTemplates } from '../../contracts/spec.js';
import { type Completion, type SampleRequest, TOO_LONG } from '../../engines/client.js';

const templates = PromptTemplates.parse({ enrich: 'Enrich: {instruction} / {rationale}' });
const signal = new AbortController().signal;
const said = (text: string, finish: Completion['finish'] = 'stop'): Completion => ({
  text,
  finish,
  reason: null,
  tokens: 1,
  seed: 0,
});

/** Answers by `reply`, and remembers what it was asked. */
function model(reply: (request: SampleRequest) => Completion[]) {
  const asked: SampleRequest[] = [];
  const sample = async (request: SampleRequest) => {
    asked.push(request);
    return reply(request);
  };
  return { sample, asked };
}

describe('ask', () => {
  it('gives one greedy reply', async () => {
    const { sample, asked } = model(() => [said('Two and two.\nAnswer: 4')]);
    const { replies, votes } = await answer({ sample }, templates, 'What is 2 + 2?', { maxTokens: 99 }, signal);
    expect(replies).toEqual([{ rationale: 'Two and two.', answer: '4', cut: false }]);
    expect(votes).toEqual([{ answer: '4', count: 1, first: 0 }]);
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatchObject({
      messages: [{ role: 'user', content: 'What is 2 + 2?' }],
      ...{ n: 1, temperature: 0, maxTokens: 99, stop: [] },
    });
  });

  it('samples at 0.7 and takes the answer that most replies give', async () => {
    const { sample, asked } = model(() => [
      said('a\nAnswer: 5'),
      said('b\nAnswer: 4.'),
      said('no answer'),
      said('c\nAnswer: 4'),
    ]);
    const { replies, votes } = await answer({ sample }, templates, 'q', { samples: 4, maxTokens: 9 }, signal);
    expect(asked[0]).toMatchObject({ n: 4, temperature: 0.7 });
    expect(votes).toEqual([
      { answer: '4.', count: 2, first: 1 },
      { answer: '5', count: 1, first: 0 },
    ]);
    expect(replies[votes[0]!.first]!.rationale).toBe('b');
  });

  it('enriches the rationale of the greedy reply, greedily, and answers after it', async () => {
    const { sample, asked } = model(({ continueReply, requestId }) => {
      if (continueReply) return [said(' 4')];
      return requestId === 'ask' ? [said('Short.\nAnswer: 5')] : [said('Rationale: Two twos. ')];
    });
    const settings = { enrich: 1, maxTokens: 9 };
    const { replies } = await answer({ sample }, templates, 'What is 2 + 2?', settings, signal);
    expect(asked).toMatchObject([
      { n: 1, temperature: 0 },
      {
        messages: [{ role: 'user', content: 'Enrich: What is 2 + 2? / Short.' }],
        ...{ n: 1, temperature: 0, stop: ['Answer:'] },
      },
      {
        messages: [
          { role: 'user', content: 'What is 2 + 2?' },
          { role: 'assistant', content: 'Two twos.\nAnswer:' },
        ],
        ...{ n: 1, temperature: 0, continueReply: true },
      },
    ]);
    expect(replies).toEqual([{ rationale: 'Two twos.', answer: '4', cut: false }]);
  });

  it('enriches each of several sampled rationales as often as asked, each time the one before, and lets the answers vote', async () => {
    const { sample, asked } = model(({ messages, continueReply, requestId }) => {
      if (continueReply) return [said(messages[1]!.content.startsWith('Longer Longer A') ? ' 5' : ' 4')];
      if (requestId === 'ask') return ['A', 'B', 'B'].map((text) => said(`${text}\nAnswer: 9`));
      return [said(`Longer ${messages[0]!.content.split(' / ')[1]}`)];
    });
    const settings = { samples: 3, enrich: 2, maxTokens: 9 };
    const { replies, votes } = await answer({ sample }, templates, 'q', settings, signal);
    expect(asked[0]).toMatchObject({ n: 3, temperature: 0.7 });
    const enriching = asked.filter(({ requestId }) => requestId.startsWith('ask:enrich'));
    expect(enriching.map(({ n, temperature }) => [n, temperature])).toEqual(Array(6).fill([1, 0.7]));
    // Equal rationales are not enriched alike.
    expect(new Set(enriching.map(({ seed }) => seed)).size).toBe(6);
    expect(replies.map(({ rationale }) => rationale)).toEqual(['A', 'B', 'B'].map((text) => `Longer Longer ${text}`));
    expect(votes.map(({ answer: given, count }) => [given, count])).toEqual([
      ['4', 2],
      ['5', 1],
    ]);
    expect(new Set(asked.map(({ requestId }) => requestId)).size).toBe(asked.length);
  });

  it('counts a reply as cut if the rationale that it begins with was', async () => {
    const { sample } = model(({ continueReply, requestId }) => {
      if (continueReply) return [said(' 4')];
      if (requestId === 'ask') return [said('Short.\nAnswer: 5'), said('Short.\nAnswer: 5')];
      return [requestId.endsWith(':0') ? said('Two and two are', 'length') : said('Pairs.')];
    });
    const { replies } = await answer({ sample }, templates, 'q', { samples: 2, enrich: 1, maxTokens: 9 }, signal);
    expect(replies.map(({ cut }) => cut)).toEqual([true, false]);
  });

  it('keeps a reply of which nothing was enriched', async () => {
    const { sample } = model(({ requestId }) => [said(requestId === 'ask' ? 'Short.\nAnswer: 5' : ' ')]);
    const { replies } = await answer({ sample }, templates, 'q', { enrich: 2, maxTokens: 9 }, signal);
    expect(replies).toEqual([{ rationale: 'Short.', answer: '5', cut: false }]);
  });

  it('refuses a question that is longer than the context', async () => {
    const { sample } = model(() => [{ ...said('', 'refused'), reason: TOO_LONG }]);
    await expect(answer({ sample }, templates, 'q', { maxTokens: 9 }, signal)).rejects.toThrow(
      "The question is longer than the model's context. Shorten it. [question.too-long]",
    );
  });
});
