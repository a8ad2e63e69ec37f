/** Which processes a run leaves behind: those that its next worker needs, and none when nobody needs them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab, labSpec } from '../support/lab.js';

/** Far more steps than are waited for. */
const LONG = labSpec({ rounds: 0, evaluation: 'none', training: { epochs: 100 } });

describe('a run in mid-training', () => {
  let lab: Lab;
  let runId: string;
  let pid: number;

  beforeAll(async () => {
    lab = await Lab.open('cancel');
    runId = await lab.start(LONG);
    ({ pid } = await lab.trainerAt(3));
  });

  afterAll(async () => {
    await lab.close();
  });

  it('keeps its trainer when its worker is stopped as for a deployment', async () => {
    expect(await lab.stopWorker()).toBe(0);
    expect(lab.trainer()).toMatchObject({ pid, attempt: 1 });
    await lab.startWorker();
    await lab.attempt(`${runId}.round-0`, 'srlmFineTune', 2);
    expect(lab.trainer()).toMatchObject({ pid, attempt: 1 });
  });

  it('has no process left once it is cancelled, and says that it was aborted', async () => {
    const job = lab.trainer()?.folder;
    await lab.client.abort(runId);
    expect(lab.processes('trainer.py')).toEqual([]);
    expect((await lab.client.status(runId)).state).toBe('aborted');
    expect(lab.jobs()).toEqual([job]);
  });

  it('goes on from its checkpoint when it is started anew, since nothing was thrown away', async () => {
    const next = await lab.start(LONG);
    const trainer = await lab.trainerAt(1);
    const steps = lab.steps(trainer.folder);
    expect(trainer.attempt).toBe(2);
    expect(steps.filter(({ attempt }) => attempt === 2)[0]?.step).toBeGreaterThan(1);
    await lab.client.abort(next);
    expect(lab.processes('trainer.py')).toEqual([]);
  });

  it('has no process left either when it is cancelled while no worker is there', async () => {
    const next = await lab.start(LONG);
    await lab.trainerAt(1);
    await lab.killWorker();
    expect(lab.processes('trainer.py')).toHaveLength(1);
    await lab.client.temporal.workflow.getHandle(next).terminate('nobody wants it');
    await lab.client.temporal.workflow
      .getHandle(`${next}.round-0`)
      .terminate('nobody wants it')
      .catch(() => {});
    await lab.startWorker();
    expect(lab.processes('trainer.py')).toEqual([]);
  });
});
