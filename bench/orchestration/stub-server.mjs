/**
 * A stand-in for an OpenAI server: chat completions with n choices, after a fixed latency.
 *   node bench/orchestration/stub-server.mjs [--latency-ms 20]
 * Prints its port. A choice's text depends only on the request's seed, its last message and the choice's index, so that
 * two clients with the same work can be compared byte for byte.
 * GET /count returns {requests, seconds} since the last such request: from the first request to the last answer.
 */
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { 'latency-ms': { type: 'string', default: '20' } } });
const latencyMs = Number(values['latency-ms']);
let requests = 0;
let firstAt = 0;
let lastAt = 0;

const server = createServer((request, response) => {
  if (request.url === '/count') {
    response.end(JSON.stringify({ requests, seconds: (lastAt - firstAt) / 1000 }));
    requests = 0;
    return;
  }
  if (requests++ === 0) firstAt = performance.now();
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const reply = JSON.stringify(answer(JSON.parse(Buffer.concat(parts).toString('utf8'))));
    setTimeout(() => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(reply) });
      response.end(reply);
      lastAt = performance.now();
    }, latencyMs);
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`));

/** About 60 tokens a choice. */
function answer({ model, messages, n = 1, seed = 0 }) {
  const asked = messages.at(-1).content.slice(0, 40);
  const choices = Array.from({ length: n }, (_, index) => ({
    index,
    message: {
      role: 'assistant',
      content: `${asked} (${seed}, ${index}) ${'so that one follows the other. '.repeat(8)}`,
    },
    finish_reason: 'stop',
    logprobs: null,
  }));
  const usage = { prompt_tokens: 20, completion_tokens: 60 * n, total_tokens: 20 + 60 * n };
  return { id: `chatcmpl-${seed}`, object: 'chat.completion', created: 0, model, choices, usage };
}
