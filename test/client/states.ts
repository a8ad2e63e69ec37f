/** States and descriptions of runs for tests that need no Temporal. */
import { defaultPayloadConverter } from '@temporalio/common';
import { msToTs } from '@temporalio/common/lib/time.js';
import type { Parked, RunState } from '../../contracts/run.js';

export const START = Date.parse('2026-01-01T00:00:00Z');
export const at = (seconds: number) => new Date(START + 1000 * seconds).toISOString();
export const SHA = 'a'.repeat(64);
export const DATASET = { sha256: SHA, rows: 0, bytes: 1, chunks: 1 };
export const PARKED: Parked = {
  ...{ kind: 'parked', step: 'sample', round: 1, type: 'engine.refused', message: 'No.', attempts: 1, since: at(60) },
  ...{ kept: '', skippable: true },
};

export function stateOf(more: Partial<RunState> = {}): RunState {
  return {
    ...{ startedAt: at(0), round: 1, reached: 1, repairs: 0, prepared: null, head: null, best: null },
    ...{ rollbacksInARow: 0, table: null, rounds: 1, warnings: [], unexported: [] },
    usage: { tokens: 0, gpuSeconds: 0, money: 0 },
    ...{ changes: [], overrides: [], approved: { catalysts: -1, 'before-train': -1, 'after-round': -1 } },
    ...{ interventions: [], interventionCount: 0, paused: null, stopAfter: null },
    ...{ lastRound: 2, final: 'best', steps: [], halt: null, end: null },
    ...more,
  };
}

/** An execution as Temporal describes it. */
export interface Execution {
  workflowId?: string;
  runId?: string;
  type?: string;
  status?: string;
  memo?: Record<string, unknown>;
  startedAt?: number;
  closedAt?: number;
  pendingActivities?: object[];
  pendingWorkflowTask?: object;
  historyLength?: number;
}

export const describedAs = ({
  workflowId = 'run',
  runId = 'one',
  type = 'srlmRun',
  status = 'RUNNING',
  memo = {},
  startedAt = 0,
  closedAt,
  pendingActivities = [],
  pendingWorkflowTask,
  historyLength = 1,
}: Execution) => ({
  ...{ workflowId, runId, type, memo, status: { name: status }, historyLength, taskQueue: 'srlm' },
  startTime: new Date(at(startedAt)),
  closeTime: closedAt === undefined ? undefined : new Date(at(closedAt)),
  raw: { workflowExecutionInfo: { firstRunId: runId }, pendingActivities, pendingWorkflowTask },
});

const STATUSES = ['', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELED', 'TERMINATED', 'CONTINUED_AS_NEW'];

/** An execution as Temporal's service lists it. */
export const listedAs = ({
  workflowId = 'run',
  runId = 'one',
  type = 'srlmRun',
  status = 'RUNNING',
  memo = {},
  startedAt = 0,
  closedAt,
}: Execution) => ({
  execution: { workflowId, runId },
  type: { name: type },
  status: STATUSES.indexOf(status),
  historyLength: { toNumber: () => 1 },
  startTime: timestamp(startedAt),
  closeTime: closedAt === undefined ? null : timestamp(closedAt),
  searchAttributes: { indexedFields: {} as Record<string, unknown> },
  memo: { fields: Object.fromEntries(Object.entries(memo).map(([name, value]) => [name, payload(value)])) },
});

export const payload = (value: unknown) => defaultPayloadConverter.toPayload(value);

const timestamp = (seconds: number) => msToTs(START + 1000 * seconds);
