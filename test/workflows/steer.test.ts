/** Operators steer a run: pause, stop, other settings, promotions, approvals. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Waiting } from '../../contracts/run.js';
import { COMMAND_RULES } from '../../workflows/control/commands.js';
import { Scenarios, SMALL } from './scenario.js';
import { dataset, evaluation, FOUND, model, object, roundOf, set, shard, trained, usage } from './script.js';
import { busy, gate, once } from './waiting.js';

let scenarios: Scenarios;
beforeAll(async () => {
  scenarios = await Scenarios.open();
});
afterAll(() => scenarios?.close());

describe.concurrent('a pause', () => {
  /** Two shards of one chunk are in hand, then a training. */
  const story = once(async () => {
    const asks = { shards: 0 };
    const run = await scenarios.start({
      settings: { ...SMALL, rounds: 1 },
      fromRound: 1,
      script: {
        srlmOpenStep: (step) => ({ step: object(JSON.stringify(step)), rows: 64, chunks: 2, done: null }),
        // What was in hand is finished, the rest of the shard is left.
        srlmShard: () => {
          asks.shards++;
          const part = { complete: false, chunksDone: 0, rows: 0, usage: usage(30) };
          return asks.shards <= 2 ? busy().catch(() => shard(1, part)) : shard(1, { usage: usage(70) });
        },
        srlmFineTune: (input, call) => (call === 1 ? busy() : trained(input, usage(1000))),
      },
    });
    await run.called('srlmShard', 2);
    await run.command('pause');
    const twice = await run.refused('pause', { who: 'bo' });
    const inShards = await run.until(({ usage: { tokens } }) => tokens === 60, 'both shards have ended');
    const pausedShards = run.calls('srlmShard').length;
    const resumed = await run.command('resume');
    const idle = await run.refused('resume');

    await run.called('srlmFineTune');
    await run.command('pause');
    await run.until(({ paused }) => paused);
    const inTraining = (await run.memo()).phase;
    await run.command('resume');
    const held = gate();
    run.answer({ srlmExport: () => held.wait });
    await run.called('srlmExport');
    const state = await run.state();
    held.open();
    return {
      run,
      twice,
      inShards,
      pausedShards,
      resumed,
      idle,
      inTraining,
      state,
      result: await run.result(),
    };
  });

  it('lets the shards in flight end, and asks for no other', async () => {
    const { inShards, pausedShards } = await story();
    expect(pausedShards).toBe(2);
    expect(inShards.steps.at(-1)).toMatchObject({ step: 'sample', state: 'running' });
  });

  it('is accepted once, and a resume only where there is a pause', async () => {
    const { twice, idle } = await story();
    expect(twice).toMatch(/^already paused by ana at 20\S+Z$/);
    expect(idle).toBe('it is not paused');
  });

  it('loses nothing of what shards have cost, and asks for their rest again', async () => {
    const { run, state } = await story();
    expect(run.inputs('srlmShard').map(({ from }) => from)).toEqual([0, 1, expect.anything(), expect.anything()]);
    expect(state.steps.find(({ step }) => step === 'sample')).toMatchObject({
      rowsDone: 64,
      usage: { tokens: 200 },
    });
  });

  it('ends a training, which is asked for again and counted once', async () => {
    const { run, state, inTraining, result } = await story();
    expect(inTraining).toBe('paused');
    expect(run.calls('srlmFineTune')).toHaveLength(2);
    expect(state.usage.tokens).toBe(1200);
    expect(result.best).toBe(1);
  });
});

describe.concurrent('a stop', () => {
  /** Stopped while it is paused in its selection. */
  const story = once(async () => {
    const held = gate();
    const run = await scenarios.start({
      settings: { ...SMALL, rounds: 3 },
      fromRound: 1,
      script: {
        ...FOUND,
        srlmSelect: () => held.wait.then(() => ({ set: set('s'), decisions: dataset('d'), changed: 1 })),
      },
    });
    await run.called('srlmSelect');
    await run.command('pause');
    await run.command('set', { set: { 'training.epochs': 1 } });
    await run.command('stop', { after: 'round' });
    const { paused } = await run.state();
    held.open();
    return { run, paused, result: await run.result() };
  });

  it('after the round ends a pause, then the round, then the run, which has a result', async () => {
    const { run, paused, result } = await story();
    expect(paused).toBeNull();
    expect(result).toMatchObject({ best: 1, stopped: true });
    expect((await run.memo()).phase).toBe('stopped');
  });

  it('leaves what was set for now in force until then', async () => {
    const { run } = await story();
    expect(run.inputs('srlmFineTune').map(({ training }) => training.epochs)).toEqual([1]);
  });

  it('after the step ends with the best round, also when another was promoted since', async () => {
    const held = gate();
    const run = await scenarios.start({
      settings: { ...SMALL, rounds: 3 },
      fromRound: 2,
      script: { ...FOUND, srlmParse: () => held.wait.then(() => dataset('parsed')) },
    });
    await run.called('srlmParse');
    await run.command('promote', { round: 0 });
    await run.command('stop', { after: 'step' });
    held.open();
    expect(await run.result()).toMatchObject({ best: 0, model: model('model 0'), stopped: true });
    expect(run.asked()).toEqual(['srlmOpenStep', 'srlmParse', 'srlmReadRound']);
  });

  it('after the step has no result before the first round is done', async () => {
    const held = gate();
    const run = await scenarios.start({
      settings: SMALL,
      script: { srlmPrepareModel: () => held.wait.then(() => model('start')) },
    });
    await run.called('srlmPrepareModel');
    await run.command('stop', { after: 'step' });
    held.open();
    const message = 'Stopped after the step. All artifacts are kept.';
    expect(await run.failure()).toEqual({ type: 'run.stopped', message });
    expect((await run.memo()).phase).toBe('stopped');
    expect(run.asked()).toEqual(['srlmPrepareModel']);
  });
});

describe.concurrent('settings and promotions', () => {
  /** Rounds 1 and 2, each with an approval at its end. The run begins with one round, and ends with two. */
  const story = once(async () => {
    const run = await scenarios.start({
      settings: { ...SMALL, rounds: 1, approvals: ['after-round'] },
      fromRound: 1,
      script: FOUND,
    });
    await run.waiting('after-round', 1);
    await run.command('set', { set: { rounds: 5 } });
    const refused = (set: object, fromRound: number | null = null) => run.refused('set', { set, fromRound });
    const refusals = {
      nothing: await refused({}),
      begun: await refused({ 'sampling.k': 8 }, 1),
      beyond: await refused({ 'sampling.k': 8 }, 6),
      budget: await refused({ 'budget.tokens': 8 }, 2),
      rounds: await refused({ rounds: 8 }, 2),
      always: await refused({ 'sampling.chunkSize': 8 }, 2),
      wrong: await refused({ 'sampling.k': 0 }, 2),
      done: await refused({ 'training.epochs': 1 }),
      large: await refused({ x: 'x'.repeat(1500) }, 2),
      ahead: await run.refused('promote', { round: 2 }),
    };
    await run.command('set', { set: { 'sampling.k': 8 }, fromRound: 2 });
    await run.command('set', { set: { 'training.epochs': 1 }, fromRound: 2 });
    await run.command('promote', { round: 0 });
    const set1 = await run.state();
    await run.command('approve');

    const set2 = await run.waiting('after-round', 2);
    const below = await run.refused('set', { set: { rounds: 1 } });
    await run.command('set', { set: { rounds: 2 } });
    await run.command('promote', { round: 1 });
    await run.command('approve');
    return { run, refusals, below, set1, set2, result: await run.result() };
  });

  it('are refused where they come too late or are wrong, each with the reason', async () => {
    const { refusals, below } = await story();
    expect(refusals).toEqual({
      nothing: 'there is nothing to set',
      begun: 'round 1 has begun: the first that has not is 2',
      beyond: 'the last round is 5',
      budget: 'budget.tokens holds for the whole run: set it without --from-round',
      rounds: 'rounds holds for the whole run: set it without --from-round',
      always: 'sampling.chunkSize is the same in all rounds of a run: start another run to change it',
      wrong: expect.stringMatching(/^sampling\.k: /),
      done: 'training.epochs was settled by fineTune of round 1: set it from the next round on (--from-round 2), or fork the run',
      large: expect.stringContaining('set: it must be at most 1500 bytes of JSON'),
      ahead: 'round 2 is not done',
    });
    expect(below).toBe('rounds: round 2 has begun');
  });

  it('hold from their round on, and not before', async () => {
    const { run } = await story();
    expect(run.inputs('srlmOpenStep').map(({ sampling }) => sampling.k)).toEqual([4, 8]);
    expect(run.inputs('srlmFineTune').map(({ training }) => training.epochs)).toEqual([3, 1]);
  });

  it('make a run longer, and shorter again', async () => {
    const { run, set1, set2, result } = await story();
    expect([set1.lastRound, set2.lastRound]).toEqual([5, 5]);
    expect(run.rounds(result).map(({ round }) => round)).toEqual([0, 1, 2]);
    expect(result.stopped).toBe(false);
  });

  it('a promoted round is where the next one starts', async () => {
    const { run } = await story();
    const [, second] = run.inputs('srlmOpenStep');
    expect(second).toMatchObject({ model: model('model 0'), data: set('set 0').dataset });
  });

  it('a round that is promoted in the last one is the result', async () => {
    const { run, result } = await story();
    expect(result).toMatchObject({ best: 1, model: run.rounds(result)[1]!.model });
  });
});

describe.concurrent('approvals', () => {
  it('are asked for at all three places, with what there is to look at', async () => {
    const run = await scenarios.start({
      settings: { rounds: 0, approvals: ['catalysts', 'before-train', 'after-round'] },
      script: FOUND,
    });
    const asked: Waiting[] = [];
    for (const approval of ['catalysts', 'before-train', 'after-round']) {
      asked.push((await run.waiting(approval)).halt as Waiting);
      expect(await run.command('approve')).toBe(approval);
    }
    expect((await run.result()).best).toBe(0);
    expect(asked).toMatchObject([
      { round: null, data: dataset('catalysts'), rows: 32, enriched: null },
      { round: 0, data: dataset('examples'), rows: 40, enriched: 0, evaluation: null },
      { round: 0, data: dataset('examples'), rows: 32, evaluation: { accuracy: 0.5 }, gate: null },
    ]);
  });

  it('that are refused for the catalysts end the run without a result', async () => {
    const run = await scenarios.start({ settings: { ...SMALL, approvals: ['catalysts'] } });
    await run.waiting('catalysts');
    await run.command('reject', { why: 'they are copied' });
    const message = 'Stopped: the catalysts were rejected. All artifacts are kept.';
    expect(await run.failure()).toEqual({ type: 'run.stopped', message });
    expect((await run.memo()).phase).toBe('stopped');
  });

  it('that are refused before a training end the run with its best round', async () => {
    const run = await scenarios.start({
      settings: { ...SMALL, rounds: 1, approvals: ['before-train'] },
      fromRound: 1,
      script: FOUND,
    });
    await run.waiting('before-train', 1);
    await run.command('reject');
    expect(await run.result()).toMatchObject({ best: 0, model: model('model 0'), stopped: true });
    expect(run.asked()).not.toContain('srlmFineTune');
  });

  describe('that are refused after a round', () => {
    const story = once(async () => {
      const run = await scenarios.start({
        settings: { ...SMALL, evaluation: {}, rounds: 2, approvals: ['after-round'] },
        fromRound: 1,
        evaluated: true,
        script: FOUND,
      });
      await run.waiting('after-round', 1);
      await run.command('reject', { why: 'it repeats itself' });
      await run.waiting('after-round', 2);
      await run.command('approve');
      return { run, result: await run.result() };
    });

    it('roll it back in the table', async () => {
      const { run, result } = await story();
      expect(run.rounds(result).map(({ gate: one }) => one?.verdict)).toEqual([undefined, 'roll-back', 'keep']);
    });

    it('let the next round start from the best one', async () => {
      const { run } = await story();
      const [, second] = run.inputs('srlmOpenStep').filter(({ purpose }) => purpose === 'enrich');
      expect(second).toMatchObject({ model: model('model 0'), data: set('set 0').dataset });
      expect(run.inputs('srlmGate').map(({ rollbacksInARow }) => rollbacksInARow)).toEqual([0, 1]);
    });
  });

  it('cannot be refused more often than a run can remember', () => {
    const { evaluation: _, ...review } = { ...roundOf(1, true), data: null, rows: 0, enriched: 0, gate: null };
    const halt = { kind: 'waiting', approval: 'after-round', since: 'now', ...review, evaluation: evaluation('1') };
    const overrides = Array.from({ length: 12 }, (_, round) => ({ round, verdict: 'roll-back', before: round + 1 }));
    const run = { answer: null, state: { halt, overrides, interventions: [] } } as never;
    expect(() => COMMAND_RULES.reject.allowed(run, { who: 'ana', why: '' })).toThrow(
      'too many rounds were promoted or rejected: fork the run',
    );
  });
});
