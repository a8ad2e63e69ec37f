/**
 * Runs that are under way while the code of their workflows changes: from one declared version to the next, and, with
 * no version declared, from the last release to what is built here (docs/releasing.md).
 */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { NativeConnection, Worker } from '@temporalio/worker';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RunResult } from '../../contracts/steps.js';
import { type Role, type RunningWorkers, startWorkers } from '../../worker/workers.js';
import { Lab, labSpec, temporalAddress } from '../support/lab.js';
import { inputOf, lastRelease } from '../support/releases.js';

/** Engines start in each test, and a busy machine takes its time for that. */
const PATIENCE_MS = 240_000;

const spec = labSpec({ training: { epochs: 1 }, sampling: { k: 2, maxTokens: 8, chunkSize: 12 } });
let lab: Lab;
let started: { stop(): Promise<void> }[];

beforeEach(async () => {
  for (const name of Object.keys(process.env)) if (name.startsWith('TEMPORAL_')) delete process.env[name];
  process.env.TEMPORAL_ADDRESS = await temporalAddress();
  lab = await Lab.open('versions', { worker: false });
  started = [];
});

afterEach(async () => {
  await Promise.all(started.map((workers) => workers.stop()));
  await lab.close();
});

/** `srlm worker`, in this process. */
async function workers(role: Role, versioning?: { buildId: string; runs: 'move' | 'stay' }): Promise<RunningWorkers> {
  const { deployment } = lab.client;
  const version = versioning && { deploymentName: basename(lab.folder), ...versioning };
  const running = await startWorkers({ ...deployment, versioning: version }, role);
  started.push(running);
  return running;
}

/** Until the code of a workflow has decided on such an activity, which its history then says for good. */
async function decided(workflowId: string, activity: string): Promise<void> {
  await lab.until(`${workflowId} has come to ${activity}`, async () => {
    const { events } = await lab.client.temporal.workflow.getHandle(workflowId).fetchHistory();
    return events?.some((event) => event.activityTaskScheduledEventAttributes?.activityType?.name === activity);
  });
}

describe('workers that declare a version', { timeout: PATIENCE_MS }, () => {
  it('end a round on the code it began with, and go on with the run on the current', async () => {
    await workers('workflow', { buildId: 'A', runs: 'move' });
    await makeCurrent('A');
    // Not routed: one worker a GPU host serves the workflows of both.
    await workers('cpu', { buildId: 'A', runs: 'move' });
    await workers('gpu', { buildId: 'A', runs: 'move' });
    await workers('workflow', { buildId: 'B', runs: 'move' });
    await lab.start({ ...spec, evaluation: 'none' }, 'moves');
    await decided('moves.round-0', 'srlmFineTune');
    await makeCurrent('B');
    await lab.finish('moves');
    expect(await buildsOf('moves')).toEqual(['A', 'B']);
    expect(await buildsOf('moves.round-0')).toEqual(['A']);
    expect(await buildsOf('moves.round-1')).toEqual(['B']);
  });

  it('keep the whole run on the code it began with, where runs stay', async () => {
    await workers('workflow', { buildId: 'A', runs: 'stay' });
    await makeCurrent('A');
    await lab.start(spec, 'stays');
    await lab.until('the run has begun', async () => (await buildsOf('stays')).length > 0);
    await workers('workflow', { buildId: 'B', runs: 'stay' });
    await makeCurrent('B');
    await workers('cpu');
    await workers('gpu');
    await decided('stays.round-0', 'srlmMix');
    expect(await buildsOf('stays')).toEqual(['A']);
    expect(await buildsOf('stays.round-0')).toEqual(['A']);
  });

  /** As an operator does it. A version is known some moments after its first worker has come. */
  async function makeCurrent(buildId: string): Promise<void> {
    const args = ['worker', 'deployment', 'set-current-version', '--yes'];
    const version = ['--deployment-name', basename(lab.folder), '--build-id', buildId];
    await lab.until(`version ${buildId} is current`, async () => {
      await promisify(execFile)(join(lab.folder, 'temporal'), [...args, ...version]);
      return true;
    });
  }

  /** The versions whose workflow code decided what comes next, in order. */
  async function buildsOf(workflowId: string): Promise<string[]> {
    const { events } = await lab.client.temporal.workflow.getHandle(workflowId).fetchHistory();
    const builds = (events ?? []).flatMap(({ workflowTaskCompletedEventAttributes: task }) =>
      task ? [task.deploymentVersion?.buildId ?? 'none'] : [],
    );
    return builds.filter((build, i) => build !== builds[i - 1]);
  }
});

describe('a run begun on the last release', { timeout: PATIENCE_MS }, () => {
  const { release, bundle } = lastRelease();

  it(`(${release}) ends on today’s code with the result of one left alone`, async () => {
    await workers('cpu');
    await workers('gpu');
    const before = await releasedWorker(bundle);
    const { input } = await lab.client.runInput(spec, { folder: lab.folder });
    const { taskQueue } = lab.client.deployment;
    const args = [inputOf(release, input)];
    await lab.client.temporal.workflow.start('srlmRun', { workflowId: 'crosses', taskQueue, args });
    // Round 0 is done, and round 1 has begun: today's code has to follow what the other decided in both workflows.
    await decided('crosses.round-1', 'srlmShard');
    await before.stop();
    const round = await lab.client.temporal.workflow.getHandle('crosses.round-1').describe();
    expect(round.status.name).toBe('RUNNING');
    await workers('workflow');
    const crossed = await lab.finish('crosses');

    const alone = await Lab.open('alone');
    try {
      expect(made(crossed)).toEqual(made(await alone.finish(await alone.start(spec))));
    } finally {
      await alone.close();
    }
  });

  /** A worker of that release, as far as workflows go. */
  async function releasedWorker(code: string): Promise<{ stop(): Promise<void> }> {
    const codePath = join(lab.folder, 'workflow-bundle.js');
    await writeFile(codePath, code);
    const connection = await NativeConnection.connect({ address: process.env.TEMPORAL_ADDRESS! });
    const { taskQueue } = lab.client.deployment;
    const worker = await Worker.create({ connection, taskQueue, workflowBundle: { codePath } });
    const ended = worker.run().finally(() => connection.close());
    let stopped: Promise<void> | null = null;
    const stop = () => {
      if (!stopped) worker.shutdown();
      stopped ??= ended;
      return stopped;
    };
    started.push({ stop });
    return { stop };
  }

  /** What a run has come to, in what every release tells of it. */
  function made({ rounds, best, model }: RunResult) {
    const weightsAndData = rounds.map(({ model, data, decisions, score }) => ({
      model,
      data,
      decisions,
      accuracy: score?.accuracy,
    }));
    return { best, model, rounds: weightsAndData };
  }
});
