/** What a client shows of a run: with a worker, without one, and of runs that another version began. */
import { defaultFailureConverter, defaultPayloadConverter } from '@temporalio/common';
import { expect, it, vi } from 'vitest';
import { phaseBy } from '../../client/executions.js';
import { chainsOf, RunReader } from '../../client/status.js';
import { resolveDeployment } from '../../config/load.js';
import { artifactDamaged } from '../../contracts/errors.js';
import type { RunMemo, RunState } from '../../contracts/run.js';
import type { RoundSummary, RoundTable } from '../../contracts/steps.js';
import { at, DATASET, describedAs, type Execution, listedAs, PARKED, payload, SHA, stateOf } from './states.js';

const SUMMARY: RoundSummary = {
  round: 0,
  set: { dataset: DATASET, rows: 4, enriched: 0, meanRationaleChars: 9 },
  ...{ changed: null, candidates: null, decisions: null, trainLoss: 1, evaluation: null, gate: null, steps: [] },
  model: { sha256: SHA, bytes: 1, path: null },
};
const TABLE: RoundTable = {
  version: 2,
  preparation: [{ step: 'prepare', seconds: 2, usage: null, reused: false }],
  rounds: [SUMMARY],
};
const DEPLOYMENT = resolveDeployment({}, '/nowhere');
const TABLE_REF = { sha256: SHA, rows: 0, bytes: 9 };
const MEMO: RunMemo = {
  phase: 'parked',
  round: 1,
  lastRound: 2,
  step: 'sample',
  halt: PARKED,
  table: null,
  forkOf: 'parent',
};

/** `state` null: no worker answers. */
function reader(execution: Execution, state: RunState | null, table: () => Promise<RoundTable> = async () => TABLE) {
  const handle = {
    describe: async () => describedAs(execution),
    query: async () => {
      if (!state) throw new Error('no worker');
      return state;
    },
    result: async () => {
      throw new Error('failed', { cause: new Error('The reason.') });
    },
  };
  const temporal = {
    options: { namespace: 'default', loadedDataConverter: converter },
    workflow: { getHandle: () => handle },
    withDeadline: (_: number, work: () => unknown) => work(),
  };
  const readJson = vi.fn(table);
  return { reader: new RunReader(temporal as never, DEPLOYMENT, () => ({ objects: { readJson } }) as never), readJson };
}

const converter = {
  ...{ payloadConverter: defaultPayloadConverter, failureConverter: defaultFailureConverter, payloadCodecs: [] },
};

it('shows the state of the run, its finished rounds from the store, and what its activities report', async () => {
  const beat = { step: 'sample', unit: 'rows', done: 3, total: 8, rate: 1, secondsLeft: 5 };
  const pendingActivities = [
    { activityType: { name: 'srlmShard' }, attempt: 2, heartbeatDetails: { payloads: [payload(beat)] } },
    { activityType: { name: 'srlmShard' }, attempt: 1, heartbeatDetails: { payloads: [payload('odd')] } },
  ];
  const state = stateOf({ table: TABLE_REF, halt: PARKED });
  const { reader: ours, readJson } = reader({ memo: { srlm: MEMO }, pendingActivities }, state);
  const status = await ours.status('run');
  expect(status).toMatchObject({ state: 'parked', stale: false, halt: PARKED, best: null, rounds: [SUMMARY] });
  expect(status).toMatchObject({ startedAt: at(0), endedAt: null, forkOf: 'parent', failure: null });
  expect(status.live).toMatchObject([
    { step: 'sample', done: 3, attempt: 2 },
    { step: 'srlmShard', done: 0 },
  ]);
  expect(status.steps).toMatchObject([{ step: 'prepare', round: null, state: 'done', seconds: 2 }]);
  await ours.status('run');
  expect(readJson).toHaveBeenCalledTimes(1);
});

it('shows what the memo has when no worker answers', async () => {
  const { reader: ours } = reader({ memo: { srlm: MEMO } }, null);
  expect(await ours.status('run')).toMatchObject({
    ...{ state: 'parked', stale: true, round: 1, lastRound: 2, halt: PARKED, steps: [], rounds: [] },
  });
});

it('shows the rounds of a run that has ended, and what they used, when no worker answers', async () => {
  const usage = { tokens: 7, gpuSeconds: 1, money: 0 };
  const table = { ...TABLE, preparation: [{ ...TABLE.preparation[0]!, usage }] };
  const memo = { srlm: { ...MEMO, phase: 'done', halt: null, table: TABLE_REF } };
  const { reader: ours } = reader({ status: 'COMPLETED', closedAt: 90, memo }, null, async () => table);
  expect(await ours.status('run')).toMatchObject({ state: 'done', stale: true, rounds: [SUMMARY], usage });
});

it('says that a run which is over still exports its history, once that takes long', async () => {
  const end = { kind: 'done', at: at(90), message: null } as const;
  const expected = ['the run is over (done) and exports its history, for which a worker has to be up'];
  expect((await reader({}, stateOf({ end })).reader.status('run')).warnings).toEqual(expected);
  const memo = { srlm: { ...MEMO, phase: 'done', halt: null } };
  expect((await reader({ memo }, null).reader.status('run')).warnings).toEqual(expected);
  const now = { ...end, at: new Date().toISOString() };
  expect(await reader({}, stateOf({ end: now })).reader.status('run')).toMatchObject({
    state: 'running',
    warnings: [],
  });
});

it('takes no other workflow for a run', async () => {
  const { reader: ours } = reader({ type: 'order' }, null);
  await expect(ours.status('run')).rejects.toThrow('There is no run "run". See `srlm list`. [run.unknown]');
});

it('shows a run whose memo is of another version', async () => {
  const { reader: ours } = reader({ memo: { srlm: { state: 'running', rounds: 2 } } }, null);
  expect(await ours.status('run')).toMatchObject({ state: 'running', stale: true, round: null });
});

it('shows a run whose table of rounds is damaged, with a warning', async () => {
  const { reader: ours } = reader({}, stateOf({ table: TABLE_REF }), async () => {
    throw artifactDamaged('objects/aa', 'it is gone.');
  });
  const { rounds, warnings } = await ours.status('run');
  expect(rounds).toEqual([]);
  expect(warnings[0]).toMatch(/^The finished rounds cannot be shown: objects\/aa: it is gone\./);
});

it('shows why a run failed, from its state or else from its result', async () => {
  const end = { kind: 'aborted', at: at(90), message: 'Aborted by ann.' } as const;
  const { reader: reporting } = reader({ status: 'FAILED', closedAt: 90 }, stateOf({ end }));
  expect(await reporting.status('run')).toMatchObject({
    state: 'aborted',
    endedAt: at(90),
    failure: 'Aborted by ann.',
  });
  const { reader: silent } = reader({ status: 'FAILED', closedAt: 90 }, null);
  expect(await silent.status('run')).toMatchObject({ state: 'failed', failure: 'The reason.' });
});

it.each([
  ['RUNNING', null, 'running'],
  ['RUNNING', 'paused', 'paused'],
  ['RUNNING', 'done', 'running'], // It exports its history.
  ['COMPLETED', null, 'done'],
  ['COMPLETED', 'stopped', 'stopped'],
  ['TERMINATED', 'running', 'aborted'],
  ['FAILED', 'aborted', 'aborted'],
  ['FAILED', 'running', 'failed'],
] as const)('%s at Temporal and %s by the run is %s', (status, known, phase) => {
  expect(phaseBy(status, known)).toBe(phase);
});

const info = (execution: Execution) => describedAs(execution) as never;

it('lists one run for each chain of executions, also where an id was used twice', () => {
  const srlm = { ...MEMO, phase: 'running', halt: null };
  const listed = chainsOf([
    info({ startedAt: 50, memo: { srlm } }),
    info({ startedAt: 40, closedAt: 50, status: 'CONTINUED_AS_NEW' }),
    info({ startedAt: 10, closedAt: 20, status: 'COMPLETED' }),
    info({ startedAt: 0, closedAt: 10, status: 'CONTINUED_AS_NEW' }),
  ]);
  expect(listed).toEqual([
    {
      ...{ runId: 'run', kind: 'run', state: 'done', round: null, lastRound: null, step: null },
      ...{ startedAt: at(0), endedAt: at(20), codeFailure: null },
    },
    {
      ...{ runId: 'run', kind: 'run', state: 'running', round: 1, lastRound: 2, step: 'sample' },
      ...{ startedAt: at(40), endedAt: null, codeFailure: null },
    },
  ]);
});

it('lists all runs, whatever is in the memo of one of them', async () => {
  const odd = listedAs({ workflowId: 'odd', memo: {} });
  odd.memo.fields = { srlm: { metadata: { encoding: Buffer.from('binary/secret') }, data: Buffer.from('x') } };
  const pages = [
    { executions: [odd], nextPageToken: Buffer.from('more') },
    { executions: [listedAs({ workflowId: 'parked', memo: { srlm: MEMO } }), listedAs({ workflowId: 'bare' })] },
  ];
  const temporal = {
    options: { namespace: 'default', loadedDataConverter: converter },
    workflowService: { listWorkflowExecutions: async () => pages.shift() },
  };
  const listed = await new RunReader(temporal as never, DEPLOYMENT, () => null as never).list();
  expect(listed.map(({ runId, state }) => [runId, state])).toEqual([
    ['odd', 'running'],
    ['parked', 'parked'],
    ['bare', 'running'],
  ]);
});
