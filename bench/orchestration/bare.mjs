/**
 * The yardstick: the `openai` client, p-limit, and rows appended to a JSONL file. Nothing is durable: a crash loses
 * everything. run.mjs starts it with fork; each message {baseUrl, prompts, sampling, concurrency, out} is one run, and is
 * answered with {seconds}. The rows are those of the product (contracts/rows.ts, Candidate).
 */
import { createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import OpenAI from 'openai';
import pLimit from 'p-limit';

process.on('message', async ({ baseUrl, prompts, sampling, concurrency, out }) => {
  const startedAt = performance.now();
  const openai = new OpenAI({ baseURL: baseUrl, apiKey: 'none' });
  const limit = pLimit(concurrency);
  const file = createWriteStream(out);
  const sample = async ({ id, instruction, seed }) => {
    const { choices } = await openai.chat.completions.create({
      model: 'stub',
      messages: [{ role: 'user', content: instruction }],
      n: sampling.k,
      temperature: sampling.temperature,
      top_p: sampling.topP,
      max_tokens: sampling.maxTokens,
      seed,
    });
    for (const [k, { message, finish_reason: finish }] of choices.entries()) {
      file.write(
        `${JSON.stringify({ id, k, text: message.content, finish, reason: null, tokens: null, seed: seed + k })}\n`,
      );
    }
  };
  await Promise.all(prompts.map((prompt) => limit(sample, prompt)));
  file.end();
  await finished(file);
  process.send({ seconds: (performance.now() - startedAt) / 1000 });
});
