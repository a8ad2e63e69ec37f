/**
 * Operators change the course of a run under way: pause, parked steps answered by two at once, other settings, budgets.
 * By runs that sample from a hosted endpoint, which cost little and stop where they are wanted to.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { SteeredEndpoint } from '../support/endpoint.js';
import { counts, Lab } from '../support/lab.js';
import { freePorts } from '../support/temporal-server.js';

const PROMPTS = 48;
const CHUNK = 2;
const SHARDS = 2;

describe('a sampling under way', () => {
  let lab: Lab;
  let endpoint: SteeredEndpoint;
  let seed = 0;

  beforeAll(async () => {
    const [port] = await freePorts(1);
    endpoint = await new SteeredEndpoint(port!).open();
    lab = await Lab.open('operate', {
      config: {
        maxAttempts: 2,
        heartbeatSeconds: 10,
        shardsInFlight: SHARDS,
        engines: {
          teacher: {
            ...{ kind: 'openai', baseUrl: endpoint.baseUrl, model: 'teacher' },
            price: { inputPerMillion: 1000, outputPerMillion: 2000 },
          },
        },
      },
    });
    const prompts = Array.from({ length: PROMPTS }, (_, i) => `${JSON.stringify({ instruction: `question ${i}` })}\n`);
    await writeFile(join(lab.folder, 'asked.jsonl'), prompts.join(''));
  });

  beforeEach(() => {
    endpoint.answered.length = 0;
    endpoint.delayMs = 0;
    endpoint.refuses = 0;
  });

  afterAll(async () => {
    await lab.close();
    await endpoint.close();
  });

  /** Each has a seed of its own, so that none finds done what another did. */
  const start = async (id: string, changes: object = {}) => {
    const spec = {
      engine: 'teacher',
      data: { path: 'asked.jsonl' },
      sampling: { k: 1, chunkSize: CHUNK },
      seed: ++seed,
    };
    return (await lab.client.startSample({ ...spec, ...changes }, { folder: lab.folder, id })).runId;
  };
  const is = (state: string) => (status: { state: string }) => status.state === state;
  const askedTwice = () => [...counts(endpoint.answered)].filter(([, times]) => times > 1);

  it('that is paused finishes the chunks in hand, outlives its worker, and goes on with nothing done twice', async () => {
    // A pause is heard of with the next heartbeat, within two seconds.
    endpoint.delayMs = 400;
    const runId = await start('paused');
    await lab.until('some are answered', () => endpoint.answered.length >= 6);
    await lab.client.pause(runId, 'the machine is wanted');
    const paused = await lab.status(runId, 'it is paused', (now) => now.state === 'paused' && now.live.length === 0);
    const before = endpoint.answered.length;
    expect(paused.preparation.at(-1)).toMatchObject({ step: 'sample', rowsDone: before, rowsTotal: PROMPTS });
    expect(before).toBeLessThan(PROMPTS);
    expect(before % CHUNK).toBe(0);
    await sleep(1000);
    expect(endpoint.answered.length).toBe(before);
    await expect(lab.client.pause(runId)).rejects.toThrow(/already paused by /);

    await lab.stopWorker();
    await lab.startWorker();
    await sleep(1000);
    expect(endpoint.answered.length).toBe(before);
    endpoint.delayMs = 0;
    await lab.client.resume(runId, 'it is free');
    const ended = await lab.status(runId, 'it is done', is('done'));
    expect(endpoint.answered).toHaveLength(PROMPTS);
    expect(askedTwice()).toEqual([]);
    expect(ended.interventions.map(({ kind, why }) => [kind, why])).toEqual([
      ['pause', 'the machine is wanted'],
      ['resume', 'it is free'],
    ]);
    await expect(lab.client.resume(runId)).rejects.toThrow('it has ended');
  });

  it('that is parked is answered by one of two operators, and the other is told', async () => {
    endpoint.refuses = 401;
    const runId = await start('twice');
    await lab.status(runId, 'it is parked', is('parked'));
    endpoint.refuses = 0;
    endpoint.delayMs = 100;
    const answers = await Promise.allSettled([lab.client.retry(runId, 'by ana'), lab.client.retry(runId, 'by bo')]);
    const refused = answers.filter((one) => one.status === 'rejected');
    expect(refused).toHaveLength(1);
    expect(String(refused[0]!.reason)).toMatch(/already resolved by .*retry at .*by (ana|bo)/);
    await lab.status(runId, 'it is done', is('done'));
    expect(askedTwice()).toEqual([]);
  });

  it('that is parked takes other settings, but none that is settled or does not exist', async () => {
    endpoint.refuses = 400;
    const runId = await start('settings');
    await lab.status(runId, 'it is parked', is('parked'));
    const retry = (set: Record<string, number>) => lab.client.retry(runId, '', set);
    await expect(retry({ 'sampling.chunkSize': 4 })).rejects.toThrow(
      'sampling.chunkSize was settled when the run began: fork the run',
    );
    await expect(retry({ 'sampling.maxTokns': 4 })).rejects.toThrow('sampling.maxTokns: there is no such field');
    await expect(retry({ 'sampling.k': 0 })).rejects.toThrow('sampling.k');
    await expect(lab.client.skip(runId)).rejects.toThrow('sample cannot be skipped');
    // From the Temporal UI anything may come.
    const handle = lab.client.temporal.workflow.getHandle(runId) as {
      executeUpdate(name: string, options: object): Promise<unknown>;
    };
    const sent = (update: string, ...args: unknown[]) =>
      handle.executeUpdate(update, { args }).catch((error: Error) => (error.cause as Error).message);
    expect(await sent('srlmPause')).toMatch(/^expected {"who": "...", "why": "..."}: /);
    expect(await sent('srlmRetry', { who: 'ana' })).toContain('why: ');
    const order = { who: 'ana', why: '' };
    expect(await sent('srlmAbort', { ...order, set: { seed: 1 } })).toBe('abort takes no settings');
    expect(await sent('srlmSet', { ...order, set: { 'sampling.k': 2 }, fromRound: '3' })).toContain('fromRound: ');
    expect((await lab.client.status(runId)).state).toBe('parked');
    endpoint.refuses = 0;
    await lab.client.retry(runId, 'less will do', { 'sampling.maxTokens': 16 });
    const { interventions } = await lab.status(runId, 'it is done', is('done'));
    expect(interventions).toMatchObject([{ kind: 'retry', why: 'less will do', set: { 'sampling.maxTokens': 16 } }]);
    const { inputs } = (await lab.records('sample')).at(-1)!;
    expect(inputs).toMatchObject({ sampling: { maxTokens: 16 } });
  });

  it('whose endpoint is away for long parks, and goes on when it is back', async () => {
    await endpoint.close();
    const runId = await start('away');
    const { parked } = await lab.status(runId, 'it is parked', is('parked'));
    expect(parked).toMatchObject({ step: 'sample', type: 'engine.unreachable', attempts: 2 });
    await endpoint.open();
    await lab.client.retry(runId, 'it is back');
    await lab.status(runId, 'it is done', is('done'));
    expect(endpoint.answered).toHaveLength(PROMPTS);
  });

  it('stops with the chunk in hand when its budget is spent, and goes on when that is raised', async () => {
    const runId = await start('budget', { budget: { tokens: PROMPTS / 2 } });
    const stopped = await lab.status(runId, 'it is parked', is('parked'));
    expect(stopped.parked).toMatchObject({ type: 'budget.spent', step: 'sample' });
    expect(stopped.warnings).toEqual(['budget.tokens: more than 80 % is spent.']);
    expect(stopped.spent.tokens).toBe(endpoint.answered.length);
    expect(stopped.spent.tokens).toBeGreaterThanOrEqual(PROMPTS / 2);
    expect(stopped.spent.tokens).toBeLessThanOrEqual(PROMPTS / 2 + SHARDS * CHUNK);
    await expect(lab.client.retry(runId)).rejects.toThrow('budget.tokens is still spent: raise it');
    await expect(lab.client.retry(runId, '', { 'budget.tokens': stopped.spent.tokens })).rejects.toThrow(
      'is spent with that, too',
    );
    await lab.client.set(runId, { 'budget.tokens': 1000 }, { why: 'granted' });
    const ended = await lab.status(runId, 'it is done', is('done'));
    expect(endpoint.answered).toHaveLength(PROMPTS);
    expect(askedTwice()).toEqual([]);
    expect(ended.spent).toMatchObject({ tokens: PROMPTS, gpuSeconds: 0 });
    expect(ended.warnings).toEqual([]);
    expect(ended.spent.money).toBeCloseTo(PROMPTS * (0.01 + 0.002), 6);
  });

  it('that is paused and told to end with its step does that step first', async () => {
    endpoint.delayMs = 400;
    const runId = await start('finished');
    await lab.until('some are answered', () => endpoint.answered.length >= 4);
    await lab.client.pause(runId);
    await lab.status(runId, 'it is paused', (now) => now.state === 'paused' && now.live.length === 0);
    expect(endpoint.answered.length).toBeLessThan(PROMPTS);
    endpoint.delayMs = 0;
    await lab.client.stop(runId, 'step');
    await lab.status(runId, 'it is done', is('done'));
    expect(new Set(endpoint.answered).size).toBe(PROMPTS);
  });

  it('that fails in mid-shard has spent what was answered until then', async () => {
    endpoint.delayMs = 20;
    const runId = await start('failing');
    await lab.until('some chunks are answered', () => endpoint.answered.length >= 5 * CHUNK);
    endpoint.refuses = 400;
    await lab.status(runId, 'it is parked', is('parked'));
    endpoint.refuses = 0;
    await lab.client.retry(runId);
    const { spent } = await lab.status(runId, 'it is done', is('done'));
    expect(spent.tokens).toBe(PROMPTS);
  });

  it('is ended where it is, with what it has kept', async () => {
    endpoint.delayMs = 50;
    const runId = await start('stopped');
    await lab.until('some are answered', () => endpoint.answered.length >= 4);
    await lab.client.stop(runId, 'now', 'no more');
    expect((await lab.client.status(runId)).state).toBe('aborted');
    expect(endpoint.answered.length).toBeLessThan(PROMPTS);
  });
});
