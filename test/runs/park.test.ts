/** A step that is out of retries parks its run: the run waits, shows why, and does what the answer asks for. */
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { WorkflowUpdateFailedError } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Problem } from '../../contracts/errors.js';
import { Harness, harnessSpec } from '../support/harness.js';
import { startTeacher } from '../support/teacher.js';
import { freePorts } from '../support/temporal-server.js';

const spec = (seed: number) => harnessSpec({ rounds: 0, evaluation: 'none', seed });

describe('a parked run', { timeout: 240_000 }, () => {
  let harness: Harness;
  let port: number;
  let models: string;

  beforeAll(async () => {
    port = (await freePorts(1))[0]!;
    harness = await Harness.open('park', {
      worker: false,
      config: {
        maxAttempts: 2,
        // A busy machine must not use an attempt up.
        heartbeatSeconds: 60,
        engines: {
          local: { kind: 'builtin', device: 'cpu', threads: 1 },
          teacher: { kind: 'endpoint', baseUrl: `http://127.0.0.1:${port}/v1`, model: 'teacher' },
        },
      },
    });
    models = join(harness.folder, 'models');
  });

  afterAll(async () => {
    await harness?.close();
  });

  it('shows step and reason, continues when the cause is fixed, and parks again when it is not', async () => {
    const runId = await harness.start({ ...spec(1), approvals: ['before-train'] }, 'fixed');
    await rename(join(models, 'tiny'), join(models, 'away'));
    await harness.startWorker();

    const first = await harness.status(runId, 'the run is parked', ({ state }) => state === 'parked');
    expect(first.halt).toMatchObject({ step: 'prepare', round: null, type: 'model.unusable', attempts: 1 });
    expect(first.halt).toHaveProperty('message', expect.stringMatching(/^tiny: there is no such model folder\. /));
    expect(first.endedAt).toBeNull();

    expect(await harness.client.send(runId, 'retry', { why: 'perhaps it is back' })).toBe('prepare');
    const again = await harness.status(
      runId,
      'the run is parked again',
      ({ halt }) => halt && halt.since !== first.halt?.since,
    );
    expect(again.halt).toEqual({ ...first.halt, since: again.halt?.since });

    await rename(join(models, 'away'), join(models, 'tiny'));
    await harness.client.send(runId, 'retry', { why: 'the folder is back' });
    await harness.status(runId, 'round 0 is to be approved', ({ halt }) => halt?.kind === 'waiting');
    await rename(harness.python, `${harness.python}-away`);
    await harness.client.send(runId, 'approve', { why: 'go on' });
    const round = await harness.status(
      runId,
      'round 0 is parked',
      ({ halt }) => halt?.kind === 'parked' && halt.step === 'fineTune',
    );
    expect(round).toMatchObject({ state: 'parked', round: 0, halt: { round: 0, type: 'python.missing' } });
    expect(round.steps.at(-1)).toMatchObject({ step: 'fineTune', state: 'parked' });
    expect((await harness.client.list()).find((run) => run.runId === runId)).toMatchObject({
      state: 'parked',
      step: 'fineTune',
    });

    await rename(`${harness.python}-away`, harness.python);
    await harness.client.send(runId, 'retry', { why: 'python is back' });
    const result = await harness.finish(runId);
    expect(result.rounds).toHaveLength(1);
    expect((await harness.client.status(runId)).halt).toBeNull();
  });

  it('has in its history who answered it, and why', async () => {
    const accepted = (await acceptedUpdates(harness, 'fixed')).map((text) => JSON.parse(text));
    expect(accepted).toMatchObject([
      { who: expect.stringMatching(/.+@.+/), why: 'perhaps it is back' },
      { who: expect.stringMatching(/.+@.+/), why: 'the folder is back' },
      { who: expect.stringMatching(/.+@.+/), why: 'go on' },
      { who: expect.stringMatching(/.+@.+/), why: 'python is back' },
    ]);
  });

  it('ends on abort with the reason that was given, and keeps its artifacts', async () => {
    await rename(harness.python, `${harness.python}-away`);
    try {
      const runId = await harness.start(spec(2), 'aborted');
      await harness.status(runId, 'the run is parked', ({ state }) => state === 'parked');
      const before = await harness.digests();
      await harness.client.abort(runId, 'wrong data');
      const status = await harness.client.status(runId);
      expect(status.state).toBe('aborted');
      expect(status.failure).toMatch(/^Aborted at fineTune by .+: wrong data\. All artifacts are kept\.$/);
      expect(await harness.digests()).toEqual(before);
    } finally {
      await rename(`${harness.python}-away`, harness.python);
    }
  });

  it('can be aborted twice, and not be retried once it has ended', async () => {
    await harness.client.abort('aborted');
    await expect(harness.client.send('aborted', 'retry', {})).rejects.toThrow(
      /^Run "aborted" is not parked; already resolved by an earlier answer \(abort at .*: wrong data\)\. /,
    );
    await expect(harness.client.send('fixed', 'retry', {})).rejects.toThrow(
      /^Run "fixed" is not parked; already resolved by an earlier answer \(retry at .*: python is back\)\. /,
    );
  });

  it('is one whose engine sends pages, after the first attempt: each may be paid for', async () => {
    const teacher = await startTeacher(port, { page: '<html>Sign in' });
    try {
      const { runId } = await harness.client.startSample(
        { engine: 'teacher', data: { path: 'questions.jsonl' }, sampling: { k: 2, maxTokens: 4 } },
        { folder: harness.folder, id: 'stubborn' },
      );
      const { halt } = await harness.status(runId, 'sampling is parked', ({ state }) => state === 'parked');
      expect(halt).toMatchObject({ step: 'sample', attempts: 1 });
      expect(halt).toHaveProperty(
        'message',
        `Engine "teacher" at http://127.0.0.1:${port}/v1/chat/completions sent an HTML page in place of an answer of OpenAI's chat API; it begins: <html>Sign in. Check baseUrl in temporal.config.ts, and what is between it and this machine; then \`srlm retry\`. [engine.not-understood]`,
      );
      await harness.client.abort(runId);
    } finally {
      teacher.close();
    }
  });

  it('is never a run that is not parked: the workflow itself rejects an answer', async () => {
    await harness.killWorker();
    const runId = await harness.start(spec(3), 'calm');
    await harness.startWorker();
    const handle = harness.client.temporal.workflow.getHandle(runId);
    const answer = { who: 'test', why: '', answers: '2026-01-01T00:00:00.000Z' };
    for (const update of ['srlmRetry', 'srlmAbort']) {
      const rejected = await handle.executeUpdate(update, { args: [answer] }).catch((error: unknown) => error);
      expect(rejected).toBeInstanceOf(WorkflowUpdateFailedError);
      expect((rejected as WorkflowUpdateFailedError).cause?.message).toBe('it is not parked');
    }
    const refused = await harness.client.send(runId, 'retry', {}).catch((error: unknown) => error);
    expect((refused as Problem).type).toBe('run.not-parked');
    await harness.client.abort(runId);
  });
});

/** The arguments of all Updates that a workflow accepted, as its history has them. */
async function acceptedUpdates(harness: Harness, workflowId: string) {
  const { events } = await harness.client.temporal.workflow.getHandle(workflowId).fetchHistory();
  return (events ?? []).flatMap(({ workflowExecutionUpdateAcceptedEventAttributes: accepted }) =>
    (accepted?.acceptedRequest?.input?.args?.payloads ?? []).map(({ data }) => Buffer.from(data ?? []).toString()),
  );
}
