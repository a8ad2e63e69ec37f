/** What a client starts: it is parsed as the workflow will parse it, before anything is started. */
import { defaultPayloadConverter as payloadConverter } from '@temporalio/common';
import { beforeEach, expect, it, vi } from 'vitest';
import { bestModel } from '../../client/cli/ask.js';
import { SrlmClient } from '../../client/client.js';
import { resolveDeployment, workflowConfigOf } from '../../config/load.js';
import type { RunInput, RunStatus } from '../../contracts/run.js';
import { RunSpec, splitRunSpec } from '../../contracts/spec.js';
import { describedAs, payload, SHA, stateOf } from './states.js';

const FILE = { sha256: SHA, rows: 0, bytes: 9 };
const { settings } = splitRunSpec(RunSpec.parse({ model: { path: 'm' }, data: { path: 'd' }, catalysts: 'none' }));
const input = { version: 2 as const, settings, texts: FILE, data: FILE, catalysts: null, evaluation: null, fork: null };

const start = vi.fn(async () => ({}));
let client: SrlmClient;

beforeEach(async () => {
  start.mockClear();
  const config = workflowConfigOf(resolveDeployment({}, '/'), false);
  const handle = {
    describe: async () => describedAs({ workflowId: 'parent' }),
    query: async () => stateOf(),
  };
  const attributes = { input: { payloads: [payload({ ...input, config } satisfies RunInput)] } };
  const temporal = {
    options: { namespace: 'default', loadedDataConverter: { payloadConverter, payloadCodecs: [] } },
    connection: {},
    workflow: { start, getHandle: () => handle },
    withDeadline: (_: number, work: () => unknown) => work(),
    workflowService: {
      getWorkflowExecutionHistory: async () => ({
        history: { events: [{ workflowExecutionStartedEventAttributes: attributes }] },
      }),
    },
  };
  client = await SrlmClient.connect({}, temporal as never);
});

it('starts a checked run under its id', async () => {
  expect(await client.startChecked({ runId: 'mine', input, warnings: ['odd'] })).toEqual({
    runId: 'mine',
    warnings: ['odd'],
  });
  expect(start).toHaveBeenCalledWith('srlmRun', expect.objectContaining({ workflowId: 'mine' }));
});

it('never hides the result of a run behind a new one of the same id', async () => {
  await client.startChecked({ runId: 'mine', input, warnings: [] });
  const workflowIdReusePolicy = 'ALLOW_DUPLICATE_FAILED_ONLY';
  expect(start).toHaveBeenCalledWith('srlmRun', expect.objectContaining({ workflowIdReusePolicy }));
});

it('gives a run its turn among others of its priority, by a key of at most 64 bytes', async () => {
  await client.startChecked({ runId: 'mine', input, warnings: [] }, { priority: 1 });
  expect(start).toHaveBeenCalledWith(
    'srlmRun',
    expect.objectContaining({ priority: { priorityKey: 1, fairnessKey: 'mine' } }),
  );
  const runId = 'r'.repeat(100);
  await client.startChecked({ runId, input, warnings: [] });
  const fairnessKey = expect.stringMatching(/^[0-9a-f]{64}$/);
  expect(start).toHaveBeenLastCalledWith(
    'srlmRun',
    expect.objectContaining({ priority: { priorityKey: 3, fairnessKey } }),
  );
  await expect(client.startChecked({ runId, input, warnings: [] }, { priority: 6 })).rejects.toThrow(
    'options priority: expected a whole number from 1 to 5, found 6. [spec.invalid]',
  );
});

it('starts nothing that the workflow would refuse', async () => {
  const wrong = { ...input, settings: { ...settings, rounds: 101 } };
  await expect(client.startChecked({ runId: 'mine', input: wrong, warnings: [] })).rejects.toThrow(
    'spec settings.rounds: expected at most 100, found 101. [spec.invalid]',
  );
  expect(start).not.toHaveBeenCalled();
});

it('forks a run with its input, the state of the parent and the settings of the fork', async () => {
  await client.fork('parent', { fromRound: 1, set: { 'sampling.k': 2 }, id: 'child' });
  const [[type, options]] = start.mock.calls as unknown as [[string, { args: object[]; memo: object }]];
  expect([type, options.args]).toMatchObject([
    'srlmRun',
    [
      { fork: { of: 'parent', fromRound: 1, fields: ['sampling.k'] } },
      { changes: [{ fromRound: 1, set: { 'sampling.k': 2 } }] },
    ],
  ]);
  expect(options.memo).toMatchObject({ srlm: { forkOf: 'parent', table: null } });
});

it('asks the best model of a run: of its result, of what it knows so far, or of its newest round', async () => {
  const round = (number: number) => ({ round: number, model: { sha256: `${number}` } });
  const asked = (status: Partial<RunStatus>, result: () => Promise<unknown>) => {
    const rounds = [round(0), round(1), round(2)];
    const client = { status: async () => ({ rounds, best: null, stale: false, ...status }), result };
    return bestModel(client as never, 'run');
  };
  const best = async () => ({ model: { sha256: 'best' } });
  const none = async () => Promise.reject(new Error('no result'));
  expect(await asked({ state: 'done' }, best)).toEqual({ sha256: 'best' });
  expect(await asked({ state: 'stopped' }, best)).toEqual({ sha256: 'best' });
  expect(await asked({ state: 'running', final: 1 }, none)).toEqual({ sha256: '1' });
  expect(await asked({ state: 'running' }, none)).toEqual({ sha256: '2' });
  await expect(asked({ state: 'stopped', rounds: [] }, none)).rejects.toThrow(
    'Run "run" has finished no round yet. See `srlm status run`. [run.no-model]',
  );
});
