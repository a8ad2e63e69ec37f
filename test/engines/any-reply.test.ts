/** Whatever JSON a server replies: as many completions as were asked for, each with a text or a reason, or one Problem. */
import fc from 'fast-check';
import pLimit from 'p-limit';
import { expect, it } from 'vitest';
import { Problem } from '../../contracts/errors.js';
import { MAX_REASON_CHARS } from '../../contracts/rows.js';
import { ChatClient, PLAIN, type SampleRequest, type Send } from '../../engines/client.js';
import { Dialect } from '../../engines/dialect.js';

const KEY = 'sk-0123456789abcdef';
const MAX_REQUESTS = 30;

/** Any JSON in the places where a reply has something, and the words that mean something there. */
const words = fc.constantFrom('stop', 'length', 'content_filter', 'tool_calls', 'text', 'thinking', 'refusal', KEY);
const anything = fc.oneof(fc.jsonValue({ maxDepth: 2 }), words);
const fields = (names: string[]) => fc.dictionary(fc.constantFrom(...names), anything, { maxKeys: 4 });
const message = fields(['content', 'refusal', 'reasoning', 'reasoning_content', 'tool_calls']);
const choice = fc.record({ message, finish_reason: anything }, { requiredKeys: [] });
const error = fields(['message', 'code', 'type', 'param', 'innererror', 'metadata', 'detail', 'status']);
const reply = fc.oneof(
  fc.record({ choices: fc.array(choice, { maxLength: 3 }), usage: anything }, { requiredKeys: ['choices'] }),
  fc.record({ error: fc.oneof(error, anything) }),
  fc.record({ detail: fc.oneof(fc.array(error), anything) }),
  anything,
);
const status = fc.constantFrom(200, 200, 200, 400, 401, 403, 404, 413, 422, 429, 500, 503);
const request: SampleRequest = {
  messages: [{ role: 'user', content: 'Is it?' }],
  ...{ n: 2, seed: 5, temperature: 0.7, topP: 1, topK: 3, maxTokens: 64, stop: [], requestId: 'one' },
};

it('is an outcome or a Problem, without the key', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(status, reply), { minLength: 1, maxLength: 4 }), async (replies) => {
      let requests = 0;
      const send: Send = async () => {
        const [code, body] = replies[requests++ % replies.length]!;
        return { status: code, headers: {}, body: Buffer.from(JSON.stringify(body) ?? '') };
      };
      const client = new ChatClient({
        ...{ name: 'stub', baseUrl: 'http://there', apiKey: KEY, model: 'm', limit: pLimit(1), send },
        ...{ dialect: new Dialect(PLAIN), retry: { retries: 4, timeoutMs: 0, pauseMs: 0 } },
      });
      const found = await client.sample(request, new AbortController().signal).catch((error) => error);
      expect(requests).toBeLessThanOrEqual(MAX_REQUESTS);
      if (found instanceof Problem) {
        expect(found.message).not.toContain(KEY);
        expect(found.message.length).toBeLessThan(1000);
        return;
      }
      expect(found).toHaveLength(request.n);
      for (const { text, reason } of found) {
        expect(text.trim() === '' && reason === null).toBe(false);
        expect(JSON.stringify([text, reason])).not.toContain(KEY);
        expect((reason ?? '').length).toBeLessThanOrEqual(MAX_REASON_CHARS);
      }
    }),
    { numRuns: 300 },
  );
});
