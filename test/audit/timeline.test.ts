/** Timelines of histories built by hand: which entries there are, in which order and in which words. */
import { describe, expect, it } from 'vitest';
import type { Execution } from '../../audit/events.js';
import { buildTimeline } from '../../audit/history-reader.js';
import { renderTimeline } from '../../audit/render-timeline.js';
import type { Entry, EntryOf, Timeline } from '../../audit/timeline.js';
import type { SettingChange } from '../../contracts/run.js';
import { columns } from '../../text/columns.js';
import {
  dataset,
  done,
  evaluation,
  failure,
  HistoryBuilder,
  head,
  model,
  object,
  PREPARED,
  payloads,
  prepare,
  progress,
  record,
  runInput,
  sha,
  summary,
  train,
  usage,
  WORKFLOW,
  wholeRun,
} from './histories.js';

const timelineOf = (...executions: (HistoryBuilder | Execution)[]): Promise<Timeline> =>
  buildTimeline({
    ...{ workflowId: WORKFLOW, firstRunId: 'exec-1' },
    executions: executions.map((one) => ('execution' in one ? one.execution : one)),
  });
/** Without the times before them. */
const wordsOf = (timeline: Timeline) =>
  renderTimeline(timeline, 200).map((line) => line.replace(/^\d\d:\d\d:\d\d +/, '').trim());
const lines = async (...executions: HistoryBuilder[]) => wordsOf(await timelineOf(...executions));
const kinds = ({ entries }: Timeline) => entries.map(({ kind }) => kind);
const only = <Kind extends Entry['kind']>({ entries }: Timeline, kind: Kind) =>
  entries.filter((entry): entry is EntryOf<Kind> => entry.kind === kind);
const begun = () => prepare(new HistoryBuilder('exec-1', [runInput()]));
const AFTER_ROUND_0 = { round: 1, reached: 0, prepared: PREPARED, head: head(0, 'model-0', 'data-0'), rounds: 1 };

describe('the timeline of a run', () => {
  it('follows the run through its executions, in order of time', async () => {
    const timeline = await timelineOf(...wholeRun());
    expect(timeline).toMatchObject({ run: 'run-1', type: 'run', state: 'done', fork: null });
    expect(renderTimeline(timeline, 100)).toEqual([
      'run-1 · done · 2 min 41 s · first execution exec-1',
      '2026-11-22 (UTC)',
      '10:00:00  started by ann@desk: rounds 0 to 2',
      '10:00:01  workflow worker 1@host (SDK 1.24.0, workflow code 73ce9e8cc60a)',
      '10:00:03  prepare · 2 s · 1@host',
      '            -> model 737461727400',
      '10:00:07  ingest examples · 2 s · 24 rows · 1@host',
      '            file 66696c650000 -> dataset 6578616d706c',
      '10:00:10  ROUND 0 continues from the starting model',
      '            model 737461727400 · data 646174612d30',
      '10:00:11    mix · 2 s · 30 rows · 1@host',
      '              data 646174612d30 -> data 6d6978747572',
      '10:00:15    fineTune · 1 min 2 s · 700 tokens · 1@host',
      '              base 737461727400 data 6d6978747572 -> model 6d6f64656c2d',
      '10:01:21    round 0 done after 1 min 11 s',
      '              model 6d6f64656c2d · 0/24 enriched · loss 2.500',
      '10:01:25  ROUND 1 continues from round 0',
      '            model 6d6f64656c2d · data 646174612d30',
      '10:01:26    mix · 2 s · 30 rows · 1@host',
      '              data 646174612d31 -> data 6d6978747572',
      '10:01:30    fineTune · 1 min 2 s · 700 tokens · 1@host',
      '              base 737461727400 data 6d6978747572 -> model 6d6f64656c2d',
      '10:02:36    round 1 done after 1 min 11 s',
      '              model 6d6f64656c2d · 1/24 enriched · loss 2.500',
      '10:02:41  DONE after 2 min 41 s · best round 1 · model 6d6f64656c2d',
    ]);
  });

  it('names a worker once, until another one takes over', async () => {
    const [first, second] = wholeRun();
    expect(only(await timelineOf(first, second), 'worker')).toHaveLength(1);
    first.workflowTask('2@host', 'v2');
    expect(only(await timelineOf(first, second), 'worker').map(({ identity }) => identity)).toEqual([
      ...['1@host', '2@host', '1@host'],
    ]);
  });

  it('shows attempts, workers and the last failure of a step in a sentence', async () => {
    const history = begun().memo(0, 'mix');
    history.activity('srlmMix', { data: dataset('d') }, done(dataset('m', 30), 'mix'), {
      ...{ attempt: 3, identity: '7@gpu-2', seconds: 8 },
      lastFailure: { message: 'x', timeoutFailureInfo: { timeoutType: 'TIMEOUT_TYPE_HEARTBEAT' } },
    });
    const text = await lines(history);
    expect(text).toContain('mix · 10 s · 30 rows · 7@gpu-2');
    expect(text).toContain('up to 3 attempts; the last failure: its worker stopped responding');
  });

  it('is never wider than the terminal, and has no control characters', async () => {
    const history = begun().parked(0, 'fineTune', 'x.y', `a\u001b[31mred\n ${'long '.repeat(60)}`);
    const timelines = [await timelineOf(history), await timelineOf(...wholeRun())];
    for (const width of [40, 60, 80, 120])
      for (const line of timelines.flatMap((timeline) => renderTimeline(timeline, width))) {
        expect(columns(line)).toBeLessThanOrEqual(width);
        expect(line).not.toMatch(/\p{Cc}/u);
      }
  });

  it('leaves out what a codec of the user’s has made unreadable', async () => {
    const [first, second] = wholeRun().map(({ execution }) => execution);
    const text = JSON.stringify([first, second]).replace(/"data":"[A-Za-z0-9+/=]+"/g, '"data":"AAEC"');
    const timeline = await timelineOf(...(JSON.parse(text) as Execution[]));
    expect(timeline).toMatchObject({ state: 'done', type: 'run' });
    expect(kinds(timeline)).toContain('ended');
  });
});

describe('a sharded step', () => {
  const step = {
    step: 'sample',
    purpose: 'enrich',
    model: model('model-0'),
    data: dataset('data-0'),
    texts: object('texts'),
  };
  const opened = (reused: object | null = null) => ({ step: object('step'), rows: 24, chunks: 6, done: reused });
  const shard = (from: number) => ({ step: object('step'), from, to: from + 3, share: null, countedUntil: 0 });
  const shardDone = (fields: object = {}) => ({
    ...{ rows: 12, chunksReused: 0, chunksDone: 3, complete: true, usage: usage(50), countedUntil: 0, ...fields },
  });
  const started = () =>
    new HistoryBuilder('exec-2', [runInput(), record(), progress(AFTER_ROUND_0)], {
      first: 'exec-1',
      continued: 'exec-1',
    });

  it('sums its shards up: rows, chunks that were reused, tokens, attempts', async () => {
    const history = started().memo(1, 'sample').activity('srlmOpenStep', step, opened());
    const ids = [history.scheduled('srlmShard', shard(0)), history.scheduled('srlmShard', shard(3))];
    history
      .completed(ids[0]!, shardDone(), { attempt: 2, identity: '2@gpu' })
      .completed(ids[1]!, shardDone({ chunksReused: 1, chunksDone: 2 }))
      .activity('srlmAssemble', { step: object('step') }, done(dataset('candidates'), 'sample'));
    const timeline = await timelineOf(history);
    expect(only(timeline, 'step')[0]).toMatchObject({
      ...{ step: 'sample', state: 'done', round: 1, attempts: 2, retried: 1, usage: usage(100) },
      shards: { count: 2, chunksDone: 5, chunksReused: 1 },
      reused: { whole: false, run: null },
      inputs: [{ name: 'model', sha256: sha('model-0') }, { name: 'data' }],
      outputs: [{ name: 'data', sha256: sha('candidates'), rows: 24 }],
    });
    expect(wordsOf(timeline)).toContain(
      'sample · 11 s · 2 shards, 1 retried, 24 rows · 1 of 6 chunks reused · 100 tokens · 1@host · 2@gpu',
    );
  });

  it('is reused completely when it was done before, and says by which run', async () => {
    const found = done(dataset('candidates'), 'sample', 'grandmother');
    const text = await lines(started().memo(1, 'sample').activity('srlmOpenStep', step, opened(found)));
    expect(text).toContain('sample · reused from run grandmother · 24 rows · 1@host');
    const own = done(dataset('candidates'), 'sample', WORKFLOW);
    expect(await lines(started().memo(1, 'sample').activity('srlmOpenStep', step, opened(own)))).toContain(
      'sample · reused from this run · 24 rows · 1@host',
    );
  });

  it('counts a shard once that was paused and continued', async () => {
    const history = started()
      .memo(1, 'sample')
      .activity('srlmOpenStep', step, opened())
      .activity('srlmShard', shard(0), shardDone({ chunksDone: 1, complete: false }))
      .activity('srlmShard', shard(0), shardDone({ chunksReused: 1, chunksDone: 2 }));
    const [sample] = only(await timelineOf(history), 'step');
    expect(sample).toMatchObject({ state: 'running', seconds: null, shards: { count: 1, chunksDone: 3 } });
  });

  it('continues after the engine halved its batch, which is a decision of the run, reported once', async () => {
    const history = started().memo(1, 'sample').activity('srlmOpenStep', step, opened());
    for (const from of [0, 3]) history.failed('srlmShard', shard(from), 'engine.batch-halved', 'batch 8 -> 4');
    for (const from of [0, 3]) history.activity('srlmShard', shard(from), shardDone());
    history.activity('srlmAssemble', { step: object('step') }, done(dataset('candidates'), 'sample'));
    const timeline = await timelineOf(history);
    expect(only(timeline, 'intervention')).toMatchObject([{ command: 'decision', who: 'srlm', step: 'sample' }]);
    expect(wordsOf(timeline)).toContain('continued after a failure: batch 8 -> 4');
  });
});

describe('a step that could not continue', () => {
  it('shows why, how long the run was parked, who answered and why', async () => {
    const history = begun()
      .memo(0, 'fineTune')
      .failed('srlmFineTune', { base: model('start'), data: dataset('m', 30) }, 'python.missing', 'No python.')
      .parked(0, 'fineTune')
      .wait(60)
      .command('retry', { why: 'python is back', set: { 'training.epochs': 2 } })
      .memo(0, 'fineTune')
      .activity('srlmFineTune', {}, done({ model: model('model-0') }, 'fineTune'));
    const text = await lines(history);
    expect(text.slice(text.indexOf('fineTune · failed after 2 s · 1@host'))).toEqual([
      'fineTune · failed after 2 s · 1@host',
      'base 737461727400 data 6d0000000000',
      'PARKED at fineTune for 1 min 2 s, after 1 attempt [python.missing]',
      'No python. [python.missing]',
      'RETRY by ann: (fineTune) training.epochs = 2',
      'why: python is back',
      'fineTune · 2 s · 1@host',
      '-> model 6d6f64656c2d',
    ]);
  });

  it('is parked until somebody answers', async () => {
    const timeline = await timelineOf(begun().parked(0, 'fineTune'));
    expect(timeline).toMatchObject({ state: 'parked', endedAt: null });
    expect(wordsOf(timeline).at(-2)).toBe('PARKED at fineTune, and still is, after 1 attempt [python.missing]');
  });

  it('may have used up the budget: a training says what it used before and after', async () => {
    const history = begun()
      .memo(0, 'fineTune')
      .activity('srlmFineTune', { data: dataset('m') }, { bounded: true, usage: usage(300) })
      .parked(0, 'fineTune', 'budget.spent', 'budget.tokens is used up.')
      .command('set', { set: { 'budget.tokens': 9000 } })
      .memo(0, 'fineTune')
      .activity('srlmFineTune', {}, done({ model: model('model-0') }, 'fineTune', undefined, usage(700)));
    const timeline = await timelineOf(history);
    expect(only(timeline, 'step').slice(-2)).toMatchObject([
      { state: 'interrupted', outputs: [], usage: usage(300) },
      { state: 'done', usage: usage(400) },
    ]);
    // It changed a setting, and did not answer the step.
    expect(wordsOf(timeline)).toContain('SET by ann: budget.tokens = 9000');
  });

  it('shows a smaller micro-batch as a decision of the run', async () => {
    const history = begun()
      .memo(0, 'fineTune')
      .failed('srlmFineTune', {}, 'trainer.out-of-memory', 'out of memory')
      .activity('srlmFineTune', { microBatchSize: 2 }, done({ model: model('model-0') }, 'fineTune'));
    const text = await lines(history);
    const at = text.indexOf('DECISION by srlm: (fineTune) microBatchSize = 2');
    expect(text.slice(at, at + 2)).toEqual([
      'DECISION by srlm: (fineTune) microBatchSize = 2',
      'why: memory ran out; gradients are accumulated',
    ]);
  });
});

describe('interventions', () => {
  it('are all commands, with who, why, and what exactly', async () => {
    const history = begun()
      .memo(0, 'mix')
      .command('pause', { why: 'lunch' })
      .command('resume')
      .command('set', { set: { 'sampling.k': 8 }, fromRound: 1 })
      .command('promote', { round: 0 })
      .command('stop', { after: 'round', gently: true });
    const timeline = await timelineOf(history);
    expect(only(timeline, 'intervention').at(-1)?.fields).toEqual({ after: 'round', gently: true });
    expect(wordsOf(timeline).slice(-6)).toEqual([
      'PAUSE by ann',
      'why: lunch',
      'RESUME by ann',
      'SET by ann: sampling.k = 8 from round 1 on',
      'PROMOTE by ann: round 0',
      // A field that this version does not know.
      'STOP by ann: after this round gently = true',
    ]);
  });

  it('answer an approval that the run waited for', async () => {
    const history = begun()
      .memo(0, 'mix')
      .waiting(0, 'mix', 'before-train')
      .wait(30)
      .command('approve', { why: 'looks right' })
      .memo(0, 'fineTune');
    expect((await lines(history)).slice(-3)).toEqual([
      'WAITING for approval (before-train) for 32 s',
      'APPROVE by ann: (before-train)',
      'why: looks right',
    ]);
    const timeline = await timelineOf(begun().memo(0, 'mix').waiting(0, 'mix', 'before-train'));
    expect(timeline.state).toBe('waiting');
    expect(wordsOf(timeline).at(-1)).toBe('WAITING for approval (before-train), and still is');
  });

  it('may end the run: aborted, cancelled or terminated', async () => {
    const aborted = begun()
      .memo(0, 'mix')
      .command('abort', { why: 'not wanted' })
      .memo(0, 'mix', null, 'aborted')
      .event('WORKFLOW_EXECUTION_FAILED', {
        workflowExecutionFailedEventAttributes: {
          failure: failure('run.aborted', 'Aborted at mix by ann: not wanted.'),
        },
      });
    expect((await lines(aborted)).slice(-5)).toEqual([
      'ABORT by ann',
      'why: not wanted',
      'round 0 aborted after 3 s',
      'ABORTED after 13 s',
      'Aborted at mix by ann: not wanted.',
    ]);
    const cancelled = begun()
      .event('WORKFLOW_EXECUTION_CANCEL_REQUESTED', {
        workflowExecutionCancelRequestedEventAttributes: { identity: 'bob', cause: 'wrong data' },
      })
      .event('WORKFLOW_EXECUTION_CANCELED', { workflowExecutionCanceledEventAttributes: {} });
    expect((await lines(cancelled)).slice(-3)).toEqual(['CANCEL by bob', 'why: wrong data', 'ABORTED after 11 s']);
    const terminated = begun().event('WORKFLOW_EXECUTION_TERMINATED', {
      workflowExecutionTerminatedEventAttributes: { identity: 'bob', reason: 'stuck' },
    });
    expect((await lines(terminated)).at(-1)).toBe('Terminated by bob: stuck');
    // As srlm itself terminates a run under a codec.
    const hidden = begun().event('WORKFLOW_EXECUTION_TERMINATED', {
      workflowExecutionTerminatedEventAttributes: {
        ...{ identity: 'bob', reason: 'srlm abort --terminate' },
        details: payloads('bob: it is stuck'),
      },
    });
    expect((await lines(hidden)).at(-1)).toBe('Terminated by bob: bob: it is stuck');
  });
});

describe('rounds', () => {
  const gate = { verdict: 'roll-back' as const, difference: -0.1, low: -0.2, high: -0.05 };
  const evaluated = (round: number, accuracy: number, verdict: typeof gate | null) =>
    ({ evaluation: evaluation(accuracy), gate: verdict, model: model(`model-${round}`) }) as const;
  /** Rounds 0 and 1, of which round 1 ends as `before` says; then round 2. */
  const three = (
    from: number,
    overrides = record(),
    before: (history: HistoryBuilder) => HistoryBuilder = (it) => it,
    input = runInput(),
  ) => {
    const first = train(begun(), 0, evaluated(0, 0.5, null));
    const second = first.continueAsNew('exec-2', runInput(), record(), progress(AFTER_ROUND_0));
    const kept = from === 1 ? null : gate;
    before(train(second, 1, evaluated(1, 0.4, kept)));
    const state = {
      ...AFTER_ROUND_0,
      round: 2,
      reached: 1,
      rounds: 2,
      head: head(from, `model-${from}`, `data-${from}`),
    };
    const third = second.continueAsNew('exec-3', input, overrides, progress(state)).memo(2, 'sample');
    return { first, second, third };
  };

  it('start from the one before, or say why not: it was rolled back', async () => {
    const { first, second, third } = three(0);
    expect((await lines(first, second, third)).at(-2)).toBe('ROUND 2 continues from round 0: round 1 was rolled back');
  });

  it('may follow a round that somebody promoted, also at the last moment', async () => {
    const promoted = three(0, record(), (history) => history.command('promote', { round: 0 }));
    expect((await lines(...Object.values(promoted))).at(-2)).toBe(
      'ROUND 2 continues from round 0: ann promoted round 0',
    );
    const late = three(1, record(), (history) => history.command('promote', { round: 0 }));
    late.third.memo(2, 'promote').activity('srlmReadRound', { table: object('table'), round: 0 }, summary(0));
    const timeline = await timelineOf(...Object.values(late));
    expect(only(timeline, 'round-started').at(-1)).toMatchObject({
      ...{ from: 0, because: 'ann promoted round 0', model: sha('model-0'), data: sha('data-0') },
    });
  });

  it('may follow a round before one that somebody rejected', async () => {
    const rejected = three(0, record(), (history) =>
      history
        .waiting(1, 'record', 'after-round')
        .command('reject')
        .memo(1, 'record')
        .activity('srlmKeepRound', { table: null, preparation: null, round: summary(1, { gate }) }, object('table')),
    );
    const timeline = await timelineOf(...Object.values(rejected));
    expect(only(timeline, 'round-started').at(-1)?.because).toBe('ann rejected round 1');
    expect(only(timeline, 'round-ended').map(({ round }) => round)).toEqual([0, 1]);
  });

  it('of a fork follow what operators did in its parent', async () => {
    const override = record({ overrides: [{ round: 0, verdict: 'promote', before: 2 }] });
    const fork = runInput({ of: 'parent', fromRound: 2, fields: [] });
    const { first, second, third } = three(0, override, undefined, fork);
    second.events.find(({ activityTaskScheduledEventAttributes: it }) => it?.activityType.name === 'srlmKeepRound')!
      .activityTaskScheduledEventAttributes!.input = payloads({ table: null, preparation: null, round: summary(1) });
    const timeline = await timelineOf(first, second, third);
    expect(only(timeline, 'round-started').at(-1)?.because).toBe('an operator of the parent run promoted round 0');
  });

  it('have a gate, whose verdict comes with its numbers', async () => {
    const input = {
      best: evaluation(0.5),
      current: evaluation(0.4),
      gate: { tolerance: 0.02, confidence: 0.95, patience: 2 },
    };
    const gated = (rollbacksInARow: number, output: object) =>
      lines(
        begun()
          .memo(0, 'gate')
          .activity('srlmGate', { ...input, rollbacksInARow, seed: 0 }, output),
      );
    const text = await gated(0, gate);
    expect(text.slice(-2)).toEqual([
      'gate: ROLLED BACK · 40.0 % against 50.0 %, the best so far',
      'difference -10.0 points (-20.0 to -5.0): surely worse by more than the tolerance of 2.0',
    ]);
    expect(text.some((line) => line.startsWith('gate · '))).toBe(false);
    expect((await gated(1, { ...gate, verdict: 'stop' })).at(-2)).toMatch(/^gate: ROLLED BACK, and the run stops · /);
    const watch = [{ metric: 'distinct2', value: 0.2, limit: 0.3 }];
    const beyond = 'beyond a limit of gate.watch: distinct2 is 0.2, below its limit of 0.3';
    expect((await gated(0, { ...gate, low: -0.1, high: 0.2, watch })).slice(-2)).toEqual([
      'difference -10.0 points (-10.0 to +20.0): not surely worse by more than the tolerance of 2.0',
      beyond,
    ]);
    const alone = await lines(
      begun()
        .memo(0, 'gate')
        .activity(
          'srlmGate',
          { ...input, best: null, current: null, rollbacksInARow: 0, seed: 0 },
          { verdict: 'roll-back', difference: null, low: null, high: null, watch },
        ),
    );
    expect(alone.slice(-2)).toEqual(['gate: ROLLED BACK', beyond]);
  });
});

describe('a run whose stored objects were damaged', () => {
  it('repeats its steps in another execution, and reuses what is intact', async () => {
    const first = begun()
      .memo(0, 'mix')
      .failed('srlmMix', { data: dataset('examples') }, 'artifact.damaged', 'objects/ab: the file is gone.');
    const second = first.continueAsNew('exec-2', runInput(), record(), progress({ repairs: 1, reached: 0 }));
    second
      .memo(null, 'ingest examples')
      .activity('srlmIngest', { file: object('file') }, done({ dataset: dataset('examples') }, 'ingest', WORKFLOW));
    train(second, 0);
    const text = await lines(first, second);
    const at = text.indexOf('round 0 interrupted after 4 s');
    expect(text.slice(at, at + 5)).toEqual([
      'round 0 interrupted after 4 s',
      'REPAIR: a stored object was damaged; the run repeats its steps, and reuses what is intact',
      'objects/ab: the file is gone.',
      'ingest examples · reused from this run · 24 rows · 1@host',
      'file 66696c650000 -> dataset 6578616d706c',
    ]);
    expect(text.filter((line) => line.startsWith('ROUND 0'))).toHaveLength(2);
  });
});

describe('a fork', () => {
  it('says of which run, from which round, with what', async () => {
    const changes: SettingChange[] = [
      { fromRound: 0, set: { 'training.epochs': 5 } },
      { fromRound: 2, set: { 'selection.selector': 'length' } },
    ];
    const fork = { of: 'parent', fromRound: 2 };
    const forked = { ...fork, fields: ['selection.selector'] };
    const timeline = await timelineOf(prepare(new HistoryBuilder('exec-1', [runInput(forked), record({ changes })])));
    expect(timeline.fork).toEqual({ ...fork, set: { 'selection.selector': 'length' } });
    expect(wordsOf(timeline)[1]).toBe('fork of parent from round 2, with selection.selector = "length"');
  });
});

describe('a history that is missing', () => {
  it('is a gap, in its place', async () => {
    const [first, second] = wholeRun();
    const lost = (runId: string): Execution => ({ workflowId: WORKFLOW, runId, history: null });
    const late = await timelineOf(lost('exec-1'), second);
    expect(late).toMatchObject({ state: 'done', startedAt: '2026-11-22T10:00:00.000Z' });
    expect(wordsOf(late)[2]).toBe('The history of execution exec-1 is no longer available.');
    expect(only(late, 'round-started')).toMatchObject([{ round: 1, from: 0, because: null }]);
    const early = await timelineOf(first, lost('exec-2'));
    expect(early.state).toBe('running');
    expect(early.entries.at(-1)).toMatchObject({ kind: 'gap' });
  });
});
