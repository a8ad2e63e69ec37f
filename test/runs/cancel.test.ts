/** Which processes a run leaves behind: those that its next worker needs, and none when nobody needs them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Harness, harnessSpec } from '../support/harness.js';

/** Far more steps than are waited for. */
const LONG = harnessSpec({ rounds: 0, evaluation: 'none', training: { epochs: 100 } });

describe('a run in the middle of a training', { timeout: 240_000 }, () => {
  let harness: Harness;
  let runId: string;
  let pid: number;

  beforeAll(async () => {
    harness = await Harness.open('cancel');
    runId = await harness.start(LONG);
    ({ pid } = await harness.trainerAt(3));
  });

  afterAll(async () => {
    await harness?.close();
  });

  it('keeps its trainer when its worker is stopped as for a deployment', async () => {
    expect(await harness.stopWorker()).toBe(0);
    expect(harness.trainer()).toMatchObject({ pid, attempt: 1 });
    await harness.startWorker();
    await harness.attempt(runId, 'srlmFineTune', 2);
    expect(harness.trainer()).toMatchObject({ pid, attempt: 1 });
  });

  it('has no process left once it is aborted, and reports that it was', async () => {
    const job = harness.trainer()?.folder;
    await harness.client.abort(runId);
    expect(harness.processes('trainer.py')).toEqual([]);
    expect((await harness.client.status(runId)).state).toBe('aborted');
    expect(harness.jobs()).toEqual([job]);
  });

  it('resumes from its checkpoint when it is started again, and has no process left once Temporal cancels it', async () => {
    const next = await harness.start(LONG);
    const trainer = await harness.trainerAt(1);
    const steps = harness.steps(trainer.folder);
    expect(trainer.attempt).toBe(2);
    expect(steps.filter(({ attempt }) => attempt === 2)[0]?.step).toBeGreaterThan(1);
    const handle = harness.client.temporal.workflow.getHandle(next);
    await handle.cancel();
    await expect(handle.result()).rejects.toThrow();
    expect(harness.processes('trainer.py')).toEqual([]);
    expect((await harness.client.status(next)).state).toBe('aborted');
  });

  it('has no process left once a worker is back after it was terminated without one', async () => {
    const next = await harness.start(LONG);
    await harness.trainerAt(1);
    await harness.killWorker();
    expect(harness.processes('trainer.py')).toHaveLength(1);
    await harness.client.temporal.workflow.getHandle(next).terminate('nobody wants it');
    await harness.startWorker();
    await harness.until('no trainer is left', () => harness.processes('trainer.py').length === 0);
  });
});
