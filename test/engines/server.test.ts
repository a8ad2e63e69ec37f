/**
 * The supervisor of the model server with real servers: they outlive their worker, and none of them is in the way of the
 * next. Also the client of that server.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pLimit from 'p-limit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BuiltinEngine, Deployment, EngineConfig } from '../../contracts/deployment.js';
import { BuiltinClient } from '../../engines/builtin/client.js';
import { ModelServer } from '../../engines/builtin/server.js';
import { EngineHost } from '../../engines/index.js';
import { commandLine, isRunning } from '../../processes/detached.js';
import { pythonProgram } from '../../processes/python.js';
import { folderDigest } from '../../storage/model-folder.js';
import { python, tinyModel } from '../support/python.js';

const folder = mkdtempSync(join(tmpdir(), 'srlm-test-server-'));
const models = tinyModel();
const config = EngineConfig.parse({ kind: 'builtin', device: 'cpu', threads: 1 }) as BuiltinEngine;
const never = new AbortController().signal;
const supervisor = () =>
  new ModelServer({
    name: 'local',
    engine: config,
    deterministic: false,
    folder,
    python: () => python,
    modelRoots: [folder, models],
    stallMinutes: 15,
  });
const serverFile = join(folder, 'server.json');
const pidOf = (file: string): number => JSON.parse(readFileSync(file, 'utf8')).pid;

afterAll(async () => {
  await supervisor().stop();
  rmSync(folder, { recursive: true, force: true });
});

describe('a model server', () => {
  it('is found again by the next worker', async () => {
    const first = await supervisor().ensure();
    const pid = pidOf(serverFile);
    expect(await supervisor().ensure()).toEqual(first);
    expect(pidOf(serverFile)).toBe(pid);
    expect(Number(readFileSync(join(folder, 'lock'), 'utf8'))).toBe(pid);
  }, 60_000);

  it('loads a model by its digest, samples from it and scores texts with it', async () => {
    const server = supervisor();
    const address = await server.ensure();
    const sha256 = await folderDigest(join(models, 'tiny'));
    await server.load(join(models, 'tiny'), sha256);
    const client = new BuiltinClient('local', address, sha256, pLimit(4));
    const messages = [{ role: 'user' as const, content: 'What is 2 + 3?' }];
    const drawn = { messages, seed: 1, temperature: 1, topP: 1, topK: 0, maxTokens: 8, stop: [], requestId: 'one' };
    const cost = { promptTokens: 0, completionTokens: 0, gpuSeconds: 0, estimated: false };
    const samples = await client.sample({ ...drawn, n: 2 }, never, cost);
    expect(samples.map(({ seed }) => seed)).toEqual([1, 2]);
    expect(cost.completionTokens).toBe(samples.reduce((sum, { tokens }) => sum + tokens!, 0));
    expect(cost.gpuSeconds).toBeGreaterThan(0);

    // The tokenizer of this model has a token a byte.
    const prefixes_K = ['Two and three.', 'Guess.', 'x'.repeat(5000)];
    const asked = { messages, prefixes_K, suffix: 'Answer: 5', requestId: 'one' };
    const scored = await client.logprobs(asked, never, cost);
    expect(scored.nats_KT.map((nats_T) => nats_T?.length ?? null)).toEqual([9, 9, null]);
    expect(scored.nats_KT.flatMap((nats_T) => nats_T ?? []).every((value) => value < 0)).toBe(true);
    await expect(
      new BuiltinClient('local', address, 'f'.repeat(64), pLimit(4)).sample({ ...drawn, n: 1 }, never),
    ).rejects.toMatchObject({ type: 'engine.wrong-weights', retry: true });
  }, 60_000);

  describe('of which other tools ask', () => {
    interface Columns {
      tokens: string[];
      token_logprobs: (number | null)[];
      text_offset: number[];
      top_logprobs: (Record<string, number> | null)[];
    }
    interface Ranked {
      logprob: number;
      top_logprobs: { logprob: number }[];
    }
    interface Choice {
      index: number;
      text: string;
      finish_reason: string;
      logprobs: Columns;
      prompt_logprobs: (Record<string, { logprob: number; rank: number; decoded_token: string }> | null)[];
    }
    interface Reply {
      choices: Choice[];
      tokens: number[];
      usage: { completion_tokens: number };
    }
    let model = '';
    let address = { baseUrl: '', token: '' };
    const post = async (path: string, body: object) => {
      const sent = { method: 'POST', headers: { authorization: `Bearer ${address.token}` } };
      const reply = await fetch(address.baseUrl + path, { ...sent, body: JSON.stringify({ model, ...body }) });
      return { status: reply.status, body: (await reply.json()) as Reply };
    };
    const choices = async (body: object): Promise<Choice[]> => (await post('/v1/completions', body)).body.choices;
    /** Each byte is a token of this model, after three special ones. */
    const idsOf = async (prompt: string): Promise<number[]> =>
      (await post('/tokenize', { prompt, add_special_tokens: false })).body.tokens;
    // The request of lm-eval for likelihoods.
    const echo = { echo: true, logprobs: 1, max_tokens: 1, temperature: 0, seed: 1234 };

    beforeAll(async () => {
      const server = supervisor();
      address = await server.ensure();
      const path = join(models, 'tiny');
      const sha256 = await folderDigest(path);
      await server.load(path, sha256);
      model = `srlm-${sha256}`;
    }, 60_000);

    it('echoes the log-probabilities of prompts, which are those that it scores with, and of the token that follows', async () => {
      const ids = await idsOf('Two and three.');
      const [choice, other] = await choices({ ...echo, prompt: [ids, ids.slice(0, 1)] });
      const { tokens, token_logprobs, text_offset, top_logprobs } = choice!.logprobs;
      expect(tokens.slice(0, -1).join('')).toBe('Two and three.');
      expect(choice!.text.startsWith('Two and three.')).toBe(true);
      expect(text_offset.slice(0, -1)).toEqual(ids.map((_, at) => at));
      expect([token_logprobs[0], top_logprobs[0]]).toEqual([null, null]);
      const best = (at: number) => Math.max(...Object.values(top_logprobs[at]!));
      for (let at = 1; at < tokens.length; at++) {
        expect(top_logprobs[at]![tokens[at]!]).toBe(token_logprobs[at]);
        expect(best(at)).toBeGreaterThanOrEqual(token_logprobs[at]!);
      }
      // What follows is the most likely token.
      expect(token_logprobs.at(-1)).toBe(best(tokens.length - 1));
      expect(other!.logprobs.token_logprobs).toHaveLength(2);
      const from = { prompt: [ids], logprobs_from: [1], echo: true, logprobs: 1, max_tokens: 0 };
      const own = (await choices(from))[0]!.logprobs.token_logprobs;
      for (const [at, value] of own.entries()) expect(token_logprobs[at] ?? 0).toBeCloseTo(value ?? 0, 4);
    });

    it('takes prompts as a text, token ids, or a list of either, with as many replies as asked for', async () => {
      const ids = await idsOf('Two');
      const greedy = { max_tokens: 3, temperature: 0 };
      const texts = async (prompt: unknown, more = {}) =>
        (await choices({ prompt, ...greedy, ...more })).map(({ index, text }) => [index, text]);
      const [[, reply]] = (await texts('Two')) as [[number, string]];
      expect(await texts(ids)).toEqual([[0, reply]]);
      expect(await texts(['Two', ids], { n: 2 })).toEqual([0, 1, 2, 3].map((index) => [index, reply]));
      expect(await texts(ids, { echo: true })).toEqual([[0, `Two${reply}`]]);
      expect(await texts('Two', { echo: true, max_tokens: 0 })).toEqual([[0, 'Two']]);
      const drawn = await texts([ids, ids], { temperature: 1, max_tokens: 16, seed: 7 });
      expect(drawn[0]![1]).not.toBe(drawn[1]![1]);
    });

    it("reports a prompt's tokens with their ranks, the token itself before the most likely ones", async () => {
      const ids = await idsOf('Two');
      const [choice] = await choices({ prompt: ids, prompt_logprobs: 2, max_tokens: 1, temperature: 0 });
      const found = choice!.prompt_logprobs;
      expect(found[0]).toBeNull();
      for (const [at, entry] of found.slice(1).entries()) {
        const own = entry![ids[at + 1]!]!.rank;
        const ranks = Object.values(entry!).map(({ rank }) => rank);
        expect(ranks.sort((a, b) => a - b)).toEqual([...new Set([1, 2, own])]);
      }
      expect(found.slice(1).map((entry, at) => entry![ids[at + 1]!]!.decoded_token)).toEqual(['w', 'o']);
      expect(choice!.logprobs).toBeNull();
    });

    it('reports the tokens of a reply, drawn or not, by their probability before temperature and top-k', async () => {
      const asked = {
        messages: [{ role: 'user', content: [{ type: 'text', text: 'Two' }] }],
        max_completion_tokens: 4,
      };
      const { body } = await post('/v1/chat/completions', { ...asked, logprobs: true, top_logprobs: 2, top_k: 1 });
      const { content } = body.choices[0]!.logprobs as unknown as { content: Ranked[] };
      expect(content).toHaveLength(body.usage.completion_tokens);
      for (const { logprob, top_logprobs } of content) {
        expect(top_logprobs).toHaveLength(2);
        expect(logprob).toBe(top_logprobs[0]!.logprob);
        expect(logprob).toBeLessThan(0);
      }
    });

    it.each<[string, object, RegExp]>([
      ['completions', { prompt: 'a', frequency_penalty: 0.5 }, /does not support 'frequency_penalty' with this value/],
      ['completions', { prompt: 'a', guided_json: {} }, /does not support 'guided_json' at/],
      ['completions', { prompt: 'a', stream: 1 }, /stream must be true or false/],
      ['completions', { prompt: 'a', best_of: 3 }, /does not support 'best_of'/],
      ['completions', { prompt: 'a', logprobs: 21 }, /logprobs must be from 0 to 20/],
      ['completions', { prompt: 'a', max_tokens: 0 }, /max_tokens 0 asks for nothing/],
      ['completions', { prompt: [1, 'a'] }, /must be a text, or a list of token ids/],
      ['completions', { prompt: [-1] }, /must be a text, or a list of token ids below 259/],
      ['completions', { prompt: 'x'.repeat(4096), max_tokens: 1 }, /4096 tokens: none, or no room for an answer/],
      ['completions', { prompt: '' }, /0 tokens: none/],
      ['completions', { prompt: 'a', n: 1e9 }, /n must be at most/],
      ['chat/completions', { messages: [{ role: 'user', content: 'a' }], tools: [{}] }, /does not support 'tools'/],
      [
        'chat/completions',
        { messages: [{ role: 'user', content: 'a' }], top_logprobs: 2 },
        /top_logprobs needs logprobs true/,
      ],
      ['chat/completions', { messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }, /parts of type text/],
    ])('refuses what it cannot do, at %s %#', async (path, body, message) => {
      expect(await post(`/v1/${path}`, body)).toEqual({
        status: 400,
        body: { error: { message: expect.stringMatching(message), type: 'invalid_request_error' } },
      });
    });

    it('sends a reply as events to a client that takes nothing else', async () => {
      const stream = { stream: true, stream_options: { include_usage: true }, max_tokens: 2, temperature: 0 };
      const streamed = async (path: string, body: object) => {
        const sent = { method: 'POST', headers: { authorization: `Bearer ${address.token}` } };
        const reply = await fetch(address.baseUrl + path, { ...sent, body: JSON.stringify({ model, ...body }) });
        expect(reply.headers.get('content-type')).toContain('text/event-stream');
        return (await reply.text()).split('\n\n').map((line) => line.replace(/^data: /, ''));
      };
      const messages = [{ role: 'user', content: 'Two' }];
      const plain = (await post('/v1/chat/completions', { messages, max_tokens: 2, temperature: 0 })).body.choices[0]!;
      const [first, usage, ...end] = await streamed('/v1/chat/completions', { messages, ...stream });
      expect(JSON.parse(first!)).toMatchObject({
        object: 'chat.completion.chunk',
        choices: [{ index: 0, delta: (plain as unknown as { message: object }).message, finish_reason: 'length' }],
      });
      expect(JSON.parse(usage!).usage.completion_tokens).toBe(2);
      expect(end).toEqual(['[DONE]', '']);
      const [text] = await streamed('/v1/completions', { prompt: 'Two', ...stream });
      expect(JSON.parse(text!).choices[0]).toMatchObject({ text: expect.any(String), finish_reason: 'length' });
    });

    it('accepts what changes nothing, and a prompt that fills the context where nothing is to follow', async () => {
      const same = {
        user: 'me',
        metadata: {},
        frequency_penalty: 0,
        logit_bias: null,
        stream: false,
        n: 2,
        best_of: 2,
      };
      expect((await post('/v1/completions', { prompt: 'a', ...same })).status).toBe(200);
      const full = { prompt: 'x'.repeat(4096), echo: true, logprobs: 1, max_tokens: 0 };
      expect((await choices(full))[0]!.logprobs.tokens).toHaveLength(4096);
    });
  });

  it('refuses a folder that cannot be loaded, with a sentence', async () => {
    const server = supervisor();
    await server.ensure();
    await expect(server.load(join(folder, 'none'), 'f'.repeat(64))).rejects.toMatchObject({
      type: 'model.unusable',
      reason: `${join(folder, 'none')} is not a folder.`,
    });
  }, 60_000);

  it('refuses a token that the tokenizer has and the model has not, which a GPU would not survive', async () => {
    const model = join(folder, 'surplus');
    cpSync(join(models, 'tiny'), model, { recursive: true });
    const tokenizer = JSON.parse(readFileSync(join(model, 'tokenizer.json'), 'utf8'));
    const id = Object.keys(tokenizer.model.vocab).length;
    tokenizer.added_tokens.push({ ...tokenizer.added_tokens[0], id, content: '<|surplus|>' });
    writeFileSync(join(model, 'tokenizer.json'), JSON.stringify(tokenizer));
    const server = supervisor();
    const address = await server.ensure();
    const sha256 = await folderDigest(model);
    await server.load(model, sha256);
    const client = new BuiltinClient('local', address, sha256, pLimit(4));
    const ask = (content: string) =>
      client.sample(
        {
          ...{ messages: [{ role: 'user', content }], n: 1, seed: 1, temperature: 0, topP: 1, topK: 0 },
          ...{ maxTokens: 1, stop: [], requestId: 'one' },
        },
        never,
      );
    await expect(ask('a <|surplus|>')).rejects.toMatchObject({
      reason: expect.stringContaining(`The tokenizer gives token ${id}, and the model has ${id}.`),
      retry: false,
    });
    expect(await ask('a')).toHaveLength(1);
  }, 60_000);

  it('whose port nobody knows any more is ended, and the next attempt has one of its own', async () => {
    const lost = pidOf(serverFile);
    rmSync(serverFile);
    await expect(supervisor().ensure()).rejects.toMatchObject({ type: 'engine.unreachable', retry: true });
    expect(await isRunning(lost, folder)).toBe(false);
    await supervisor().ensure();
    expect(pidOf(serverFile)).not.toBe(lost);
  }, 120_000);
});

it('a private server answers beside a worker, and is stopped and removed afterwards', async () => {
  const workRoot = join(folder, 'work');
  const deployment = Deployment.parse({
    artifactRoot: join(folder, 'store'),
    workRoot,
    modelRoots: [models],
    python,
    engines: { local: config },
  });
  const engine = new EngineHost(deployment, null).engine('local');
  const sha256 = await folderDigest(join(models, 'tiny'));
  let pid = 0;
  const answered = await engine.withPrivateClient({ folder: join(models, 'tiny'), sha256 }, never, async (client) => {
    pid = pidOf(join(workRoot, readdirSync(workRoot)[0]!, 'server.json'));
    const messages = [{ role: 'user' as const, content: 'Hello' }];
    const drawn = { messages, n: 1, seed: 1, temperature: 0, topP: 1, topK: 0, maxTokens: 4, stop: [] };
    return client.sample({ ...drawn, requestId: 'ask' }, never);
  });
  expect(answered).toHaveLength(1);
  expect(await commandLine(pid)).not.toContain(workRoot);
  expect(readdirSync(workRoot)).toEqual([]);
  expect(existsSync(join(folder, 'store'))).toBe(false);
}, 60_000);

it('the files of a model that is loaded again are not read again', () => {
  const copy = join(folder, 'copy');
  cpSync(join(models, 'tiny'), copy, { recursive: true });
  const script = `
import os, sys
sys.path.insert(0, sys.argv[1])
import folder
read = []
real = folder.model_digest
folder.model_digest = lambda path: read.append(path) or real(path)
cache, (one, other) = folder.DigestCache(), sys.argv[2:]
found = [cache.digest(one), cache.digest(other), cache.digest(one)]
assert found[0] == found[1] == found[2] == real(one), found
assert len(read) == 2, read
open(os.path.join(other, "config.json"), "a").write(" ")
assert cache.digest(other) == real(other) != found[1]
assert len(read) == 3, read`;
  execFileSync(python, ['-c', script, dirname(pythonProgram('folder.py')), join(models, 'tiny'), copy]);
}, 60_000);

it('the engine on a GPU: draws and scores as on a CPU, mixes no tensors of both, and knows when it has failed', () => {
  const programs = dirname(pythonProgram('compute.py'));
  execFileSync(python, [join(import.meta.dirname, 'pretended_gpu.py'), programs, join(models, 'tiny')], {
    stdio: 'pipe',
  });
}, 180_000);
