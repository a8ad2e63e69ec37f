/** ChatClient against a real server on the loopback interface. */
import pLimit from 'p-limit';
import { afterEach, describe, expect, it } from 'vitest';
import { ChatClient, type ClientOptions, noCost, PLAIN, type SampleRequest, TOO_LONG } from '../../engines/client.js';
import { Dialect } from '../../engines/dialect.js';
import { baseUrlOf, closeServers, serve } from './serve.js';

afterEach(closeServers);

const never = new AbortController().signal;
const YES = JSON.stringify({ choices: [{ message: { content: 'yes' }, finish_reason: 'stop' }] });
const request = (more: Partial<SampleRequest> = {}): SampleRequest => ({
  messages: [{ role: 'user', content: 'Is it?' }],
  n: 1,
  seed: 5,
  temperature: 0,
  topP: 1,
  topK: 3,
  maxTokens: 8,
  stop: [],
  requestId: 'one',
  ...more,
});
const clientOf = (url: URL, more: Partial<ClientOptions> = {}) =>
  new ChatClient({
    name: 'stub',
    baseUrl: baseUrlOf(url),
    apiKey: 'none',
    model: 'm',
    limit: pLimit(1),
    dialect: new Dialect({ ...PLAIN, seed: false, topK: false }),
    retry: { retries: 4, timeoutMs: 500, pauseMs: 1 },
    ...more,
  });

/** A server that replies `text`, and the bodies of the requests it has had. */
async function replying(text: string, status = 200) {
  const bodies: Record<string, unknown>[] = [];
  const url = await serve(async (incoming, response) => {
    let body = '';
    for await (const part of incoming) body += part;
    bodies.push(JSON.parse(body));
    response.writeHead(status, { 'x-compute-seconds': '1.5' }).end(text);
  });
  return { url, bodies };
}

describe('ChatClient', () => {
  it('repeats a request to a server that accepted the connection and did not reply', async () => {
    let requests = 0;
    const url = await serve((_request, response) => {
      if (++requests > 1) response.end(YES);
    });
    const texts = await clientOf(url).sample(request(), never);
    expect(texts.map(({ text }) => text)).toEqual(['yes']);
    expect(requests).toBe(2);
  });

  it('sends a row whose id no header may hold', async () => {
    const ids: unknown[] = [];
    const url = await serve((incoming, response) => {
      ids.push(incoming.headers['x-request-id']);
      response.end(YES);
    });
    await clientOf(url).sample(request({ requestId: 'prompt:0:שלום\n🙂' }), never);
    expect(ids).toEqual(['prompt:0:???????']);
  });

  it('sends seed and top_k to servers that take them, and to no others', async () => {
    const { url, bodies } = await replying(YES);
    const [plain] = await clientOf(url).sample(request(), never);
    const [seeded] = await clientOf(url, { dialect: new Dialect(PLAIN) }).sample(request(), never);
    expect([plain!.seed, seeded!.seed]).toEqual([null, 5]);
    expect(bodies.map(({ seed, top_k }) => ({ seed, top_k }))).toEqual([{}, { seed: 5, top_k: 3 }]);
  });

  it('asks a server that ignores n once for each text, and from then on does not send n', async () => {
    const { url, bodies } = await replying(YES);
    const client = clientOf(url, { dialect: new Dialect(PLAIN) });
    const texts = await client.sample(request({ n: 3 }), never);
    expect(texts.map(({ text, seed }) => [text, seed])).toEqual([
      ['yes', 5],
      ['yes', 6],
      ['yes', 7],
    ]);
    await client.sample(request({ n: 2, seed: 20 }), never);
    expect(bodies.map(({ n, seed }) => [n, seed])).toEqual([
      [3, 5],
      [undefined, 6],
      [undefined, 7],
      [undefined, 20],
      [undefined, 21],
    ]);
  });

  it('names the engine whose reply is larger than what was asked for', async () => {
    const { url } = await replying(YES + ' '.repeat(2.5 * 2 ** 20));
    await expect(clientOf(url).sample(request(), never)).rejects.toThrow(
      'Engine "stub" refused the request (200: its reply is larger than 2 MiB). Fix the cause, then `srlm retry`. [engine.refused]',
    );
    expect(await clientOf(url).sample(request({ maxTokens: 32768 }), never)).toHaveLength(1);
  });

  it('gives up a reply of which a little comes now and then', async () => {
    const url = await serve((_request, response) => {
      const drip = setInterval(() => response.write(' '), 20);
      response.once('close', () => clearInterval(drip));
    });
    const retry = { retries: 0, timeoutMs: 200 };
    await expect(clientOf(url, { retry }).sample(request(), never)).rejects.toThrow(
      'Engine "stub" does not answer (its reply was not complete in time). It is tried again',
    );
  });

  it('keeps its key out of texts and errors, whatever the server repeats', async () => {
    const apiKey = 'sk-0123456789abcdef';
    const long = `${'x'.repeat(290)}${apiKey}`;
    const refused = await replying(JSON.stringify({ error: { message: `Bearer ${apiKey} is unknown` } }), 401);
    const cut = await replying(long, 400);
    const busy = await replying(long, 503);
    const echoed = await replying(JSON.stringify({ choices: [{ message: { content: `It is ${apiKey}.` } }] }));
    const ask = (url: URL) => clientOf(url, { apiKey, retry: { retries: 0, timeoutMs: 500 } }).sample(request(), never);
    await expect(ask(refused.url)).rejects.toThrow('Bearer [the key] is unknown');
    for (const { url } of [cut, busy]) await expect(ask(url)).rejects.not.toThrow('sk-');
    expect((await ask(echoed.url))[0]!.text).toBe('It is [the key].');
  });

  it('takes no half of a character, which no prompt and no training row could hold', async () => {
    const cut = await replying(JSON.stringify({ choices: [{ message: { content: 'cut \ud83d' } }] }));
    expect((await clientOf(cut.url).sample(request(), never))[0]!.text).toBe('cut \uFFFD');
  });

  it.each([
    ['more tokens than were asked for', { prompt_tokens: 9e15, completion_tokens: 9e15 }, [4132, 8]],
    ['no prompt tokens', { completion_tokens: 3 }, [9, 3]],
    ['nothing', undefined, [9, 1]],
    ['none', { prompt_tokens: 0, completion_tokens: 0 }, [1, 1]],
    ['less than none', { prompt_tokens: -5, completion_tokens: -5 }, [9, 1]],
    ['halves', { prompt_tokens: 2.5, completion_tokens: 1.5 }, [9, 1]],
    ['in words', { prompt_tokens: '7', completion_tokens: '7' }, [9, 1]],
    ['a number', 7, [9, 1]],
  ])('charges what can have been used where a server counts %s', async (_what, usage, [prompt, completion]) => {
    const { url } = await replying(JSON.stringify({ ...JSON.parse(YES), usage }));
    const cost = noCost();
    await clientOf(url).sample(request(), never, cost);
    const isReported =
      typeof usage === 'object' &&
      Object.values(usage).every((count) => Number.isInteger(count) && count >= 0) &&
      Object.keys(usage).length === 2;
    expect(cost).toEqual({ promptTokens: prompt, completionTokens: completion, gpuSeconds: 0, estimated: !isReported });
  });

  it('returns completions without text, and the reason, of a prompt that is longer than the context', async () => {
    const error = { error: { message: 'too long', code: 'context_length_exceeded' } };
    const { url, bodies } = await replying(JSON.stringify(error), 400);
    const none = { text: '', finish: 'refused', reason: TOO_LONG, tokens: null, seed: null };
    expect(await clientOf(url).sample(request({ n: 2 }), never)).toEqual([none, none]);
    expect(bodies).toHaveLength(1);
  });

  it('counts GPU seconds only of servers whose header for them is known', async () => {
    const { url } = await replying(YES);
    const [hosted, local] = [noCost(), noCost()];
    await clientOf(url).sample(request(), never, hosted);
    await clientOf(url, { secondsHeader: 'x-compute-seconds' }).sample(request(), never, local);
    expect([hosted.gpuSeconds, local.gpuSeconds]).toEqual([0, 1.5]);
  });

  it('has no log-probabilities of a prompt', async () => {
    const { url } = await replying(YES);
    const nothing = { messages: [], prefixes_K: [], suffix: '', requestId: 'one' };
    await expect(clientOf(url).logprobs(nothing, never)).rejects.toMatchObject({ type: 'engine.lacks' });
  });
});
