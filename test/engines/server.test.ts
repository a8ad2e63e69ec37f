/**
 * The supervisor of the model server with real servers: they outlive their worker, and none of them is in the way of the
 * next. Also the client of that server.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pLimit from 'p-limit';
import { afterAll, describe, expect, it } from 'vitest';
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
    expect(scored.tokens).toBe(9);
    expect(scored.logprobNats_K.map((value) => value !== null && value < 0)).toEqual([true, true, false]);
    expect(scored.logprobNats_K[2]).toBeNull();
    await expect(
      new BuiltinClient('local', address, 'f'.repeat(64), pLimit(4)).sample({ ...drawn, n: 1 }, never),
    ).rejects.toMatchObject({ type: 'engine.wrong-weights', retry: true });
  }, 60_000);

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
