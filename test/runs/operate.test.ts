/**
 * Operators change the course of a running run: pause, parked steps answered by two at once, other settings, budgets.
 * The runs sample from an endpoint, which costs little and stops where a test wants it to.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { SteeredEndpoint } from '../support/endpoint.js';
import { executionsOf } from '../support/executions.js';
import { counts, Harness } from '../support/harness.js';
import { freePorts } from '../support/temporal-server.js';

const PROMPTS = 48;
const CHUNK = 2;
const SHARDS = 2;

describe('a sampling run', { timeout: 120_000 }, () => {
  let harness: Harness;
  let endpoint: SteeredEndpoint;
  let seed = 0;

  beforeAll(async () => {
    const [port] = await freePorts(1);
    endpoint = await new SteeredEndpoint(port!).open();
    harness = await Harness.open('operate', {
      config: {
        maxAttempts: 2,
        shardsInFlight: SHARDS,
        engines: {
          teacher: {
            ...{ kind: 'endpoint', baseUrl: endpoint.baseUrl, model: 'teacher' },
            price: { inputPerMillion: 1000, outputPerMillion: 2000 },
          },
        },
      },
    });
    const prompts = Array.from({ length: PROMPTS }, (_, i) => `${JSON.stringify({ instruction: `question ${i}` })}\n`);
    await writeFile(join(harness.folder, 'asked.jsonl'), prompts.join(''));
  });

  beforeEach(() => {
    endpoint.answered.length = 0;
    endpoint.delayMs = 0;
    endpoint.refuses = 0;
  });

  afterAll(async () => {
    await harness?.close();
    await endpoint?.close();
  });

  /** Each has a seed of its own, so that none reuses what another did. */
  const start = async (id: string, changes: object = {}) => {
    const spec = {
      engine: 'teacher',
      data: { path: 'asked.jsonl' },
      sampling: { k: 1, chunkSize: CHUNK },
      seed: ++seed,
    };
    return (await harness.client.startSample({ ...spec, ...changes }, { folder: harness.folder, id })).runId;
  };
  const is = (state: string) => (status: { state: string }) => status.state === state;
  const askedTwice = () => [...counts(endpoint.answered)].filter(([, times]) => times > 1);

  it('that is paused finishes its current chunks, outlives its worker, and continues with nothing asked twice', async () => {
    // A pause arrives with the next heartbeat, within the time of a shard.
    endpoint.delayMs = 600;
    const runId = await start('paused');
    await harness.until('some are answered', () => endpoint.answered.length >= 6);
    await harness.client.send(runId, 'pause', { why: 'the machine is needed' });
    const paused = await harness.status(
      runId,
      'it is paused',
      (now) => now.state === 'paused' && now.live.length === 0,
    );
    const before = endpoint.answered.length;
    expect(paused.steps.at(-1)).toMatchObject({ step: 'sample', rowsDone: before, rowsTotal: PROMPTS });
    expect(before).toBeLessThan(PROMPTS);
    await sleep(1000);
    expect(endpoint.answered.length).toBe(before);
    await expect(harness.client.send(runId, 'pause', {})).rejects.toThrow(/already paused by /);

    await harness.stopWorker();
    await harness.startWorker();
    await sleep(1000);
    expect(endpoint.answered.length).toBe(before);
    endpoint.delayMs = 0;
    await harness.client.send(runId, 'resume', { why: 'it is free' });
    const ended = await harness.status(runId, 'it is done', is('done'));
    expect(endpoint.answered).toHaveLength(PROMPTS);
    expect(askedTwice()).toEqual([]);
    expect(ended.interventions.map(({ kind, why }) => [kind, why])).toEqual([
      ['pause', 'the machine is needed'],
      ['resume', 'it is free'],
    ]);
    await expect(harness.client.send(runId, 'resume', {})).rejects.toThrow('it has ended');
  });

  it('whose worker is stopped finishes its current chunks, and continues with nothing asked twice', async () => {
    endpoint.delayMs = 400;
    const runId = await start('drained');
    await harness.until('some are answered', () => endpoint.answered.length >= 6);
    expect(await harness.stopWorker()).toBe(0);
    const before = endpoint.answered.length;
    expect(before).toBeLessThan(PROMPTS);
    endpoint.delayMs = 0;
    await harness.startWorker();
    const { steps } = await harness.status(runId, 'it is done', is('done'));
    expect(steps.at(-1)).toMatchObject({ step: 'sample', rowsDone: PROMPTS });
    expect(endpoint.answered).toHaveLength(PROMPTS);
    // Handed over, not failed.
    const [execution] = await executionsOf(harness.client.temporal, runId);
    expect(execution?.history.events?.filter((event) => event.activityTaskFailedEventAttributes)).toEqual([]);
    const started = execution?.history.events?.map((event) => event.activityTaskStartedEventAttributes?.attempt ?? 1);
    expect(new Set(started)).toEqual(new Set([1]));
  });

  it('that is parked is answered by one of two operators, and the other reads who was first', async () => {
    endpoint.refuses = 401;
    const runId = await start('twice');
    await harness.status(runId, 'it is parked', is('parked'));
    endpoint.refuses = 0;
    endpoint.delayMs = 100;
    const answers = await Promise.allSettled([
      harness.client.send(runId, 'retry', { why: 'by ana' }),
      harness.client.send(runId, 'retry', { why: 'by bo' }),
    ]);
    const refused = answers.filter((one) => one.status === 'rejected');
    expect(refused).toHaveLength(1);
    expect(String(refused[0]!.reason)).toMatch(/already resolved by .*retry at .*by (ana|bo)/);
    await harness.status(runId, 'it is done', is('done'));
    expect(askedTwice()).toEqual([]);
  });

  it('that is parked takes other settings, but none that is settled or does not exist', async () => {
    endpoint.refuses = 400;
    const runId = await start('settings');
    await harness.status(runId, 'it is parked', is('parked'));
    const retry = (set: Record<string, number>) => harness.client.send(runId, 'retry', { set });
    await expect(retry({ 'sampling.chunkSize': 4 })).rejects.toThrow(
      'sampling.chunkSize was settled when the run began: start another run',
    );
    await expect(retry({ 'sampling.maxTokns': 4 })).rejects.toThrow('sampling.maxTokns: there is no such field');
    await expect(retry({ 'sampling.k': 0 })).rejects.toThrow('sampling.k');
    await expect(harness.client.send(runId, 'skip', {})).rejects.toThrow('sample cannot be skipped');
    // From the Temporal UI anything may come.
    const handle = harness.client.temporal.workflow.getHandle(runId) as {
      executeUpdate(name: string, options: object): Promise<unknown>;
      signal(name: string, ...args: unknown[]): Promise<void>;
    };
    const sent = (update: string, ...args: unknown[]) =>
      handle.executeUpdate(update, { args }).catch((error: Error) => (error.cause as Error).message);
    expect(await sent('srlmPause')).toContain('the fields of pause are who, why');
    expect(await sent('srlmRetry', { why: 'no name' })).toContain('who: ');
    expect(await sent('srlmAbort', { who: 'ana', set: { seed: 1 } })).toContain('set: there is no such field');
    expect(await sent('srlmSet', { who: 'ana', set: { 'sampling.k': 2 }, fromRound: '3' })).toContain('fromRound: ');
    await handle.signal('srlmResume', 'nobody knows this signal');
    expect((await harness.client.status(runId)).state).toBe('parked');
    endpoint.refuses = 0;
    await harness.client.send(runId, 'retry', { why: 'less will do', set: { 'sampling.maxTokens': 16 } });
    const { interventions } = await harness.status(runId, 'it is done', is('done'));
    expect(interventions).toMatchObject([{ kind: 'retry', why: 'less will do', set: { 'sampling.maxTokens': 16 } }]);
    const { inputs } = (await harness.records('sample')).at(-1)!;
    expect(inputs).toMatchObject({ recipe: { sampling: { maxTokens: 16 } } });
  });

  it('stops after the current chunks when its budget is used up, and continues when it is raised', async () => {
    const runId = await start('budget', { budget: { tokens: PROMPTS / 2 } });
    const stopped = await harness.status(runId, 'it is parked', is('parked'));
    expect(stopped.halt).toMatchObject({ type: 'budget.spent', step: 'sample' });
    expect(stopped.warnings).toEqual(['budget.tokens: more than 80 % is used up.']);
    expect(stopped.usage.tokens).toBe(endpoint.answered.length);
    expect(stopped.usage.tokens).toBeGreaterThanOrEqual(PROMPTS / 2);
    // More by what was in flight: the share of one shard, and a chunk of each.
    const share = PROMPTS / 2 / SHARDS;
    expect(stopped.usage.tokens).toBeLessThanOrEqual(PROMPTS / 2 + share + SHARDS * CHUNK);
    const still = 'budget.tokens is still used up: raise it with --set budget.tokens=N';
    await expect(harness.client.send(runId, 'retry', {})).rejects.toThrow(still);
    await expect(
      harness.client.send(runId, 'retry', { set: { 'budget.tokens': stopped.usage.tokens } }),
    ).rejects.toThrow(still);
    await harness.client.send(runId, 'set', { set: { 'budget.tokens': 1000 }, why: 'granted' });
    const ended = await harness.status(runId, 'it is done', is('done'));
    expect(endpoint.answered).toHaveLength(PROMPTS);
    expect(askedTwice()).toEqual([]);
    expect(ended.usage).toMatchObject({ tokens: PROMPTS, gpuSeconds: 0 });
    expect(ended.warnings).toEqual([]);
    expect(ended.usage.money).toBeCloseTo(PROMPTS * (0.01 + 0.002), 6);
  });

  it('that is paused, and is to stop after its step, does that step first', async () => {
    endpoint.delayMs = 600;
    const runId = await start('finished');
    await harness.until('some are answered', () => endpoint.answered.length >= 4);
    await harness.client.send(runId, 'pause', {});
    await harness.status(runId, 'it is paused', (now) => now.state === 'paused' && now.live.length === 0);
    expect(endpoint.answered.length).toBeLessThan(PROMPTS);
    endpoint.delayMs = 0;
    await harness.client.send(runId, 'stop', { after: 'step' });
    await harness.status(runId, 'it is done', is('done'));
    expect(new Set(endpoint.answered).size).toBe(PROMPTS);
  });

  it('that fails in the middle of a shard counts the cost of what was answered until then', async () => {
    endpoint.delayMs = 20;
    const runId = await start('failing');
    await harness.until('some chunks are answered', () => endpoint.answered.length >= 5 * CHUNK);
    endpoint.refuses = 400;
    await harness.status(runId, 'it is parked', is('parked'));
    endpoint.refuses = 0;
    await harness.client.send(runId, 'retry', {});
    const { usage } = await harness.status(runId, 'it is done', is('done'));
    expect(usage.tokens).toBe(PROMPTS);
  });

  it('is ended where it is, with what it has kept', async () => {
    endpoint.delayMs = 50;
    const runId = await start('stopped');
    await harness.until('some are answered', () => endpoint.answered.length >= 4);
    await harness.client.abort(runId, 'no more');
    expect((await harness.client.status(runId)).state).toBe('aborted');
    expect(endpoint.answered.length).toBeLessThan(PROMPTS);
  });
});
