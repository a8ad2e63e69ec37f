/** A step that is out of retries, or out of budget, parks its run, which waits for an answer: retry, skip, set or abort. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ApplicationFailure } from '@temporalio/activity';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { jsonBytes, MAX_PAYLOAD_BYTES } from '../../contracts/refs.js';
import type { Parked, RunState } from '../../contracts/run.js';
import type { FineTuneInput } from '../../contracts/steps.js';
import { Scenarios, SMALL, type Start } from './scenario.js';
import { dataset, done, FOUND, fails, failure, model, set, shard, trained, usage } from './script.js';
import { busy, gate, once } from './waiting.js';

let scenarios: Scenarios;
beforeAll(async () => {
  scenarios = await Scenarios.open();
});
afterAll(() => scenarios?.close());

describe.concurrent('a run that parks three times', () => {
  /** Parked at `mix`: first after two attempts, then with a message that is too long, then while it is paused. */
  const story = once(async () => {
    const run = await scenarios.start({
      settings: SMALL,
      config: { maxAttempts: 2 },
      script: {
        srlmMix: (_, call) => {
          if (call <= 2) throw ApplicationFailure.retryable('The disk is full. [storage.full]', 'storage.full');
          if (call <= 3) throw failure('x'.repeat(500), '\u0001"語'.repeat(2000));
          if (call <= 4) throw failure('engine.refused');
          return dataset('mixture');
        },
      },
    });
    const parked = async (before: Parked | null) =>
      (await run.until(({ halt }) => halt && halt.since !== before?.since, 'parked')).halt as Parked;

    const first = await parked(null);
    const firstMemo = await run.memo();
    const refusals = {
      skip: await run.refused('skip'),
      approve: await run.refused('approve'),
      resume: await run.refused('resume'),
      earlier: await run.refused('retry', { answers: '2026-01-01T00:00:00.000Z' }),
    };
    const retry = (who: string) => run.command('retry', { who, why: 'there is room', answers: first.since });
    const together = await Promise.allSettled([retry('ana'), retry('bo')]);

    const second = await parked(first);
    const secondMemo = await run.memo();
    const late = await run.refused('abort', { who: 'cy', answers: first.since });
    await run.command('set', { set: { 'budget.tokens': 1000 } });
    await run.command('pause');
    await run.command('resume');
    const answered = await run.command('retry', { who: 'bo', answers: second.since });

    await parked(second);
    await run.command('pause');
    await run.command('retry');
    const paused = await run.until(({ halt }) => halt === null);
    const pausedMemo = await run.memo();
    const callsWhilePaused = run.calls('srlmMix').length;
    await run.command('resume');
    const result = await run.result();
    return {
      first,
      firstMemo,
      refusals,
      together,
      second,
      secondMemo,
      late,
      answered,
      paused,
      pausedMemo,
      callsWhilePaused,
      result,
    };
  });

  it('says which step is out of retries, why, and after how many attempts', async () => {
    const { first, firstMemo } = await story();
    expect(first).toMatchObject({
      kind: 'parked',
      step: 'mix',
      round: 0,
      type: 'storage.full',
      attempts: 2,
      skippable: false,
      message: 'The disk is full. [storage.full]',
      kept: '',
    });
    expect(firstMemo).toMatchObject({ phase: 'parked', round: 0, step: 'mix', halt: first });
  });

  it('counts one attempt where no retry can help', async () => {
    expect((await story()).second.attempts).toBe(1);
  });

  it('refuses what does not answer it, each with the reason', async () => {
    expect((await story()).refusals).toEqual({
      skip: 'mix cannot be skipped: only an evaluation, or the enrichment of one round, can',
      approve: 'it is not waiting for approval',
      resume: 'it is not paused',
      earlier: 'it has continued since',
    });
  });

  it('takes one of two answers that arrive together, and shows the other who was first, when and why', async () => {
    const { together } = await story();
    const refused = together.find((one) => one.status === 'rejected');
    expect(together.find((one) => one.status === 'fulfilled')?.value).toBe('mix');
    expect(refused?.reason.cause.message).toMatch(/^already resolved by (ana|bo): retry at 20\S+Z, "there is room"$/);
  });

  it('refuses the answer to an earlier question, when the next one is open', async () => {
    expect((await story()).late).toMatch(/^already resolved by (ana|bo): retry at /);
  });

  it('shows at most 1000 characters of a message, in a memo of at most 4 KB', async () => {
    const { second, secondMemo } = await story();
    expect(second.message.length).toBeLessThanOrEqual(1000);
    expect(second.message).toContain('語');
    expect(second.type.length).toBe(200);
    expect(secondMemo.halt).toEqual(second);
    expect(jsonBytes(secondMemo)).toBeLessThanOrEqual(MAX_PAYLOAD_BYTES);
  });

  it('can still be answered after commands that do not answer it', async () => {
    expect((await story()).answered).toBe('mix');
  });

  it('stays paused after a retry when it was paused meanwhile', async () => {
    const { paused, pausedMemo, callsWhilePaused } = await story();
    expect(paused).toMatchObject({ halt: null, paused: { who: 'ana' } });
    expect(paused.steps.at(-1)).toMatchObject({ step: 'mix', state: 'running' });
    expect(pausedMemo.phase).toBe('paused');
    expect(callsWhilePaused).toBe(4);
  });

  it('ends well in the end', async () => {
    expect((await story()).result).toMatchObject({ best: 0, stopped: false });
  });
});

describe.concurrent('a run that parks at its training in round 1', () => {
  const story = once(async () => {
    const run = await scenarios.start({
      settings: { ...SMALL, rounds: 2 },
      fromRound: 1,
      evaluated: true,
      script: {
        ...FOUND,
        srlmFineTune: (input, call) => {
          if (call === 1) throw failure('trainer.failed');
          return trained(input);
        },
      },
    });
    await run.parked('fineTune');
    const refused = (set: object) => run.refused('retry', { set });
    const refusals = {
      begin: await refused({ 'sampling.chunkSize': 4 }),
      earlier: await refused({ 'sampling.k': 8 }),
      compared: await refused({ 'gate.confidence': 0.9 }),
      unknown: await refused({ 'training.epoch': 1 }),
      prototype: await refused({ 'training.__proto__.epochs': 1 }),
      wrong: await refused({ 'training.epochs': 0 }),
      begun: await refused({ rounds: 0 }),
    };
    const { interventionCount } = await run.state();
    await run.command('retry', { set: { 'training.epochs': 1 } });
    await run.result();
    return { refusals, interventionCount, epochs: run.inputs('srlmFineTune').map(({ training }) => training.epochs) };
  });

  it('applies `retry --set` to that step and to later rounds', async () => {
    expect((await story()).epochs).toEqual([3, 1, 1]);
  });

  it('refuses settings that are settled, that do not exist or that are wrong, each with the reason', async () => {
    const { refusals, interventionCount } = await story();
    expect(refusals).toEqual({
      begin: 'sampling.chunkSize was settled when the run began: start another run',
      earlier:
        'sampling.k was settled by sample of round 1: set it from the next round on (--from-round 2), or fork the run',
      compared: 'gate.confidence was settled by the first evaluation: start another run',
      unknown: 'training.epoch: there is no such field',
      prototype: 'training.__proto__.epochs: there is no such field',
      wrong: expect.stringMatching(/^training\.epochs: /),
      begun: 'rounds: round 1 has begun',
    });
    expect(interventionCount).toBe(0);
  });
});

describe.concurrent('a round whose enrichment and evaluation are skipped', () => {
  const before = set('set 0');
  const story = once(async () => {
    const run = await scenarios.start({
      settings: { ...SMALL, evaluation: {}, rounds: 1 },
      fromRound: 1,
      evaluated: true,
      script: { ...FOUND, srlmParse: fails('engine.refused'), srlmGrade: fails('engine.refused') },
    });
    const { halt } = await run.parked('parse');
    const answer = await run.command('skip');
    await run.parked('grade');
    await run.command('skip');
    const result = await run.result();
    return { run, halt: halt as Parked, answer, result, summary: run.rounds(result)[1]! };
  });

  it('is offered the skip, which answers with the step', async () => {
    const { halt, answer } = await story();
    expect(halt.skippable).toBe(true);
    expect(answer).toBe('parse');
  });

  it('trains on the set it has, and reports that set', async () => {
    const { run, summary } = await story();
    expect(run.inputs('srlmMix')).toMatchObject([{ data: before.dataset }]);
    expect(summary).toMatchObject({ set: before, changed: null, candidates: null, decisions: null });
    expect(before).toMatchObject({ enriched: 15, meanRationaleChars: 40 });
  });

  it('has no score, does not ask the gate, and is not the best', async () => {
    const { run, summary, result } = await story();
    expect(summary).toMatchObject({ evaluation: null, gate: null });
    expect(run.asked()).not.toContain('srlmGate');
    expect(result).toMatchObject({ best: 0, model: model('model 0') });
  });
});

describe.concurrent('a run whose model folder has changed', () => {
  const needs = (name: string) => (input: FineTuneInput) =>
    input.base.sha256 === model(name).sha256 ? trained(input) : fails('model.changed')();

  it('continues with it as it is now on the word of an operator, on record', async () => {
    const run = await scenarios.start({
      settings: SMALL,
      script: {
        srlmPrepareModel: (_, call) => model(call === 1 ? 'start' : 'repaired'),
        srlmMix: (_, call) => (call === 1 ? fails('engine.refused')() : dataset('mixture')),
        srlmFineTune: needs('repaired'),
      },
    });
    await run.parked('mix');
    const refused = await run.refused('retry', { acceptModel: true });
    expect(refused).toBe('there is no changed model to accept: leave --accept-model out');
    await run.command('retry');
    await run.parked('fineTune');
    await run.command('retry', { acceptModel: true, why: 'a shard was fetched again' });
    await run.result();
    expect(run.calls('srlmPrepareModel')).toHaveLength(2);
    const { interventions, prepared, head } = (await run.state()) as RunState;
    const [before, after] = [model('start'), model('repaired')].map(({ sha256 }) => sha256.slice(0, 12));
    expect(interventions.slice(-2)).toMatchObject([
      { kind: 'retry', who: 'ana', why: 'a shard was fetched again' },
      { kind: 'decision', who: 'ana', why: `the model ${before} is now ${after}`, step: 'fineTune' },
    ]);
    expect(prepared?.model).toEqual(model('repaired'));
    expect(head?.round).toBe(0);
  });

  it('parks again where the folder is not usable as it is now', async () => {
    const run = await scenarios.start({
      settings: SMALL,
      script: {
        srlmPrepareModel: (_, call) => (call === 2 ? fails('model.unusable')() : model(call === 1 ? 'start' : 'whole')),
        srlmFineTune: needs('whole'),
      },
    });
    await run.parked('fineTune');
    await run.command('retry', { acceptModel: true });
    await run.until(({ halt }) => halt?.kind === 'parked' && halt.type === 'model.unusable', 'parked again');
    await run.command('retry', { acceptModel: true });
    await run.result();
    expect(run.calls('srlmPrepareModel')).toHaveLength(3);
  });
});

describe.concurrent('an abort', () => {
  const start = (more: Start) => scenarios.start({ settings: SMALL, ...more });

  it('ends a run that is parked and paused, which fails with step, person and reason', async () => {
    const run = await start({ script: { srlmPrepareModel: fails('model.unusable') } });
    await run.parked('prepare');
    await run.command('pause');
    await run.command('abort', { why: 'wrong data' });
    const message = 'Aborted at prepare by ana: wrong data. All artifacts are kept.';
    expect(await run.failure()).toEqual({ type: 'run.aborted', message });
    expect(await run.memo()).toMatchObject({ phase: 'aborted', halt: null });
    expect((await run.handle.describe()).status.name).toBe('FAILED');
    expect(run.calls('srlmExport')).toHaveLength(1);
  });

  it('ends a run that waits for approval', async () => {
    const run = await start({ settings: { ...SMALL, approvals: ['catalysts'] } });
    await run.waiting('catalysts');
    await run.command('abort');
    expect((await run.failure()).message).toBe('Aborted at ingest examples by ana. All artifacts are kept.');
  });

  it('cancels the activities of a run, waits for their end, and is accepted once', async () => {
    let isOver = false;
    const run = await start({
      script: {
        srlmPrepareModel: async () => {
          await busy().catch(async (cancelled) => {
            await sleep(400);
            isOver = true;
            throw cancelled;
          });
        },
      },
    });
    await run.called('srlmPrepareModel');
    await run.command('abort', { who: 'bo' });
    expect(await run.refused('abort')).toBe('bo has ended it already');
    expect(await run.failure()).toMatchObject({ type: 'run.aborted' });
    expect(isOver).toBe(true);
  });

  it('is not undone by a damaged object that is found at the same moment', async () => {
    const run = await start({ script: { srlmPrepareModel: () => busy().catch(fails('artifact.damaged')) } });
    await run.called('srlmPrepareModel');
    await run.command('abort');
    expect((await run.failure()).type).toBe('run.aborted');
    expect(await run.executions()).toHaveLength(1);
  });
});

describe.concurrent('a sampling whose budget is used up', () => {
  /** 24 chunks in three shards, two at a time. The first uses the budget up while the second is in hand. */
  const story = once(async () => {
    const others = gate();
    const run = await scenarios.startSample({
      settings: { budget: { tokens: 1000 } },
      config: { shardsInFlight: 2 },
      script: {
        srlmIngest: () => done({ dataset: dataset('prompts', 768, 24), missingRationales: 0, meanRationaleChars: 0 }),
        srlmShard: async ({ from, to }, call) => {
          if (call <= 2 && from > 0) await others.wait;
          return shard(to - from, { usage: usage(call > 2 ? (from === 16 ? 300 : 0) : from === 0 ? 1000 : 200) });
        },
      },
    });
    await run.until(({ usage: { tokens } }) => tokens === 1000, 'the first shard has ended');
    others.open();
    const { halt, warnings, usage: used } = await run.parked('sample');
    const refusals = {
      retry: await run.refused('retry'),
      same: await run.refused('retry', { set: { 'budget.tokens': 1000 } }),
      skip: await run.refused('skip'),
    };
    await run.command('set', { set: { 'budget.tokens': 2000 } });
    const raised = await run.until(({ halt: now }) => now === null);
    await run.result();
    return { run, halt: halt as Parked, warnings, used, refusals, raised };
  });

  it('parks with all that is done kept, and says how to raise the bound', async () => {
    const { run, halt, used } = await story();
    expect(halt).toMatchObject({
      type: 'budget.spent',
      attempts: 1,
      skippable: false,
      kept: '512 of 768 rows are done and kept.',
      message: `budget.tokens is used up. Everything done is kept. Raise it: srlm set ${run.id} budget.tokens=N [budget.spent]`,
    });
    expect(used.tokens).toBe(1200);
  });

  it('refuses a retry that would not get far', async () => {
    const still = 'budget.tokens is still used up: raise it with --set budget.tokens=N';
    const { refusals } = await story();
    expect(refusals).toMatchObject({ retry: still, same: still });
    expect(refusals.skip).toMatch(/^sample cannot be skipped/);
  });

  it('continues by itself once the bound is raised, and that is recorded as the answer', async () => {
    const { halt, raised } = await story();
    expect(raised.interventions).toMatchObject([{ kind: 'set', step: 'sample', answers: halt.since }]);
  });

  it('gives each shard in flight its share of what is left', async () => {
    const { run } = await story();
    const tokens = run.inputs('srlmShard').map(({ share }) => share.tokens);
    expect(tokens.slice(0, 3)).toEqual([500, 500, 400]);
  });

  it('warns from 80 % on, and no longer when the bound is raised', async () => {
    const { warnings, raised } = await story();
    expect(warnings).toEqual(['budget.tokens: more than 80 % is used up.']);
    expect(raised.warnings).toEqual([]);
  });
});

describe.concurrent('a training', () => {
  /** Memory runs out once; the budget is used up twice; then it is another job, with other settings. */
  const story = once(async () => {
    const run = await scenarios.start({
      settings: { ...SMALL, budget: { tokens: 10_000, gpuSeconds: 500 } },
      script: {
        srlmFineTune: (input, call) => {
          if (call === 1) throw failure('trainer.out-of-memory', 'Memory ran out.', 4);
          if (call <= 3) return { bounded: true, usage: usage(call === 2 ? 10_000 : 15_000) };
          return trained(input, usage(2000));
        },
      },
    });
    const first = await run.parked('fineTune');
    await run.command('set', { set: { 'budget.tokens': 15_000 } });
    const second = await run.until(({ halt }) => halt && halt.since !== first.halt!.since);
    await run.command('retry', { set: { 'budget.tokens': 40_000, 'training.epochs': 1 } });
    const result = await run.result();
    return { first, second, inputs: run.inputs('srlmFineTune'), summary: run.rounds(result)[0]! };
  });

  it('that is out of memory is tried again with the micro-batch that its host names, which is recorded', async () => {
    const { first, inputs } = await story();
    expect(inputs.slice(0, 3).map(({ microBatchSize }) => microBatchSize)).toEqual([undefined, 4, 4]);
    expect(first.interventions).toMatchObject([
      {
        kind: 'decision',
        who: 'srlm',
        step: 'fineTune',
        set: { microBatchSize: 4 },
        why: 'memory ran out; gradients are accumulated: microBatchSize = 4',
      },
    ]);
  });

  it('stops at what is left of the budget, its own earlier attempts included', async () => {
    const { inputs } = await story();
    expect(inputs.map(({ tokenBound }) => tokenBound)).toEqual([10_000, 10_000, 15_000, 25_000]);
    expect(inputs.map(({ gpuSecondsBound }) => gpuSecondsBound)).toEqual([500, 500, 500, 350]);
  });

  it('is counted once, although each attempt reports what all of them have used', async () => {
    const { first, second } = await story();
    expect([first.usage.tokens, second.usage.tokens]).toEqual([10_000, 15_000]);
  });

  it('with other settings is another job, which is counted by itself', async () => {
    expect((await story()).summary.steps.at(-1)).toMatchObject({ step: 'fineTune', usage: { tokens: 17_000 } });
  });

  it('ends soon when the hours are used up, and takes a million more', async () => {
    const mixed = gate();
    const run = await scenarios.start({
      settings: SMALL,
      script: {
        srlmMix: () => mixed.wait.then(() => dataset('mixture')),
        srlmFineTune: (input, call) => (call === 1 ? busy() : trained(input)),
      },
    });
    await run.called('srlmMix');
    const { startedAt } = await run.state();
    const hours = (Date.now() + 3000 - Date.parse(startedAt)) / 3_600_000;
    await run.command('set', { set: { 'budget.hours': hours } });
    mixed.open();
    const { halt } = await run.parked('fineTune');
    expect(halt).toMatchObject({ type: 'budget.spent', message: expect.stringContaining('budget.hours is used up.') });
    expect(run.calls('srlmFineTune')).toHaveLength(1);
    await run.command('set', { set: { 'budget.hours': 1e6 } });
    expect(await run.result()).toMatchObject({ best: 0 });
    expect(run.calls('srlmFineTune')).toHaveLength(2);
  });
});
