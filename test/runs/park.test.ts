/** A step that is out of retries parks its run: it waits, says why, and does what it is told. */
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { WorkflowUpdateFailedError } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Problem } from '../../contracts/errors.js';
import { abortUpdate, retryUpdate } from '../../workflows/messages.js';
import { Lab, labSpec } from '../support/lab.js';
import { startTeacher } from '../support/teacher.js';
import { freePorts } from '../support/temporal-server.js';

const spec = (seed: number) => labSpec({ rounds: 0, evaluation: 'none', seed });

describe('a parked run', () => {
  let lab: Lab;
  let port: number;
  let models: string;

  beforeAll(async () => {
    port = (await freePorts(1))[0]!;
    lab = await Lab.open('park', {
      worker: false,
      config: {
        maxAttempts: 2,
        // A busy machine must not use an attempt up.
        heartbeatSeconds: 60,
        engines: {
          local: { kind: 'builtin', device: 'cpu', threads: 1 },
          teacher: { kind: 'openai', baseUrl: `http://127.0.0.1:${port}/v1`, model: 'teacher' },
        },
      },
    });
    models = join(lab.folder, 'models');
  });

  afterAll(async () => {
    await lab.close();
  });

  it('says step and sentence, goes on when the cause is mended, and parks again when it is not', async () => {
    const runId = await lab.start(spec(1), 'mended');
    await rename(join(models, 'tiny'), join(models, 'away'));
    await lab.startWorker();

    const first = await lab.status(runId, 'the run is parked', ({ state }) => state === 'parked');
    expect(first.parked).toMatchObject({ step: 'prepare', round: null, type: 'model.unusable', attempts: 1 });
    expect(first.parked?.message).toBe('tiny: there is no such model folder. Nothing was started. [model.unusable]');
    expect(first.endedAt).toBeNull();

    expect(await lab.client.retry(runId, 'perhaps it is back')).toEqual({ step: 'prepare' });
    const again = await lab.status(
      runId,
      'the run is parked again',
      ({ parked }) => parked && parked.since !== first.parked?.since,
    );
    expect(again.parked?.message).toBe(first.parked?.message);

    await rename(join(models, 'away'), join(models, 'tiny'));
    await rename(lab.python, `${lab.python}-away`);
    await lab.client.retry(runId, 'the folder is back');
    const round = await lab.status(runId, 'round 0 is parked', ({ parked }) => parked?.step === 'fineTune');
    expect(round).toMatchObject({ state: 'parked', round: 0, parked: { round: 0, type: 'python.missing' } });
    expect(round.steps.at(-1)).toMatchObject({ step: 'fineTune', state: 'parked' });
    expect((await lab.client.list()).find((run) => run.runId === runId)).toMatchObject({
      state: 'parked',
      step: 'fineTune',
    });

    await rename(`${lab.python}-away`, lab.python);
    await lab.client.retry(runId, 'python is back');
    const result = await lab.finish(runId);
    expect(result.rounds).toHaveLength(1);
    expect((await lab.client.status(runId)).parked).toBeNull();
  });

  it('has in its history who answered it, and why', async () => {
    const history = JSON.stringify(await acceptedUpdates(lab, 'mended'));
    expect(history).toContain('perhaps it is back');
    expect(history).toContain('the folder is back');
    expect(JSON.stringify(await acceptedUpdates(lab, 'mended.round-0'))).toContain('python is back');
  });

  it('ends on abort with the sentence that was given, and keeps its artifacts', async () => {
    await rename(lab.python, `${lab.python}-away`);
    try {
      const runId = await lab.start(spec(2), 'aborted');
      await lab.status(runId, 'the run is parked', ({ state }) => state === 'parked');
      const before = await lab.digests();
      await lab.client.abort(runId, 'wrong data');
      const status = await lab.client.status(runId);
      expect(status.state).toBe('aborted');
      expect(status.failure).toMatch(/^Aborted at fineTune by .+: wrong data\. All artifacts are kept\.$/);
      expect(await lab.digests()).toEqual(before);
    } finally {
      await rename(`${lab.python}-away`, lab.python);
    }
  });

  it('can be aborted twice, and not be retried once it has ended', async () => {
    await lab.client.abort('aborted');
    await expect(lab.client.retry('aborted')).rejects.toThrow(
      /^Run "aborted" is not parked; already resolved by an earlier answer \(abort at .*: wrong data\)\. /,
    );
    await expect(lab.client.retry('mended')).rejects.toThrow(
      /^Run "mended" is not parked; already resolved by an earlier answer \(retry at .*: python is back\)\. /,
    );
  });

  it('is one whose step used up all attempts, and goes on to its end when the engine answers', async () => {
    const { runId } = await lab.client.startSample(
      { engine: 'teacher', data: { path: 'questions.jsonl' }, sampling: { k: 1, maxTokens: 4 } },
      { folder: lab.folder, id: 'teacher' },
    );
    const { parked } = await lab.status(runId, 'sampling is parked', ({ state }) => state === 'parked');
    expect(parked).toMatchObject({ step: 'sample', type: 'engine.unreachable', attempts: 2 });
    expect(parked?.message).toBe(
      'Engine "teacher" does not answer (ECONNREFUSED). It is tried again; see its log or `srlm doctor`. [engine.unreachable]',
    );
    const teacher = await startTeacher(port);
    try {
      await lab.client.retry(runId);
      await lab.status(runId, 'sampling has ended', ({ endedAt }) => endedAt);
      expect((await lab.client.sampleResult(runId)).candidates.rows).toBe(8);
    } finally {
      teacher.close();
    }
  });

  it('is one whose engine gives other than what was asked for, and not after paying for it twenty times', async () => {
    const teacher = await startTeacher(port, { takesN: false });
    try {
      const { runId } = await lab.client.startSample(
        { engine: 'teacher', data: { path: 'questions.jsonl' }, sampling: { k: 2, maxTokens: 4 } },
        { folder: lab.folder, id: 'stubborn' },
      );
      const { parked } = await lab.status(runId, 'sampling is parked', ({ state }) => state === 'parked');
      expect(parked).toMatchObject({ step: 'sample', attempts: 1 });
      expect(parked?.message).toBe(
        'Engine "teacher" refused the request (200: 1 texts came where n was 2). Mend the cause, then `srlm retry`. [engine.refused]',
      );
      await lab.client.abort(runId);
    } finally {
      teacher.close();
    }
  });

  it('is never a run that is not parked: the workflow itself rejects both answers', async () => {
    await lab.killWorker();
    const runId = await lab.start(spec(3), 'calm');
    await lab.startWorker();
    const handle = lab.client.temporal.workflow.getHandle(runId);
    const by = { who: 'test', why: '' };
    for (const update of [retryUpdate, abortUpdate]) {
      const rejected = await handle.executeUpdate(update, { args: [by] }).catch((error: unknown) => error);
      expect(rejected).toBeInstanceOf(WorkflowUpdateFailedError);
      expect((rejected as WorkflowUpdateFailedError).cause?.message).toBe('it is not parked');
    }
    const refused = await lab.client.retry(runId).catch((error: unknown) => error);
    expect((refused as Problem).type).toBe('run.not-parked');
    await lab.client.abort(runId);
  });
});

/** What the Updates of a workflow were given, as its history has it. */
async function acceptedUpdates(lab: Lab, workflowId: string) {
  const { events } = await lab.client.temporal.workflow.getHandle(workflowId).fetchHistory();
  return (events ?? []).flatMap(({ workflowExecutionUpdateAcceptedEventAttributes: accepted }) =>
    (accepted?.acceptedRequest?.input?.args?.payloads ?? []).map(({ data }) => Buffer.from(data ?? []).toString()),
  );
}
