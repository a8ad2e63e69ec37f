/** Why a run stands still: workflow code that fails, queues that nobody polls, and what a look at a run asks for. */
import { DefaultFailureConverter, defaultPayloadConverter, type Payload, type PayloadCodec } from '@temporalio/common';
import { decodeFromPayloadsAtIndex, encodeErrorToFailure } from '@temporalio/common/lib/internal-non-workflow/index.js';
import { msToTs } from '@temporalio/common/lib/time.js';
import { describe, expect, it } from 'vitest';
import { renderRun } from '../../client/cli/tree.js';
import { SrlmClient } from '../../client/client.js';
import { Pace } from '../../client/pace.js';
import { RunReader } from '../../client/status.js';
import { resolveDeployment } from '../../config/load.js';
import type { DeploymentInput } from '../../contracts/deployment.js';
import { engineStalled, trainerStalled } from '../../contracts/errors.js';
import type { RunState, RunStatus, StepState } from '../../contracts/run.js';
import { at, describedAs, type Execution, listedAs, payload, stateOf } from './states.js';

/** Turns the bytes of every payload around, as an encryption would hide them. */
const codec: PayloadCodec = {
  encode: async (payloads) => payloads.map((one) => ({ ...one, data: one.data!.slice().reverse() })),
  decode: async (payloads) => payloads.map((one) => ({ ...one, data: one.data!.slice().reverse() })),
};
const converter = {
  payloadConverter: defaultPayloadConverter,
  failureConverter: new DefaultFailureConverter({ encodeCommonAttributes: true }),
  payloadCodecs: [codec],
};

interface Fake {
  execution: Execution;
  /** Newest first. */
  events?: object[];
  /** Queues and how many seconds ago somebody polled them. */
  pollers?: Record<string, number>;
  /** Queues and how many seconds ago a worker of theirs gave a sign of life. */
  workers?: Record<string, number>;
  listed?: object[];
  deployment?: DeploymentInput;
  answers?: boolean;
  state?: RunState;
}

const ago = (seconds: number) => msToTs(Date.now() - 1000 * seconds);

function reader({
  execution,
  events = [],
  pollers = {},
  workers = {},
  listed = [],
  deployment = {},
  answers,
  state,
}: Fake) {
  const asked: string[] = [];
  const handle = {
    describe: async () => describedAs(execution),
    query: async () => {
      asked.push('query');
      if (answers === false) throw new Error('no worker');
      return state ?? stateOf();
    },
    executeUpdate: () => new Promise(() => {}),
    result: async () => {
      throw new Error('terminated');
    },
  };
  const temporal = {
    options: { namespace: 'default', loadedDataConverter: converter },
    connection: {},
    workflow: { getHandle: () => handle },
    withDeadline: (_: number, work: () => unknown) => work(),
    workflowService: {
      getWorkflowExecutionHistoryReverse: async () => {
        asked.push('history');
        return { history: { events } };
      },
      describeTaskQueue: async ({ taskQueue: { name } }: { taskQueue: { name: string } }) => {
        return { pollers: name in pollers ? [{ lastAccessTime: ago(pollers[name]!) }] : [] };
      },
      listWorkers: async ({ query }: { query: string }) => {
        const name = /"(.*)"/.exec(query)![1]!;
        const workerHeartbeat = { status: 1, heartbeatTime: ago(workers[name] ?? 0) };
        return { workersInfo: name in workers ? [{ workerHeartbeat }] : [] };
      },
      listWorkflowExecutions: async () => ({ executions: listed }),
      terminateWorkflowExecution: async ({ reason, details }: { reason: string; details: { payloads: Payload[] } }) =>
        asked.push(
          reason,
          `${await decodeFromPayloadsAtIndex(converter, 0, details.payloads)}`.replace(/^[^:]*: /, ''),
        ),
    },
  };
  const config = resolveDeployment(deployment, '/nowhere');
  return { temporal, asked, reader: new RunReader(temporal as never, config, () => null as never) };
}

describe('workflow code that fails', () => {
  const failed = async (error: Error, cause = 14) => ({
    workflowTaskFailedEventAttributes: { cause, failure: await encodeErrorToFailure(converter, error) },
  });
  const broken = async (): Promise<Fake> => ({
    execution: { pendingWorkflowTask: { attempt: 5 } },
    events: [{ activityTaskCompletedEventAttributes: {} }, await failed(new TypeError("no field 'steps'"))],
  });

  it('is shown with its message and the attempt, and is not asked for an answer', async () => {
    const { reader: ours, asked } = reader(await broken());
    expect(await ours.status('run')).toMatchObject({
      ...{ state: 'running', stale: true, unpolled: [] },
      codeFailure: { attempt: 5, message: "TypeError: no field 'steps'" },
    });
    expect(asked).toEqual(['history']);
  });

  it('is what the newest task shows, and neither a worker that was killed nor new events', async () => {
    const [, failure] = (await broken()).events!;
    const execution = { pendingWorkflowTask: { attempt: 2 } };
    for (const newest of [
      { workflowTaskCompletedEventAttributes: {} },
      { workflowTaskTimedOutEventAttributes: {} },
      await failed(new Error('UnhandledCommand'), 1),
    ])
      expect(await reader({ execution, events: [newest, failure!] }).reader.status('run')).toMatchObject({
        codeFailure: null,
        stale: false,
      });
  });

  it('keeps no command waiting: each says so at once, and how the run can be ended', async () => {
    const { temporal, asked } = reader(await broken());
    const client = await SrlmClient.connect({}, temporal as never);
    const sentence =
      'Run "run" answers nothing: its workflow code fails (attempt 5): TypeError: no field \'steps\'. Deploy the fixed code, and it continues; or end it with `srlm abort run --terminate`, and start it again with the same spec: everything that it made is found. [run.broken]';
    await expect(client.abort('run')).rejects.toThrow(sentence);
    await expect(client.send('run', 'pause', {})).rejects.toThrow(sentence);
    await expect(client.fork('run', { fromRound: 1, set: {} })).rejects.toThrow(sentence);
    await client.abort('run', 'enough', { terminate: true });
    expect(asked.filter((one) => one !== 'history')).toEqual(['srlm abort --terminate', 'enough']);
  });

  it('is listed where Temporal itself reports the problem', async () => {
    const odd = listedAs({ workflowId: 'run' });
    odd.searchAttributes.indexedFields = { TemporalReportedProblems: payload(['category=WorkflowTaskFailed']) };
    const { reader: ours, asked } = reader({ ...(await broken()), listed: [odd, listedAs({ workflowId: 'well' })] });
    const listed = await ours.list();
    expect(listed.map(({ runId, codeFailure }) => [runId, codeFailure?.message])).toEqual([
      ['run', "TypeError: no field 'steps'"],
      ['well', undefined],
    ]);
    expect(asked).toEqual(['history']);
  });
});

describe('a queue that nobody polls', () => {
  const waiting = (type: string, queue?: string, seconds = 60) => ({
    ...{ activityType: { name: type }, state: 1, scheduledTime: ago(seconds) },
    ...(queue ? { activityOptions: { taskQueue: { name: queue } } } : {}),
  });
  const status = async (fake: Omit<Fake, 'execution'>, ...pendingActivities: object[]) =>
    (await reader({ ...fake, execution: { pendingActivities } }).reader.status('run')).unpolled;

  it('is named with what to start, by the queue of the activity or by its type', async () => {
    const start = '`srlm worker --role gpu`';
    expect(await status({}, waiting('srlmShard'), waiting('srlmShard'))).toEqual([{ queue: 'srlm-gpu', start }]);
    expect(await status({}, waiting('srlmFineTune', 'srlm-gpu@blue'))).toEqual([
      { queue: 'srlm-gpu@blue', start: `${start} on blue` },
    ]);
    expect(await status({}, waiting('srlmMix'))).toEqual([{ queue: 'srlm-cpu', start: '`srlm worker --role cpu`' }]);
    expect(await status({ deployment: { taskQueue: 'mine', singleTaskQueue: true } }, waiting('srlmMix'))).toEqual([
      { queue: 'mine', start: '`srlm worker` or your own' },
    ]);
  });

  it('is that of the workflow when no worker answers', async () => {
    expect(await status({ answers: false })).toEqual([{ queue: 'srlm', start: '`srlm worker --role workflow`' }]);
    expect(await status({ answers: false, pollers: { srlm: 40 } })).toEqual([]);
  });

  it('is none whose workers poll, or are busy with this or another run', async () => {
    const started = { activityType: { name: 'srlmShard' }, state: 2 };
    expect(await status({}, started, waiting('srlmShard'))).toEqual([]);
    expect(await status({ pollers: { 'srlm-gpu': 50 } }, waiting('srlmShard'))).toEqual([]);
    expect(await status({ workers: { 'srlm-gpu': 50 } }, waiting('srlmShard'))).toEqual([]);
    // A poller that has gone is listed for five minutes.
    expect(
      await status({ pollers: { 'srlm-gpu': 200 }, workers: { 'srlm-gpu': 200 } }, waiting('srlmShard')),
    ).toHaveLength(1);
  });

  it('is none while a task is on its way, or waits for its next try', async () => {
    expect(await status({}, waiting('srlmShard', 'srlm-gpu', 1))).toEqual([]);
    expect(await status({}, { ...waiting('srlmShard'), nextAttemptScheduleTime: ago(-30) })).toEqual([]);
  });
});

describe('a run that is followed', () => {
  it('is asked only when its history has grown', async () => {
    const execution = { historyLength: 10, runId: 'one' };
    const { reader: ours, asked } = reader({ execution });
    for (const length of [10, 10, 12, 12, 12]) {
      execution.historyLength = length;
      expect(await ours.status('run')).toMatchObject({ stale: false, lastRound: 2 });
    }
    expect(asked).toEqual(['query', 'query']);
    execution.runId = 'two';
    await ours.status('run');
    expect(asked).toHaveLength(3);
  });

  it('is asked again as long as no worker has answered', async () => {
    const { reader: ours, asked } = reader({ execution: {}, answers: false });
    await ours.status('run');
    await ours.status('run');
    expect(asked).toEqual(['query', 'query']);
  });

  it('is looked at every second, less often while nothing changes, and every second again', () => {
    const pace = new Pace();
    const at = (done: number, rate: number) =>
      pace.after({ live: [{ step: 's', done, rate }], round: 1 } as never as RunStatus);
    const waits = [at(1, 8), at(1, 7), at(1, 6), at(1, 5), at(1, 4), at(1, 3), at(1, 2), at(1, 1), at(2, 1), at(2, 1)];
    expect(waits.map((ms) => Math.round(ms / 100) / 10)).toEqual([1, 1.5, 2.3, 3.4, 5.1, 7.6, 10, 10, 1, 1.5]);
  });
});

it.each([
  ['model server', 'sample', engineStalled('local', 15)],
  ['trainer', 'fineTune', trainerStalled(15)],
])('a frozen %s is shown while it stands still, and once it was ended', async (_, step, { message }) => {
  const running: StepState = {
    ...{ step, round: 1, state: 'running', rowsDone: null, rowsTotal: null, startedAt: at(0), seconds: null },
    ...{ reused: false, usage: null, counts: null },
  };
  const beat = { step, unit: 'rows', done: 3, total: 8, rate: null, secondsLeft: null };
  const shown = async (activity: object) => {
    const pendingActivities = [{ activityType: { name: 'srlmShard' }, state: 2, ...activity }];
    const state = stateOf({ steps: [running] });
    const status = await reader({ execution: { pendingActivities }, state }).reader.status('run');
    return renderRun(status, { width: 100, color: false, now: Date.parse(at(60)) })
      .slice(2)
      .map((line) => line.trim());
  };
  const payloads = await codec.encode([payload({ ...beat, secondsQuiet: 240 })]);
  expect(await shown({ attempt: 1, heartbeatDetails: { payloads } })).toEqual([
    `● ${step}  █████████░░░░░░░░░░░░░░░  3/8 rows`,
    'no progress for 4 min',
  ]);
  const [first, ...others] = await shown({ attempt: 2, lastFailure: { message } });
  expect(first).toBe(`● ${step}  1 min`);
  expect(others.join(' ')).toBe(`attempt 2 after: ${message}`);
  const stopped = await shown({ attempt: 2, lastFailure: { message: 'WORKER_SHUTDOWN' } });
  expect(stopped.at(-1)).toBe('attempt 2 after: the worker was stopped');
});
