/** A run is a chain of executions under one id: what happens around continue-as-new, and where rounds are repeated. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowUpdateFailedError } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { updateName } from '../../contracts/commands.js';
import type { OperatorRecord } from '../../contracts/run.js';
import { Scenarios, SMALL } from './scenario.js';
import { dataset, FOUND, fails, failure, model, trained, usage } from './script.js';
import { busy, gate, once } from './waiting.js';

let scenarios: Scenarios;
beforeAll(async () => {
  scenarios = await Scenarios.open();
});
afterAll(() => scenarios?.close());

const exportsOf = (inputs: { runId: string }[]) => [...new Set(inputs.map(({ runId }) => runId))];

describe.concurrent('a run of three rounds', () => {
  const story = once(async () => {
    const run = await scenarios.start({ settings: { rounds: 2 }, config: { searchAttributes: true }, script: FOUND });
    const result = await run.result();
    return { run, result, executions: await run.executions() };
  });

  it('has one execution for each round, under one id', async () => {
    const { run, result, executions } = await story();
    expect(executions).toHaveLength(3);
    expect(run.rounds(result).map(({ round }) => round)).toEqual([0, 1, 2]);
    expect(result).toMatchObject({ best: 2, stopped: false });
    const started = executions.map(({ events }) => events[0]!.workflowExecutionStartedEventAttributes!);
    expect(started.map((one) => one.firstExecutionRunId)).toEqual([1, 2, 3].map(() => run.firstRunId));
  });

  it('has a small history in each, which does not grow with the rounds', async () => {
    const [, first, second] = (await story()).executions.map(({ events }) => events.length);
    expect(first).toBeLessThan(150);
    expect(second! - first!).toBeLessThan(15);
  });

  it('can be replayed from the histories of all its executions', async () => {
    const { run, executions } = await story();
    const workflowBundle = { codePath: join(import.meta.dirname, '../../dist/workflow-bundle.js') };
    const histories = executions.map(({ history }) => ({ workflowId: run.id, history }));
    const errors = [];
    for await (const { error } of Worker.runReplayHistories({ workflowBundle }, histories)) errors.push(error);
    expect(errors).toEqual([undefined, undefined, undefined]);
  });

  it('exports the history of each execution when the next has begun, and that of the last one at its end', async () => {
    const { run, executions } = await story();
    const runIds = executions.map(({ runId }) => runId);
    const exported = run.inputs('srlmExport');
    expect(exportsOf(exported)).toEqual(runIds);
    expect(exported[0]).toMatchObject({ workflowId: run.id, firstRunId: run.firstRunId, runId: run.firstRunId });
    const asked = executions.map(({ events }) => {
      const activities = events.flatMap((event) => event.activityTaskScheduledEventAttributes ?? []);
      return activities.filter(({ activityType }) => activityType?.name === 'srlmExport').length;
    });
    expect(asked).toEqual([0, 1, 2]);
  });

  it('shows how it ended in memo and search attributes', async () => {
    const { run, result } = await story();
    expect(await run.memo()).toMatchObject({
      phase: 'done',
      round: 2,
      lastRound: 2,
      step: 'record',
      halt: null,
      forkOf: null,
      table: result.table,
    });
    const { searchAttributes } = await run.handle.describe();
    expect(searchAttributes).toMatchObject({
      SrlmState: ['done'],
      SrlmStep: ['record'],
      SrlmRound: [2],
      SrlmScore: [0.5],
    });
  });
});

describe.concurrent('commands around continue-as-new', () => {
  it('are each applied exactly once, whenever they arrive, in five executions', async () => {
    const held = gate();
    const run = await scenarios.start({
      settings: { ...SMALL, rounds: 4 },
      // Held open at its end: the export of the fourth execution is asked for in the last.
      script: { ...FOUND, srlmExport: (_, call) => (call >= 4 ? held.wait : undefined) },
    });
    let accepted = 0;
    const hammer = async (command: (n: number) => Parameters<typeof run.command>) => {
      for (let round = 0; round <= 4; round++) {
        await run.called('srlmKeepRound', round + 1);
        for (let n = 0; n < 4; n++) {
          try {
            await run.command(...command(4 * round + n));
            accepted++;
          } catch (error) {
            const why = error instanceof WorkflowUpdateFailedError ? error.cause?.message : `${error}`;
            if (why === 'the run has ended') return;
            if (!/^(already paused|it is not paused|round 4 has begun)/.test(why!)) throw error;
          }
          await sleep(150);
        }
      }
    };
    await Promise.all([
      hammer((n) => ['set', { set: { 'budget.tokens': 1e9 + n } }]),
      hammer((n) => ['set', { set: { 'sampling.k': 1 + n }, fromRound: 4 }]),
      hammer((n) => [n % 2 ? 'resume' : 'pause', {}]),
    ]);
    const { interventionCount } = await run.until(({ end }) => end?.kind === 'done');
    held.open();
    expect(accepted).toBeGreaterThan(20);
    expect(interventionCount).toBe(accepted);
    await run.result();
    expect(await run.executions()).toHaveLength(5);
  });

  /** Round 0 ends with an approval and a pause at once, round 1 with a pause in its last step. The first export fails. */
  const story = once(async () => {
    const held = gate();
    // Temporal may deliver the pause seconds after the approval: round 1 must not be over by then.
    const both = gate();
    const run = await scenarios.start({
      settings: { ...SMALL, rounds: 2, approvals: ['after-round'] },
      script: {
        ...FOUND,
        srlmOpenStep: (input, call) => both.wait.then(() => FOUND.srlmOpenStep!(input, call)),
        srlmExport: ({ firstRunId, runId }) => {
          if (runId === firstRunId) throw failure('storage.full');
        },
      },
    });
    await run.waiting('after-round', 0);
    const together = await Promise.all([run.command('approve', {}, 'one'), run.command('pause', {}, 'two')]);
    both.open();
    const [state1, memo1] = [await run.until(({ round }) => round === 1), await run.memo()];
    const again = [await run.command('approve', {}, 'one'), await run.command('pause', {}, 'two')];
    const other = await run.refused('pause');
    const { interventionCount } = await run.state();

    const record = gate();
    run.answer({ srlmFineTune: (input) => record.wait.then(() => trained(input)) });
    await run.command('set', { set: { approvals: [] } });
    await run.command('resume');
    await run.called('srlmFineTune', 2);
    const kept = run.called('srlmKeepRound', 2);
    const { srlmKeepRound } = run.script;
    run.answer({ srlmKeepRound: (input, call) => held.wait.then(() => srlmKeepRound!(input, call)) });
    record.open();
    await kept;
    await run.command('pause');
    held.open();
    const state2 = await run.until(({ round }) => round === 2);
    const asked = run.calls('srlmOpenStep').length;
    const memo2 = await run.memo();
    await run.command('resume');
    const result = await run.result();
    return {
      run,
      together,
      state1,
      memo1,
      again,
      other,
      interventionCount,
      state2,
      memo2,
      asked,
      result,
      executions: await run.executions(),
    };
  });

  it('hold in the next execution, also beside the one that leads to it', async () => {
    const { state1, together } = await story();
    expect(together[0]).toBe('after-round');
    expect(state1).toMatchObject({ round: 1, paused: { who: 'ana' }, interventionCount: 2 });
  });

  it('are known when they are sent again: they answer the same and change nothing', async () => {
    const { together, again, interventionCount, other } = await story();
    expect(again).toEqual(together);
    expect(interventionCount).toBe(2);
    expect(other).toMatch(/^already paused by ana at /);
  });

  it('show at once in state and memo', async () => {
    const { memo1, memo2, state2 } = await story();
    expect(memo1).toMatchObject({ phase: 'paused', round: 1, lastRound: 2, halt: null });
    expect(memo2).toMatchObject({ phase: 'paused', round: 2 });
    expect(state2.rounds).toBe(2);
  });

  it('such as a pause in the last step of a round keep the next one from beginning', async () => {
    const { state2, asked, result } = await story();
    expect(state2.paused).toMatchObject({ who: 'ana' });
    expect(asked).toBe(1);
    expect(result).toMatchObject({ best: 2, stopped: false });
  });

  it('leave a failed export to the executions that follow, and never fail the run because of it', async () => {
    const { run, executions } = await story();
    const exported = run.inputs('srlmExport').map(({ runId }) => runId);
    expect(new Set(exported)).toEqual(new Set(executions.map(({ runId }) => runId)));
    expect(exported.filter((runId) => runId === run.firstRunId)).toHaveLength(3);
  });

  it('wait for a worker when there is none, and are then applied in the next execution, too', async () => {
    const own = await Scenarios.open();
    try {
      const run = await own.start({ settings: { ...SMALL, rounds: 1, approvals: ['after-round'] }, script: FOUND });
      await run.waiting('after-round', 0);
      await own.stopWorker();
      const sent = Promise.all([run.command('approve'), run.command('pause')]);
      await sleep(300);
      await own.startWorker();
      expect((await sent)[0]).toBe('after-round');
      const state = await run.until(({ round }) => round === 1);
      expect(state).toMatchObject({ paused: { who: 'ana' }, interventionCount: 2 });
    } finally {
      await own.close();
    }
  });
});

describe.concurrent('a run that is cancelled in Temporal', () => {
  it('cancels its activities, and ends as aborted', async () => {
    let isCancelled = false;
    const run = await scenarios.start({
      settings: SMALL,
      script: {
        srlmPrepareModel: () =>
          busy().catch((cancelled) => {
            isCancelled = true;
            throw cancelled;
          }),
      },
    });
    await run.called('srlmPrepareModel');
    await run.handle.cancel();
    expect((await run.failure()).type).toBe('CancelledFailure');
    expect((await run.handle.describe()).status.name).toBe('CANCELLED');
    expect((await run.memo()).phase).toBe('aborted');
    expect(isCancelled).toBe(true);
    expect(run.calls('srlmExport')).toHaveLength(1);
  });

  it('ends also while it waits for its exports between two rounds, and so does one that is aborted there', async () => {
    const ends = [
      (run: Awaited<ReturnType<typeof scenarios.start>>) => run.handle.cancel(),
      (run: Awaited<ReturnType<typeof scenarios.start>>) => run.command('abort'),
    ];
    const types = ends.map(async (end) => {
      const exports = gate();
      const run = await scenarios.start({
        settings: { ...SMALL, rounds: 5 },
        fromRound: 2,
        progress: { unexported: ['a', 'b', 'c', 'd', 'e'] },
        script: { ...FOUND, srlmExport: () => exports.wait },
      });
      await run.until(({ round }) => round === 3);
      await end(run);
      exports.open();
      const { type } = await run.failure();
      expect(run.calls('srlmFineTune')).toHaveLength(1);
      return type;
    });
    expect(await Promise.all(types)).toEqual(['CancelledFailure', 'run.aborted']);
  });

  it('at the moment in which a round ends is cancelled all the same', async () => {
    const run = await scenarios.start({ settings: { ...SMALL, rounds: 1 }, script: FOUND });
    const { srlmKeepRound } = run.script;
    run.answer({
      srlmKeepRound: async (input, call) => {
        const cancelled = run.handle.cancel();
        if (call > 1) await cancelled;
        return srlmKeepRound!(input, call);
      },
    });
    expect((await run.failure()).type).toBe('CancelledFailure');
    expect((await run.memo()).phase).toBe('aborted');
    const executions = await run.executions();
    expect(exportsOf(run.inputs('srlmExport'))).toEqual(executions.map(({ runId }) => runId));
  });
});

describe.concurrent('two runs that have one id, one after the other', () => {
  const story = once(async () => {
    const id = `run-${Math.random()}`;
    const first = await scenarios.start({
      id,
      settings: { ...SMALL, rounds: 1 },
      script: { ...FOUND, srlmFineTune: (input, call) => (call === 1 ? trained(input) : busy()) },
    });
    await first.called('srlmFineTune', 2);
    await first.handle.terminate('the machine is wanted');
    const second = await scenarios.start({ id, settings: { ...SMALL, approvals: ['catalysts'] } });
    await second.waiting('catalysts');
    const { workflow } = scenarios.env.client;
    const by = (firstExecutionRunId: string) => workflow.getHandle(id, undefined, { firstExecutionRunId });
    const options = { args: [{ who: 'ana', why: '' }] as [object] };
    const refused = await Promise.all([
      by(first.firstRunId)
        .executeUpdate(updateName('approve'), options)
        .catch((error) => error.name),
      by(first.firstRunId)
        .cancel()
        .catch((error) => error.name),
    ]);
    const { interventionCount } = await second.state();
    await by(second.firstRunId).executeUpdate(updateName('approve'), options);
    return { first, second, refused, interventionCount, result: await second.result() };
  });

  it('can follow each other after the first was terminated', async () => {
    const { result } = await story();
    expect(result).toMatchObject({ best: 0, stopped: false });
  });

  it('differ in the run id of their first execution', async () => {
    const { refused, interventionCount } = await story();
    expect(refused).toEqual(['WorkflowNotFoundError', 'WorkflowNotFoundError']);
    expect(interventionCount).toBe(0);
  });

  it('export their histories to places of their own', async () => {
    const { first, second } = await story();
    const places = (run: typeof first) => new Set(run.inputs('srlmExport').map(({ firstRunId }) => firstRunId));
    expect(places(first)).toEqual(new Set([first.firstRunId]));
    expect(places(second)).toEqual(new Set([second.firstRunId]));
  });
});

describe.concurrent("a workflow of the user's own that runs srlm as its child", () => {
  /** `executeAsChild` is all that such a workflow needs: here it is the whole of it. */
  const start = async (child: ReturnType<Scenarios['expect']>) =>
    scenarios.env.client.workflow.start('executeAsChild', {
      workflowId: `${child.id}-parent`,
      taskQueue: scenarios.taskQueue,
      args: ['srlmRun', scenarios.input({ ...SMALL, rounds: 1 }), { workflowId: child.id }],
    });

  it('has its result, from the last of its executions', async () => {
    const child = scenarios.expect({ script: FOUND });
    const parent = await start(child);
    expect(await parent.result()).toEqual(await child.result());
    expect(await child.executions()).toHaveLength(2);
  });

  it('takes it along when it is cancelled: the execution that runs now is cancelled', async () => {
    const child = scenarios.expect({
      script: { ...FOUND, srlmFineTune: (input, call) => (call === 1 ? trained(input) : busy()) },
    });
    const parent = await start(child);
    await child.called('srlmFineTune', 2);
    await parent.cancel();
    await expect(parent.result()).rejects.toThrow();
    const states = await Promise.all([parent.describe(), child.handle.describe()]);
    expect(states.map(({ status }) => status.name)).toEqual(['CANCELLED', 'CANCELLED']);
    expect((await child.memo()).phase).toBe('aborted');
  });
});

describe.concurrent('a run that finds an object damaged in round 2', () => {
  /** What was set, promoted and approved before; the first pass begins with round 2. */
  const story = once(async () => {
    const mixed = gate();
    const run = await scenarios.start({
      settings: { ...SMALL, rounds: 2, approvals: ['before-train'] },
      fromRound: 2,
      progress: { usage: usage(500) },
      record: {
        changes: [
          { fromRound: 1, set: { 'sampling.k': 8 } },
          { fromRound: 2, set: { 'training.epochs': 1, 'budget.tokens': 5000 } },
        ],
        overrides: [{ round: 0, verdict: 'promote', before: 2 }],
        approved: { catalysts: -1, 'before-train': 2, 'after-round': -1 },
      },
      script: {
        ...FOUND,
        srlmMix: (_, call) => {
          if (call === 1) throw failure('artifact.damaged', 'A chunk of the set is gone.');
          return call === 2 ? mixed.wait.then(() => dataset('mixture')) : dataset('mixture');
        },
      },
    });
    await run.called('srlmMix', 2);
    const refusals = {
      begun: await run.refused('set', { set: { 'sampling.k': 2 }, fromRound: 1 }),
      rounds: await run.refused('set', { set: { rounds: 1 } }),
    };
    await run.command('set', { set: { 'budget.tokens': 9000 } });
    const repaired = await run.state();
    mixed.open();
    const result = await run.result();
    return { run, refusals, repaired, result, rounds: run.rounds(result), executions: await run.executions() };
  });

  it('goes through all its steps again, from the first one, in executions of their own', async () => {
    const { run, rounds, executions, result } = await story();
    expect(executions).toHaveLength(4);
    expect(rounds.map(({ round }) => round)).toEqual([0, 1, 2]);
    expect(rounds.every(({ steps }) => steps.some(({ step }) => step === 'fineTune'))).toBe(true);
    expect(run.table(result).preparation.map(({ step }) => step)).toEqual(['prepare', 'ingest examples']);
  });

  it('warns of it, and keeps what was used before', async () => {
    const { repaired } = await story();
    expect(repaired).toMatchObject({ repairs: 1, round: 0, reached: 2, usage: { tokens: 500 } });
    expect(repaired.warnings).toEqual(['Made again: A chunk of the set is gone.']);
  });

  it('has in each round the settings that held there', async () => {
    const { run } = await story();
    expect(run.inputs('srlmOpenStep').map(({ round, sampling }) => [round, sampling.k])).toEqual([
      ...[
        [2, 8],
        [1, 8],
        [2, 8],
      ],
    ]);
    expect(run.inputs('srlmFineTune').map(({ training }) => training.epochs)).toEqual([3, 3, 1]);
  });

  it('asks for no approval again, and starts round 2 from the promoted round', async () => {
    const { run, rounds } = await story();
    expect(run.inputs('srlmOpenStep').map(({ model: one }) => one)).toEqual([
      ...[model('model 0'), rounds[0]!.model, rounds[0]!.model],
    ]);
  });

  it('lets nobody set what the rounds before the damage have used', async () => {
    const { refusals } = await story();
    expect(refusals).toEqual({
      begun: 'round 1 has begun: the first that has not is 3',
      rounds: 'rounds: round 2 has begun',
    });
  });

  it('takes a budget that is set meanwhile for all rounds to come', async () => {
    const { run } = await story();
    expect(run.inputs('srlmFineTune').map(({ tokenBound }) => tokenBound)).toEqual([8500, 7500, 6500]);
  });

  it.each(['round', 'step'])(
    'does not give up the rounds before the damage when it is to stop after the %s',
    async (after) => {
      const held = gate();
      const run = await scenarios.start({
        settings: { ...SMALL, rounds: 3 },
        script: {
          ...FOUND,
          srlmFineTune: (input, call) =>
            call === 2
              ? held.wait.then(() => Promise.reject(failure('artifact.damaged', 'A page is gone.')))
              : trained(input),
        },
      });
      await run.called('srlmFineTune', 2);
      await run.command('stop', { after });
      held.open();
      const result = await run.result();
      expect(result.stopped).toBe(true);
      expect(run.rounds(result).map(({ round }) => round)).toEqual(after === 'round' ? [0, 1] : [0]);
    },
  );

  it('fails after twenty repairs: then it is the disk', async () => {
    const run = await scenarios.start({
      settings: { ...SMALL, rounds: 1 },
      fromRound: 1,
      progress: { repairs: 20 },
      script: { srlmOpenStep: fails('artifact.damaged', 'A page is gone.') },
    });
    expect(await run.failure()).toEqual({ type: 'artifact.damaged', message: 'A page is gone.' });
    expect((await run.memo()).phase).toBe('failed');
  });
});

describe.concurrent('a fork', () => {
  /** Its parent rejected round 0 and set something for round 1; the fork begins with all that. */
  const story = once(async () => {
    const settings = { ...SMALL, rounds: 1, approvals: ['catalysts', 'before-train', 'after-round'] };
    const fork = { of: 'parent', fromRound: 1, fields: ['sampling.k'] };
    const record: Partial<OperatorRecord> = {
      changes: [
        { fromRound: 0, set: { 'training.epochs': 1 } },
        { fromRound: 1, set: { 'sampling.k': 8 } },
      ],
      overrides: [{ round: 0, verdict: 'roll-back', before: 1 }],
      approved: { catalysts: 0, 'before-train': 0, 'after-round': 0 },
    };
    const run = await scenarios.start({
      args: [{ ...scenarios.input(settings), fork }, scenarios.record(record)],
      script: FOUND,
    });
    const first = await run.until(({ halt }) => halt, 'it waits');
    await run.command('approve');
    await run.waiting('after-round', 1);
    await run.command('approve');
    return { run, first, memo: await run.memo(), result: await run.result() };
  });

  it('names its parent in the memo', async () => {
    expect((await story()).memo.forkOf).toBe('parent');
  });

  it('asks for no approval that its parent had', async () => {
    expect((await story()).first.halt).toMatchObject({ approval: 'before-train', round: 1 });
  });

  it('has the settings and verdicts of its parent from their rounds on', async () => {
    const { run, result } = await story();
    expect(run.inputs('srlmFineTune').map(({ training }) => training.epochs)).toEqual([1, 1]);
    expect(run.inputs('srlmOpenStep')).toMatchObject([{ model: model('start'), sampling: { k: 8 } }]);
    expect(result.best).toBe(1);
  });
});
