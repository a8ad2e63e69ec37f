/** Accounts of recorded histories, without a server: what is told, in which words, in which order. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Entry } from '../../audit/account.js';
import { type Event, type Recorded, value } from '../../audit/events.js';
import type { Histories } from '../../audit/load.js';
import { Records } from '../../audit/records.js';
import { tell } from '../../audit/tell.js';
import { renderAccount } from '../../audit/text.js';
import { columns } from '../../client/cli/text.js';
import { type MixInput, Sharded } from '../../contracts/steps.js';
import { chunkInputs, mixInputs, shardedInputs } from '../../storage/keys.js';
import { ArtifactStore } from '../../storage/store.js';
import { recorded } from './recorded.js';

const none = new Records({});
const lines = (names: string[], records = none, width = 100) => renderAccount(tell(recorded(...names), records), width);
/** Without the time before it. */
const told = (histories: Histories, records = none) =>
  renderAccount(tell(histories, records), 200).map((line) => line.replace(/^\d\d:\d\d:\d\d +/, '').trim());
const kinds = (entries: readonly Entry[]) => entries.map(({ kind }) => kind);

const payload = (data: unknown) => ({ data: Buffer.from(JSON.stringify(data)).toString('base64') });
const scheduled = ({ history }: Recorded, activity: string) =>
  history.events.findLast(
    ({ activityTaskScheduledEventAttributes: made }) => made?.activityType.name === activity,
  ) as Event;
const startedOf = ({ history }: Recorded, { eventId }: Event) =>
  history.events.find(({ activityTaskStartedEventAttributes: started }) => started?.scheduledEventId === eventId)!
    .activityTaskStartedEventAttributes!;

describe('the account of a run', () => {
  it('tells of a parked step why, how long, who answered it and why, and goes on in order of time', () => {
    expect(lines(['run-parked', 'round-parked'])).toEqual([
      'parked · done · 11 s · execution 01a204b0-eecc-7f09-96cd-d90530280aa2',
      '2026-11-22 (UTC)',
      '19:17:14  started by 1@recorder: round 0',
      '19:17:15  workflow worker 1@recorder (SDK 1.24.0, workflow code bec3728ef0e9)',
      '19:17:15  prepare · failed after 0.1 s · 1@recorder',
      '19:17:15  PARKED at prepare for 0.1 s, after 1 attempt [model.unusable]',
      '            tiny: there is no such model folder. Nothing was started. [model.unusable]',
      '19:17:15  RETRY by recorder: (prepare)',
      '            why: the model is back',
      '19:17:15  prepare · 0.1 s · 1@recorder',
      '            -> model 75cb5f32f518',
      '19:17:15  ingest examples · 0 s · 24 rows · 1@recorder',
      '            file 6d577b3aa480 -> data cf4a7e9d05b1',
      '19:17:15  ingest catalysts · 0 s · 6 rows · 1@recorder',
      '            file 1b0d05ed4435 -> data d6234338c57c',
      '19:17:15  rationalize · 0.1 s · 3 rows · 1@recorder',
      '            model 75cb5f32f518 data cf4a7e9d05b1 -> data 364537440247',
      '19:17:16  rows · 0 s · 24 rows · 1@recorder',
      '            data cf4a7e9d05b1 candidates 364537440247 -> data 32e3313a35e2',
      '19:17:16  ROUND 0 goes on from the starting model',
      '            model 75cb5f32f518 · data 32e3313a35e2',
      '19:17:16    mix · 0 s · 30 rows · 1@recorder',
      '              data 32e3313a35e2 catalysts d6234338c57c -> data a44c169100a5',
      '19:17:16    fineTune · failed after 0.5 s · 1@recorder',
      '              base 75cb5f32f518 data a44c169100a5',
      '19:17:16    PARKED at fineTune for 0.1 s, after 1 attempt [python.missing]',
      '              Python cannot be used at /srlm-lab/python (there is no such program). Install Python',
      '              3.11 or newer and run `srlm doctor --fix`, or name an environment with SRLM_PYTHON.',
      '              [python.missing]',
      '19:17:16    RETRY by recorder: (fineTune)',
      '              why: python is back',
      '19:17:16    fineTune · 8 s · 1@recorder',
      '              base 75cb5f32f518 data a44c169100a5 -> model bb5220f2e959',
      '19:17:24    round 0 done after 8.8 s',
      '              model bb5220f2e959 · 0/24 enriched · loss 2.692',
      '19:17:24  DONE after 11 s · best round 0 · model bb5220f2e959',
    ]);
  });

  it('sums shards up in a line, and gives the gate’s verdict with its numbers', () => {
    const text = told(recorded('run', 'round-0', 'round-1'));
    expect(text).toContain('sample · 1.9 s · 2 shards, 48 rows · 1@recorder');
    expect(text).toContain('gate: KEPT · 0.0 % against 0.0 %, the best so far');
    expect(text).toContain('difference 0.0 points (0.0 to 0.0): not surely worse by more than the tolerance of 2.0');
    expect(text).toContain('ROUND 1 goes on from round 0');
    expect(text).not.toContain('gate · 0 s · 1@recorder');
  });

  it('tells the end of an aborted run, and who aborted it', () => {
    const text = told(recorded('run-aborted', 'round-aborted'));
    expect(text).toContain('ABORT by recorder: (fineTune)');
    expect(text.slice(-2)).toEqual([
      'ABORTED after 1 s',
      'Aborted at fineTune by root: not wanted. All artifacts are kept.',
    ]);
  });

  it('tells of a repair why all was gone through again, and which histories are no longer there', () => {
    const { entries } = tell(recorded('run-repaired'), none);
    expect(entries.filter(({ kind }) => kind === 'round-started').map(({ round }) => round)).toEqual([0, 1, 0, 1]);
    const at = kinds(entries).indexOf('repair');
    expect(kinds(entries).slice(at - 1, at + 2)).toEqual(['round-ended', 'repair', 'step']);
    expect(entries.filter(({ kind }) => kind === 'gap')).toHaveLength(4);
    expect(told(recorded('run-repaired'))).toContain('The history of repaired.round-0 is no longer there.');
  });

  it('is never wider than the terminal, and holds no control characters', () => {
    for (const width of [40, 60, 80, 120]) {
      for (const names of [['run', 'round-0', 'round-1'], ['run-parked', 'round-parked'], ['run-repaired'], ['sample']])
        for (const line of lines(names, none, width)) expect(columns(line)).toBeLessThanOrEqual(width);
    }
  });

  it('tells how often an activity was tried, on which workers, and the last failure in a sentence', () => {
    const histories = recorded('run-parked', 'round-parked');
    const round = histories[1]!;
    const tuning = startedOf(round, scheduled(round, 'srlmFineTune'));
    tuning.attempt = 3;
    tuning.identity = '7@gpu-2';
    tuning.lastFailure = {
      message: 'activity Heartbeat timeout',
      timeoutFailureInfo: { timeoutType: 'TIMEOUT_TYPE_HEARTBEAT' },
    };
    const text = told(histories);
    expect(text).toContain('fineTune · 8 s · 1@recorder · 7@gpu-2');
    expect(text).toContain('up to 3 attempts; the last failure: its worker fell silent');
  });

  it('tells when another worker, or another version, takes the workflow on', () => {
    const histories = recorded('run-parked', 'round-parked');
    const tasks = histories[1]!.history.events.flatMap(({ workflowTaskCompletedEventAttributes: task }) => task ?? []);
    for (const task of tasks.slice(-2)) {
      task.identity = '2@recorder';
      task.deploymentVersion = { deploymentName: 'srlm', buildId: '0.2.0' };
    }
    const text = told(histories);
    expect(text).toContain('workflow worker 2@recorder (srlm.0.2.0)');
  });

  it('tells what was set by a retry, and of whom a decision is', () => {
    const histories = recorded('run-parked', 'round-parked');
    const { events } = histories[1]!.history;
    const update = events.find(({ workflowExecutionUpdateAcceptedEventAttributes: accepted }) => accepted)!;
    update.workflowExecutionUpdateAcceptedEventAttributes!.acceptedRequest!.input!.args = {
      payloads: [payload({ who: 'ann', why: 'too long', set: { 'training.epochs': 2 } })],
    };
    const made = scheduled(histories[1]!, 'srlmFineTune').activityTaskScheduledEventAttributes!;
    made.input = { payloads: [payload({ ...(value(made.input) as object), microBatchSize: 2 })] };
    const text = told(histories);
    const at = text.indexOf('RETRY by ann: (fineTune) training.epochs = 2');
    expect(text.slice(at, at + 6)).toEqual([
      'RETRY by ann: (fineTune) training.epochs = 2',
      'why: too long',
      'fineTune · 8 s · 1@recorder',
      'base 75cb5f32f518 data a44c169100a5 -> model bb5220f2e959',
      'DECISION by srlm: (fineTune) microBatchSize = 2',
      'why: memory ran out; gradients are accumulated',
    ]);
  });

  it('is of a run that goes on, too: parked still, until somebody answers', () => {
    const histories = recorded('run-parked', 'round-parked');
    const [run, round] = histories;
    run.history.events.splice(66);
    round!.history.events.splice(28);
    const account = tell(histories, none);
    expect(account).toMatchObject({ state: 'parked', endedAt: null });
    expect(told(histories).at(-2)).toBe('PARKED at fineTune, and still is, after 1 attempt [python.missing]');
    round!.history.events.splice(22);
    expect(tell(histories, none).entries.at(-1)).toMatchObject({ kind: 'step', step: 'fineTune', state: 'running' });
  });
});

describe('what was reused', () => {
  let folder: string;
  let store: ArtifactStore;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'srlm-audit-'));
    store = ArtifactStore.open(folder);
  });
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  const measured = (run: string, endedAt: string) => ({ seconds: 1, host: 'h', endedAt, run });
  const EARLIER = '2026-11-21T00:00:00.000Z';
  const LATER = '2026-11-23T00:00:00.000Z';
  const read = (histories: Histories) => Records.read(store, {}, histories, 'where some were found');

  it('is told with the run that made it', async () => {
    const histories = recorded('run-parked', 'round-parked');
    const made = scheduled(histories[1]!, 'srlmMix').activityTaskScheduledEventAttributes!;
    const inputs = mixInputs(value(made.input) as MixInput);
    await store.recordStep('mix', inputs, { files: [], output: {}, measured: measured('grandmother', EARLIER) });
    const text = told(histories, await read(histories));
    expect(text).toContain('mix · found done by grandmother · 30 rows · 1@recorder');
    expect(text).toContain('fineTune · 8 s · 1@recorder');
  });

  it('is not told of a step that the run did itself', async () => {
    const histories = recorded('run-parked', 'round-parked');
    const made = scheduled(histories[1]!, 'srlmMix').activityTaskScheduledEventAttributes!;
    const inputs = mixInputs(value(made.input) as MixInput);
    await store.recordStep('mix', inputs, { files: [], output: {}, measured: measured('parked', LATER) });
    expect(told(histories, await read(histories))).toContain('mix · 0 s · 30 rows · 1@recorder');
  });

  it('may be some chunks of a step: how many, and by which run', async () => {
    const histories = recorded('run', 'round-0', 'round-1');
    const round = histories[2]!;
    const seal = round.history.events.find(
      ({ activityTaskScheduledEventAttributes: made }) => made?.activityType.name === 'srlmSealStep',
    )!.activityTaskScheduledEventAttributes!;
    const of = Sharded.parse(value(seal.input));
    const chunks = await Promise.all([1, 2, 3].map((n) => store.putRows([{ n }])));
    const data = await store.putDataset(chunks);
    // The recorded step, on rows that are here.
    const here = { ...of, input: { ...of.input, data } } as Sharded;
    const events = round.history.events.filter(({ activityTaskScheduledEventAttributes: made }) => {
      const input = value(made?.input) as { of?: object } | undefined;
      return JSON.stringify(input?.of ?? input) === JSON.stringify(value(seal.input));
    });
    for (const { activityTaskScheduledEventAttributes: made } of events) {
      const input = value(made!.input) as { of?: object };
      made!.input = { payloads: [payload(input.of ? { ...input, of: here } : here)] };
    }
    const shard = round.history.events.find(
      ({ activityTaskCompletedEventAttributes: done }) =>
        (value(done?.result) as { chunksDone?: number } | undefined)?.chunksDone === 1,
    )!.activityTaskCompletedEventAttributes!;
    shard.result = { payloads: [payload({ rows: 8, chunksReused: 1, chunksDone: 0 })] };
    const result = { files: [], output: {} };
    await store.recordStep('sample', shardedInputs(here, {}), { ...result, measured: measured('whole', LATER) });
    for (const [i, chunk] of chunks.entries()) {
      const by = i === 0 ? measured('grandmother', EARLIER) : measured('whole', LATER);
      await store.recordStep('sample-chunk', chunkInputs(here, chunk, undefined, {}), { ...result, measured: by });
    }
    const text = told(histories, await read(histories));
    expect(text).toContain('sample · 1.9 s · 2 shards, 48 rows · 1 of 3 chunks found done by grandmother · 1@recorder');
  });
});
