/** ChatClient against a real server on the loopback interface. */
import pLimit from 'p-limit';
import { afterEach, describe, expect, it } from 'vitest';
import { ChatClient, type ClientOptions, type RequestCost, type SampleRequest } from '../../engines/client.js';
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
    seeds: false,
    topK: false,
    retry: { retries: 4, timeoutMs: 500 },
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
    const [seeded] = await clientOf(url, { seeds: true, topK: true }).sample(request(), never);
    expect([plain!.seed, seeded!.seed]).toEqual([null, 5]);
    expect(bodies.map(({ seed, top_k }) => ({ seed, top_k }))).toEqual([{}, { seed: 5, top_k: 3 }]);
  });

  it('refuses a server that ignores n, because every try is billed', async () => {
    const { url, bodies } = await replying(YES);
    await expect(clientOf(url).sample(request({ n: 2 }), never)).rejects.toThrow(
      'Engine "stub" refused the request (200: it returned 1 choice for n=2). Fix the cause, then `srlm retry`. [engine.refused]',
    );
    expect(bodies).toHaveLength(1);
  });

  it('names the engine whose reply is too large', async () => {
    const { url } = await replying(' '.repeat(65 * 2 ** 20));
    await expect(clientOf(url).sample(request(), never)).rejects.toThrow(
      'Engine "stub" refused the request (200: its reply is larger than 64 MiB). Fix the cause, then `srlm retry`. [engine.refused]',
    );
  });

  it('returns no completions of a prompt that is longer than the context', async () => {
    const error = { error: { message: 'too long', code: 'context_length_exceeded' } };
    const { url } = await replying(JSON.stringify(error), 400);
    expect(await clientOf(url).sample(request(), never)).toEqual([]);
  });

  it('counts GPU seconds only of servers whose header for them is known', async () => {
    const { url } = await replying(YES);
    const cost = (): RequestCost => ({ promptTokens: 0, completionTokens: 0, gpuSeconds: 0 });
    const [hosted, local] = [cost(), cost()];
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
