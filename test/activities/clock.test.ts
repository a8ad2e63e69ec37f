/** What activities write down and compare while the clock of their host is wrong, or is set. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ApplicationFailure } from '@temporalio/activity';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { activity, isClosed, temporalNow } from '../../activities/activity.js';
import { memoize } from '../../activities/memoize.js';
import { engineEndedForMemory } from '../../contracts/errors.js';
import { NO_USAGE } from '../../method/budget.js';
import { openStore } from '../../storage/store.js';

const HOUR = 3_600_000;
const SCHEDULED = Date.UTC(2026, 10, 27, 12);
const folder = mkdtempSync(join(tmpdir(), 'srlm-test-clock-'));
const workflowExecution = { workflowId: 'run', runId: 'one' };

afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs `work` as an activity that Temporal scheduled at SCHEDULED. */
function run<T>(work: () => Promise<T>, attempt = 1): Promise<T> {
  const info = {
    workflowExecution,
    attempt,
    scheduledTimestampMs: SCHEDULED,
    currentAttemptScheduledTimestampMs: SCHEDULED,
  };
  return new MockActivityEnvironment(info, { logger: new DefaultLogger('ERROR') }).run(
    activity('test', z.unknown(), work) as never,
    null as never,
  ) as Promise<T>;
}

const setClock = (at: number) => vi.useFakeTimers({ toFake: ['Date'], now: at });

describe.each([
  ['behind', -5],
  ['ahead', 5],
])('on a host whose clock is hours %s', (_where, hours) => {
  it('the time is that of the Temporal server', async () => {
    setClock(SCHEDULED + hours * HOUR);
    const now = await run(async () => temporalNow());
    expect(Math.abs(now - SCHEDULED)).toBeLessThan(HOUR);
  });

  it('a step is counted as made by its run, and by no later activity again', async () => {
    setClock(SCHEDULED + hours * HOUR);
    const store = openStore({ artifactRoot: folder, modelRoots: [] });
    const usage = { ...NO_USAGE, tokens: 7 };
    const work = async () => {
      // Set back while the step is at work.
      setClock(SCHEDULED + (hours - 1) * HOUR);
      return { holds: [], output: 1, usage };
    };
    const made = await run(() => memoize(store, 'mix', { hours }, z.number(), work));
    expect(made.meta).toMatchObject({ reused: false, usage });
    const { meta } = (await store.records.read('mix', made.meta.key))!;
    expect(meta.seconds).toBeGreaterThanOrEqual(0);
    expect(Math.abs(Date.parse(meta.endedAt) - SCHEDULED)).toBeLessThan(HOUR);
  });
});

it('a model server that the kernel ends again and again is given up after five attempts', async () => {
  const failed = async (attempt: number) =>
    run(async () => Promise.reject(engineEndedForMemory('local')), attempt).catch(
      (error) => error as ApplicationFailure,
    );
  expect((await failed(4)).nonRetryable).toBe(false);
  expect(await failed(5)).toMatchObject({
    nonRetryable: true,
    type: 'engine.out-of-memory',
    message:
      'Memory ran out, and the system ended the model server of engine "local". Lower sampling.maxTokens, or the maxBatch of the engine in temporal.config.ts, or free memory; then `srlm retry`. [engine.out-of-memory]',
  });
});

it('a run that this Temporal does not know may be one of another: only its own activities take it for closed', async () => {
  const describeWorkflowExecution = () => Promise.reject(Object.assign(new Error('gone'), { code: 5 }));
  const client = { options: { namespace: 'default' }, workflowService: { describeWorkflowExecution } };
  expect(await isClosed(client as never, workflowExecution)).toBe(false);
  expect(await isClosed(client as never, workflowExecution, true)).toBe(true);
});
