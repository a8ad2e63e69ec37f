/** What a run does when nothing goes wrong: its steps, in which order, with which inputs, and what it records of them. */
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EvaluationKind } from '../../contracts/evaluation-sets.js';
import type { SampleResult } from '../../contracts/run.js';
import type { RoundSummary, ShardedStep } from '../../contracts/steps.js';
import { planShards } from '../../workflows/steps/shards.js';
import { Scenarios, SMALL } from './scenario.js';
import { dataset, done, evaluation, FOUND, fails, failure, model, object, set, shard, usage } from './script.js';
import { busy, gate, once } from './waiting.js';

let scenarios: Scenarios;
beforeAll(async () => {
  scenarios = await Scenarios.open();
});
afterAll(() => scenarios?.close());

describe.concurrent('a run with catalysts, an evaluation and both scores', () => {
  const story = once(async () => {
    const run = await scenarios.start({
      settings: { rounds: 1, catalysts: { copies: 3, use: 'answer' }, selection: { selector: 'rank-sum' } },
    });
    const result = await run.result();
    return { run, result, table: run.table(result), rounds: run.rounds(result) as [RoundSummary, RoundSummary] };
  });
  const sharded = ['srlmOpenStep', 'srlmShard', 'srlmAssemble'];

  it('prepares, trains on the data as it came, then enriches it and trains again', async () => {
    const { run } = await story();
    const end = ['srlmMix', 'srlmFineTune', ...sharded, 'srlmGrade'];
    expect(run.asked()).toEqual([
      ...['srlmPrepareModel', 'srlmIngest', 'srlmIngest', 'srlmIngest', ...end, 'srlmWatch', 'srlmKeepRound'],
      ...[...sharded, 'srlmParse', ...sharded, ...sharded, ...sharded, ...sharded, 'srlmSelect'],
      ...[...end, 'srlmReport', 'srlmWatch', 'srlmGate', 'srlmKeepRound'],
    ]);
  });

  it('ingests each of the three files as what it is', async () => {
    const { run } = await story();
    expect(run.inputs('srlmIngest').map(({ kind, source, chunkSize }) => [kind, source, chunkSize])).toEqual([
      ['examples', 'data', 32],
      ['catalysts', 'catalysts', 32],
      ['questions', 'evaluation', 64],
    ]);
  });

  it('enriches the set of the round before with the model of the round before', async () => {
    const { run, rounds } = await story();
    const [, sample] = run.inputs('srlmOpenStep');
    expect(sample).toMatchObject({ step: 'sample', purpose: 'enrich', model: rounds[0].model, round: 1 });
    expect(sample.data).toEqual(rounds[0].set.dataset);
  });

  it('scores under the model of the round before, and under the starting model, with and without rationales', async () => {
    const { run, rounds } = await story();
    const scores = run.inputs('srlmOpenStep').filter(({ step }) => step === 'logprob');
    expect(scores.map((one) => [one.model, one.candidates, one.data])).toEqual([
      [rounds[0].model, expect.anything(), rounds[0].set.dataset],
      [rounds[0].model, null, dataset('examples')],
      [model('start'), expect.anything(), rounds[0].set.dataset],
      [model('start'), null, dataset('examples')],
    ]);
    const [{ scores: kept, withoutRationale }] = run.inputs('srlmSelect');
    expect([kept, withoutRationale].map((one) => Object.keys(one))).toEqual([
      ['on-policy', 'off-policy'],
      ['on-policy', 'off-policy'],
    ]);
  });

  it('mixes in the catalysts as often and in the way that the spec says', async () => {
    const { run, rounds } = await story();
    const catalysts = { catalysts: dataset('catalysts'), copies: 3, use: 'answer' };
    expect(run.inputs('srlmMix')).toMatchObject([
      { data: dataset('examples'), ...catalysts },
      { data: rounds[1].set.dataset, ...catalysts },
    ]);
  });

  it('evaluates each round with its own model, greedily, and asks the gate from the second on', async () => {
    const { run, rounds } = await story();
    const asked = run.inputs('srlmOpenStep').filter(({ purpose }) => purpose === 'evaluate');
    expect(asked.map((one) => one.model)).toEqual(rounds.map((one) => one.model));
    expect(asked[0].sampling).toMatchObject({ k: 1, temperature: 0 });
    expect(run.inputs('srlmGate')).toMatchObject([{ best: rounds[0].evaluation, current: rounds[1].evaluation }]);
  });

  it('trains each round from the starting model', async () => {
    const { run } = await story();
    expect(run.inputs('srlmFineTune').map(({ base }) => base)).toEqual([model('start'), model('start')]);
  });

  it('records what each step has cost, and those before the first round by themselves', async () => {
    const { table, rounds } = await story();
    const names = (steps: { step: string }[]) => steps.map(({ step }) => step);
    expect(names(table.preparation)).toEqual(['prepare', 'ingest examples', 'ingest catalysts', 'ingest questions']);
    expect(names(rounds[0].steps)).toEqual(['mix', 'fineTune', 'evaluate', 'grade', 'watch']);
    expect(names(rounds[1].steps)).toEqual([
      ...['sample', 'parse'],
      ...['logprob (current model)', 'logprob (current model, no rationale)'],
      ...['logprob (reference)', 'logprob (reference, no rationale)', 'select'],
      ...['mix', 'fineTune', 'evaluate', 'grade', 'report', 'watch', 'gate'],
    ]);
    const costs = rounds[1].steps.map(({ usage, reused }) => [usage?.tokens ?? 0, reused]);
    expect(costs).toEqual([100, 0, 100, 100, 100, 100, 0, 0, 1000, 100, 0, 0, 0, 0].map((tokens) => [tokens, false]));
    expect(rounds[1].steps.every(({ seconds }) => seconds > 0)).toBe(true);
  });

  it('reports the set, what changed in it, and where the candidates are', async () => {
    const { rounds } = await story();
    expect(rounds[0]).toMatchObject({ changed: null, candidates: null, decisions: null, gate: null });
    expect(rounds[0].set).toMatchObject({ dataset: dataset('examples'), enriched: 0, meanRationaleChars: 18 });
    expect(rounds[1]).toMatchObject({ changed: 20, decisions: dataset('decisions 1'), gate: { verdict: 'keep' } });
    expect(rounds[1].set).toMatchObject({ enriched: 21, meanRationaleChars: 50 });
  });
});

describe.concurrent('a run of three more rounds, with another selector in each', () => {
  /** Round 1 is a little worse than round 0, round 2 is rolled back, round 3 stops the run. */
  const story = once(async () => {
    const run = await scenarios.start({
      settings: { ...SMALL, evaluation: {}, rounds: 9, training: { from: 'previous' } },
      fromRound: 1,
      evaluated: true,
      record: {
        changes: [
          { fromRound: 1, set: { 'selection.selector': 'rlpr', 'selection.scores': 'needed' } },
          { fromRound: 2, set: { 'selection.selector': 'off-policy', 'selection.scores': null } },
          { fromRound: 3, set: { 'selection.selector': 'length' } },
        ],
      },
      script: {
        ...FOUND,
        srlmGrade: (_, call) => done(evaluation(`round ${call}`, 0.49)),
        srlmGate: (_, call) => ({ verdict: ['keep', 'roll-back', 'stop'][call - 1], difference: 0, low: 0, high: 0 }),
      },
    });
    const result = await run.result();
    return { run, result, rounds: run.rounds(result) };
  });

  it('computes the scores that the spec wants kept: those that the selector reads, all, or none', async () => {
    const { run } = await story();
    const kept = run.inputs('srlmSelect').map(({ scores, withoutRationale }) => [scores, withoutRationale]);
    expect(kept.map((both) => both.map((one) => Object.keys(one)))).toEqual([
      [['on-policy'], ['on-policy']],
      [
        ['on-policy', 'off-policy'],
        ['on-policy', 'off-policy'],
      ],
      [[], []],
    ]);
  });

  it('scores the answer alone on the rows that the run began with, so that a later round finds it', async () => {
    const { run, rounds } = await story();
    const alone = run.inputs('srlmOpenStep').filter((one) => one.step === 'logprob' && one.candidates === null);
    expect(alone.map((one) => [one.data, one.model])).toEqual([
      [dataset('examples'), model('model 0')],
      [dataset('examples'), rounds[1]!.model],
      [dataset('examples'), model('start')],
    ]);
  });

  it('trains from the model of the round before; after a roll-back, from the best', async () => {
    const { run, rounds } = await story();
    expect(run.inputs('srlmFineTune').map(({ base }) => base)).toEqual([
      ...[model('model 0'), rounds[1]!.model, model('model 0')],
    ]);
    expect(run.inputs('srlmOpenStep').filter(({ purpose }) => purpose === 'enrich')[2]).toMatchObject({
      data: set('set 0').dataset,
    });
  });

  it('compares each round with the best, and counts the rounds rolled back in a row', async () => {
    const { run } = await story();
    const asked = run.inputs('srlmGate');
    expect(asked.map(({ best }) => best)).toEqual([1, 2, 3].map(() => evaluation('round 0')));
    expect(asked.map(({ rollbacksInARow }) => rollbacksInARow)).toEqual([0, 0, 1]);
  });

  it('ends where the gate stops it, with the best round', async () => {
    const { result, rounds } = await story();
    expect(rounds.map(({ gate }) => gate?.verdict)).toEqual([undefined, 'keep', 'roll-back', 'stop']);
    expect(result).toMatchObject({ best: 0, model: model('model 0'), stopped: false });
  });

  it('asks for no shard of a step that is found done, and records that it was found', async () => {
    const { run, rounds } = await story();
    expect(run.asked()).not.toContain('srlmShard');
    expect(run.asked()).not.toContain('srlmAssemble');
    expect(rounds[1]!.steps.find(({ step }) => step === 'sample')).toMatchObject({ reused: true, usage: null });
  });
});

describe.concurrent('a run with further evaluation sets', () => {
  const opened = (name: string, kind: EvaluationKind | null, watch = false) => {
    return { questions: dataset(`questions of ${name}`), kind, watch, maxTokens: 7 };
  };
  const others = {
    reply: opened('reply', null),
    choices: opened('choices', 'choice-likelihood'),
    talk: opened('talk', 'likelihood', true),
  };
  const sets = object('sets');
  const story = once(async () => {
    const run = await scenarios.start({
      args: [{ ...scenarios.input({ rounds: 0 }), sets: { ...sets, others: 3 } }],
      script: {
        srlmOpenSets: () => ({ sets: others }),
        srlmGrade: ({ replies }, call) => {
          if (call === 2) throw failure('grading.broken');
          return done(evaluation(replies.sha256));
        },
      },
    });
    const parked = await run.parked('grade (set 2)');
    await run.command('skip', { who: 'me', why: 'it is broken' });
    const result = await run.result();
    return { run, parked, rounds: run.rounds(result) as [RoundSummary] };
  });

  it('evaluates them after the gate’s, each by its kind, by alphabet and without their names', async () => {
    const { run } = await story();
    const sharded = ['srlmOpenStep', 'srlmShard', 'srlmAssemble'];
    expect(run.asked().slice(6)).toEqual([
      ...[...sharded, 'srlmGrade', 'srlmOpenSets'],
      ...['srlmAnswerRows', ...sharded, 'srlmGradeLogprobs'],
      ...[...sharded, 'srlmGrade'],
      ...[...sharded, 'srlmAnswerRows', ...sharded, 'srlmGradeLogprobs'],
      ...['srlmReport', 'srlmWatch', 'srlmKeepRound'],
    ]);
    const [, logprob, replies, , scored] = run.inputs('srlmOpenStep');
    expect(logprob).toMatchObject({ step: 'logprob', candidates: null, data: { rows: 64 } });
    expect(replies).toMatchObject({ purpose: 'evaluate', data: dataset('questions of reply') });
    expect(replies.sampling).toMatchObject({ k: 1, temperature: 0, maxTokens: 7 });
    expect(scored).toMatchObject({ step: 'logprob', candidates: dataset('rationales') });
    expect(run.inputs('srlmOpenSets')).toEqual([{ sets, texts: object('texts') }]);
    expect(run.inputs('srlmGrade').map(({ leftOut }) => leftOut.set)).toEqual([null, 'reply']);
    const state = (await story()).parked;
    expect(state.steps.map(({ step }) => step).join()).not.toMatch(/reply|choices|talk/);
  });

  it('reports them, without one that an operator has skipped', async () => {
    const { run, rounds } = await story();
    const [{ others: reported, evaluation: gate, best, round }] = run.inputs('srlmReport');
    expect(Object.entries(reported)).toMatchObject([
      ['choices', { kind: 'choice-likelihood', watch: false, value: 0.5, total: 30, leftOut: 2 }],
      ['talk', { kind: 'likelihood', watch: true }],
    ]);
    expect([gate, best, round]).toEqual([rounds[0].evaluation, null, 0]);
    expect(rounds[0].report).toEqual(object('report 0'));
  });

  it('keeps what they cost as one step of the round', async () => {
    const { rounds } = await story();
    const sets = rounds[0].steps.filter(({ step }) => step.includes('set'));
    expect(sets).toMatchObject([{ step: 'evaluate (sets)', usage: { tokens: 400 } }]);
  });
});

describe.concurrent('a run whose set for the gate is scored by its choices', () => {
  it('has a score and a gate as any other', async () => {
    const run = await scenarios.start({ settings: { evaluation: { kind: 'choice-likelihood' } } });
    const [first, second] = run.rounds(await run.result()) as [RoundSummary, RoundSummary];
    expect(first.evaluation).toMatchObject({ accuracy: 0.5, correct: 15, total: 30, leftOut: 2 });
    expect(run.inputs('srlmGate')).toMatchObject([{ best: first.evaluation, current: second.evaluation }]);
    expect(run.inputs('srlmGrade')).toEqual([]);
  });
});

describe.concurrent('a run whose data has no rationales, no catalysts and no questions', () => {
  const story = once(async () => {
    const run = await scenarios.start({
      settings: { ...SMALL, rationalizeEngine: 'teacher' },
      script: {
        ...FOUND,
        srlmIngest: () => done({ dataset: dataset('examples'), missingRationales: 3, meanRationaleChars: 7 }),
      },
    });
    const result = await run.result();
    return { run, result, rounds: run.rounds(result) };
  });

  it('has the missing rationales written first, by the engine that the spec names', async () => {
    const { run, rounds } = await story();
    expect(run.asked()).toEqual([
      ...['srlmPrepareModel', 'srlmIngest', 'srlmOpenStep', 'srlmAddRationales'],
      ...['srlmMix', 'srlmFineTune', 'srlmKeepRound'],
    ]);
    expect(run.inputs('srlmOpenStep')).toMatchObject([
      { purpose: 'rationalize', engine: 'teacher', model: model('start'), sampling: { k: 1, maxTokens: 160 } },
    ]);
    expect(rounds[0]!.set).toMatchObject({ dataset: dataset('with rationales'), meanRationaleChars: 20 });
  });

  it('mixes in no catalysts, and evaluates nothing', async () => {
    const { run, rounds, result } = await story();
    expect(run.inputs('srlmMix')).toMatchObject([{ catalysts: null, copies: 1, use: 'enrich' }]);
    expect(rounds[0]).toMatchObject({ evaluation: null, gate: null });
    expect(result.best).toBe(0);
  });
});

describe.concurrent('the shards of a step', () => {
  /** 40 chunks in windows of three. Both first shards find that the engine has halved its batch; a later one is cut short. */
  const story = once(async () => {
    const inHand = { now: 0, most: 0 };
    const full = gate();
    const run = await scenarios.startSample({
      config: { shardsInFlight: 3 },
      script: {
        srlmIngest: () => done({ dataset: dataset('prompts', 1280, 40), missingRationales: 0, meanRationaleChars: 0 }),
        srlmShard: async ({ from, to }, call) => {
          inHand.most = Math.max(inHand.most, ++inHand.now);
          if (inHand.now === 3) full.open();
          await full.wait;
          await sleep(50);
          inHand.now--;
          if (call <= 2) throw failure('engine.batch-halved', 'Memory ran out: 64 sequences at once, now 32.');
          return shard(to - from, call === 3 ? { complete: false, rows: 32 } : {});
        },
        srlmExport: async () => busy(held.wait),
      },
    });
    await run.called('srlmExport');
    const state = await run.state();
    held.open();
    return { run, inHand, state, result: await run.result<SampleResult>() };
  });
  const held = gate();

  it('never run in greater number than the deployment allows', async () => {
    expect((await story()).inHand).toEqual({ now: 0, most: 3 });
  });

  it('cover all chunks once, and are asked for again where one is not complete', async () => {
    const { run } = await story();
    const ranges = run.inputs('srlmShard').map(({ from, to }) => [from, to]);
    const once = [...new Map(ranges.map((range) => [range[0], range])).values()].sort((a, b) => a[0]! - b[0]!);
    expect(once).toEqual(planShards(40, 3).map(({ from, to }) => [from, to]));
    expect(ranges).toHaveLength(once.length + 3);
  });

  it('that find the batch of their engine halved are tried again, and that is recorded once', async () => {
    const { state } = await story();
    expect(state.interventions).toMatchObject([
      { kind: 'decision', who: 'srlm', why: 'Memory ran out: 64 sequences at once, now 32.', step: 'sample' },
    ]);
  });

  it('make one data set, the result of a sampling', async () => {
    const { run, state, result } = await story();
    expect(state.steps.at(-1)).toMatchObject({ step: 'sample', state: 'done', rowsDone: 1280, rowsTotal: 1280 });
    expect(result.prompts).toEqual(dataset('prompts', 1280, 40));
    expect(run.inputs('srlmOpenStep')).toMatchObject([{ purpose: 'prompt', model: null, data: result.prompts }]);
    expect(run.asked().at(-1)).toBe('srlmAssemble');
  });

  describe('of which one fails', () => {
    const failed = once(async () => {
      const others = gate();
      const run = await scenarios.startSample({
        config: { shardsInFlight: 2 },
        script: {
          srlmIngest: () => done({ dataset: dataset('prompts', 128, 4), missingRationales: 0, meanRationaleChars: 0 }),
          srlmShard: ({ from, to }, call) => {
            if (call <= 2 && from === 0) throw failure('engine.refused');
            return call <= 2 ? others.wait.then(() => shard(to - from)) : shard(to - from);
          },
        },
      });
      await run.called('srlmShard', 2);
      const meanwhile = await run.state();
      others.open();
      const { halt } = await run.parked('sample');
      await run.command('retry');
      await run.result();
      return { run, meanwhile, halt };
    });

    it('let the others end first, and keep what they did', async () => {
      const { meanwhile, halt } = await failed();
      expect(meanwhile.halt).toBeNull();
      expect(halt).toMatchObject({ type: 'engine.refused', kept: '64 of 128 rows are done and kept.' });
    });

    it('know up to when the cost of their chunks is counted', async () => {
      const { run, meanwhile } = await failed();
      const began = Date.parse(meanwhile.steps.at(-1)!.startedAt);
      const [first, second, firstAgain, secondAgain] = [0, 2, 0, 2].map((from, i) => {
        const asked = run.inputs('srlmShard').filter((one) => one.from === from);
        return asked[i < 2 ? 0 : 1].countedUntil;
      });
      expect([first, second, firstAgain]).toEqual([began, began, began]);
      expect(secondAgain).toBeGreaterThan(began);
    });
  });

  it('that fail because they were interrupted by a pause are tried again, and park nothing', async () => {
    const run = await scenarios.startSample({
      script: { srlmShard: (_, call) => (call === 1 ? busy().catch(fails('engine.refused')) : shard(1)) },
    });
    await run.called('srlmShard');
    await run.command('pause');
    await run.command('resume');
    await run.result();
    expect(run.calls('srlmShard')).toHaveLength(2);
  });

  const chunksAndLanes = [fc.integer({ min: 1, max: 100_000 }), fc.integer({ min: 1, max: 200 })] as const;

  it('cover all chunks in order, differ in size by one chunk at most, and are never more than 300', () => {
    fc.assert(
      fc.property(...chunksAndLanes, (chunks, inFlight) => {
        const ranges = planShards(chunks, inFlight);
        const sizes = ranges.map(({ from, to }) => to - from);
        expect(ranges.map(({ from }) => from)).toEqual([0, ...ranges.slice(0, -1).map(({ to }) => to)]);
        expect(ranges.at(-1)?.to).toBe(chunks);
        expect(Math.min(...sizes)).toBeGreaterThan(0);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
        expect(ranges.length).toBeLessThanOrEqual(300);
      }),
    );
  });

  it('fill the window as soon as there are enough chunks', () => {
    fc.assert(
      fc.property(...chunksAndLanes, (chunks, inFlight) => {
        expect(planShards(chunks, inFlight).length).toBeGreaterThanOrEqual(Math.min(chunks, inFlight));
      }),
    );
    expect(planShards(0, 8)).toEqual([]);
  });
});

describe.concurrent('an evaluation that draws samples and enriches them twice', () => {
  const WITH = { ...SMALL, evaluation: { samples: 8, enrich: 2, temperature: 0.9 } };
  const story = once(async () => {
    const run = await scenarios.start({ settings: WITH, script: FOUND });
    const result = await run.result();
    return { run, rounds: run.rounds(result) as [RoundSummary], steps: run.inputs('srlmOpenStep') };
  });

  it('asks for greedy replies first, which are the score, then for samples, then for each of them enriched', async () => {
    const { run, rounds, steps } = await story();
    expect(run.asked().slice(-9, -2)).toEqual([
      ...['srlmFineTune', 'srlmOpenStep', 'srlmGrade', 'srlmOpenStep', 'srlmOpenStep', 'srlmOpenStep', 'srlmCurves'],
    ]);
    expect(steps).toMatchObject([
      { step: 'sample', purpose: 'evaluate', sampling: { k: 1, temperature: 0 } },
      { step: 'sample', purpose: 'evaluate', sampling: { k: 8, temperature: 0.9 }, round: 0 },
      { step: 'deepen', depth: 1, sampling: { temperature: 0.9 } },
      { step: 'deepen', depth: 2, sampling: { temperature: 0.9 } },
    ]);
    const found = steps.map((step) => dataset(`found ${JSON.stringify(step)}`));
    expect(steps.slice(2).map(({ replies }) => replies)).toEqual(found.slice(1, 3));
    expect(run.inputs('srlmGrade')).toMatchObject([{ replies: found[0] }]);
    expect(run.inputs('srlmCurves')).toMatchObject([
      { replies_D: found.slice(1), temperature: 0.9, evaluation: { accuracy: 0.5 } },
    ]);
    expect(rounds[0].curves).toEqual(object(`curves ${JSON.stringify(found.slice(1))}`));
    expect(rounds[0].steps.map(({ step }) => step).slice(2)).toEqual([
      ...['evaluate', 'grade', 'curves (samples)', 'curves (depth 1)', 'curves (depth 2)', 'curves', 'watch'],
    ]);
  });

  it('keeps its score where somebody skips them', async () => {
    const srlmOpenStep = (step: ShardedStep) =>
      step.step === 'deepen' ? fails('engine.lacks')() : FOUND.srlmOpenStep!(step, 1);
    const run = await scenarios.start({ settings: WITH, script: { ...FOUND, srlmOpenStep } });
    await run.parked('curves (depth 1)');
    await run.command('skip');
    const [round] = run.rounds(await run.result()) as [RoundSummary];
    expect(round.evaluation).not.toBeNull();
    expect(round.curves).toBeUndefined();
    expect(run.calls('srlmCurves')).toEqual([]);
  });

  it('enriches the greedy reply itself, greedily, where one sample is asked for', async () => {
    const run = await scenarios.start({ settings: { ...SMALL, evaluation: { enrich: 1 } }, script: FOUND });
    await run.result();
    const [greedy, same, deeper] = run.inputs('srlmOpenStep');
    // Found under its key.
    expect(same).toEqual(greedy);
    expect(deeper).toMatchObject({ step: 'deepen', depth: 1, sampling: { temperature: 0 } });
    expect(deeper.replies).toEqual(dataset(`found ${JSON.stringify(greedy)}`));
    expect(run.inputs('srlmCurves')).toMatchObject([{ temperature: 0 }]);
  });
});

describe.concurrent('a sampling', () => {
  /** Paused in its shards; then the result is damaged, and all is done again. */
  const story = once(async () => {
    const run = await scenarios.startSample({
      script: {
        srlmIngest: () => done({ dataset: dataset('prompts', 64, 2), missingRationales: 0, meanRationaleChars: 0 }),
        srlmShard: ({ from, to }, call) =>
          call <= 2 ? busy().catch(() => shard(0, { complete: false, usage: usage(10) })) : shard(to - from),
        srlmAssemble: (_, call) =>
          call === 1 ? fails('artifact.damaged', 'A chunk is gone.')() : done(dataset('replies')),
      },
    });
    await run.called('srlmShard', 2);
    const refused = await run.refused('set', { set: { 'sampling.k': 2 }, fromRound: 1 });
    await run.command('pause');
    await run.until(({ usage: { tokens } }) => tokens === 20, 'both shards have ended');
    const { phase } = await run.memo();
    await run.command('resume');
    const result = await run.result<SampleResult>();
    return { run, refused, phase, result, executions: await run.executions() };
  });

  it('pauses, and resumes where it was', async () => {
    const { phase, result } = await story();
    expect(phase).toBe('paused');
    expect(result.candidates).toEqual(dataset('replies'));
  });

  it('repairs itself in a second execution', async () => {
    const { run, executions } = await story();
    expect(executions).toHaveLength(2);
    expect(run.asked().filter((name) => name === 'srlmIngest')).toHaveLength(2);
  });

  it('has no rounds for which something could be set', async () => {
    expect((await story()).refused).toBe('a sampling has no rounds: leave --from-round out');
  });
});
