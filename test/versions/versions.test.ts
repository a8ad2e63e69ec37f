/**
 * Runs that are in progress while the code of their workflows changes: from one declared version to the next, and, with
 * no version declared, from the last release to what is built here (docs/releasing.md).
 */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { NativeConnection, Worker } from '@temporalio/worker';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Versioning } from '../../contracts/deployment.js';
import { type Role, type RunningWorkers, startWorkers } from '../../worker/workers.js';
import { executionsOf } from '../support/executions.js';
import { type Finished, Harness, harnessSpec, temporalAddress } from '../support/harness.js';
import { inputOf, lastRelease } from '../support/releases.js';

/** Engines start in each test, and a busy machine takes its time for that. */
const TEST_MS = 480_000;

const spec = harnessSpec({
  training: { epochs: 1 },
  sampling: { k: 2, maxTokens: 8, chunkSize: 12 },
  evaluation: 'none',
});
/** What a run on today's code comes to. */
let reference: ReturnType<typeof made>;
let harness: Harness;
let started: { stop(): Promise<void> }[] = [];

beforeEach(async () => {
  for (const name of Object.keys(process.env)) if (name.startsWith('TEMPORAL_')) delete process.env[name];
  process.env.TEMPORAL_ADDRESS = await temporalAddress();
  started = [];
});

/** What a run came to, as far as every release reports it. */
function made({ rounds, best, model }: Finished) {
  const weightsAndData = rounds.map(({ model, set, decisions, evaluation }) => ({
    ...{ model, data: set.dataset, decisions, accuracy: evaluation?.accuracy },
  }));
  return { best, model, rounds: weightsAndData };
}

async function close(): Promise<void> {
  await Promise.all(started.splice(0).map((workers) => workers.stop()));
  await harness.close();
}
afterEach(close);

/** `srlm worker`, in this process. */
async function workers(role: Role, versioning?: Versioning): Promise<RunningWorkers> {
  const running = await startWorkers({ ...harness.client.deployment, versioning }, role);
  started.push(running);
  return running;
}

/** Waits until the workflow code of some execution has scheduled such an activity. */
async function scheduled(workflowId: string, activity: string, execution = 1): Promise<void> {
  await harness.until(`execution ${execution} of ${workflowId} has scheduled ${activity}`, async () => {
    const { history } = (await executionsOf(harness.client.temporal, workflowId))[execution - 1]!;
    return history.events?.some((event) => event.activityTaskScheduledEventAttributes?.activityType?.name === activity);
  });
}

describe('workers that declare a version', { timeout: TEST_MS }, () => {
  let deploymentName: string;

  async function open(runs: Versioning['runs']): Promise<(buildId: string) => Versioning> {
    deploymentName = `versions-${process.pid}-${runs}`;
    const version = (buildId: string): Versioning => ({ deploymentName, buildId, runs });
    harness = await Harness.open('versions', { worker: false, config: { versioning: version('A') } });
    return version;
  }

  it('end a round with the code it began with, and the next round uses the current one', async () => {
    const version = await open('auto-upgrade');
    await workers('workflow', version('A'));
    await makeCurrent('A');
    // Not routed: one worker for each GPU host serves the workflows of both.
    await workers('cpu', version('A'));
    await workers('gpu', version('A'));
    await workers('workflow', version('B'));
    await harness.start({ ...spec, evaluation: 'none' }, 'upgrades');
    await scheduled('upgrades', 'srlmFineTune');
    await makeCurrent('B');
    reference = made(await harness.finish('upgrades'));
    expect(await buildsOf('upgrades')).toEqual([['A'], ['B']]);
  });

  it('keep a pinned run on the code it began with', async () => {
    const version = await open('pinned');
    await workers('workflow', version('A'));
    await makeCurrent('A');
    await workers('cpu');
    await workers('gpu');
    await workers('workflow', version('B'));
    await harness.start({ ...spec, evaluation: 'none' }, 'stays');
    await scheduled('stays', 'srlmMix');
    await makeCurrent('B');
    await scheduled('stays', 'srlmShard', 2);
    expect(await buildsOf('stays')).toEqual([['A'], ['A']]);
  });

  it('take over, as the first version, the round that a worker without one had begun', async () => {
    const version = await open('auto-upgrade');
    const before = await workers('workflow');
    await workers('cpu');
    await harness.start({ ...spec, evaluation: 'none' }, 'introduced');
    await harness.until('the run has begun', async () => (await buildsOf('introduced'))[0]?.length);
    await workers('workflow', version('A'));
    await makeCurrent('A');
    await before.stop();
    await workers('gpu');
    await harness.finish('introduced');
    expect(await buildsOf('introduced')).toEqual([['none', 'A'], ['A']]);
  });

  /** As an operator does it. A version is known some moments after its first worker has started. */
  async function makeCurrent(buildId: string): Promise<void> {
    const args = ['worker', 'deployment', 'set-current-version', '--yes'];
    const version = ['--deployment-name', deploymentName, '--build-id', buildId];
    await harness.until(`version ${buildId} is current`, async () => {
      await promisify(execFile)(join(harness.folder, 'temporal'), [...args, ...version]);
      return true;
    });
  }

  /** For each execution, the versions whose workflow code decided what comes next, in order. */
  async function buildsOf(workflowId: string): Promise<string[][]> {
    const executions = await executionsOf(harness.client.temporal, workflowId);
    return executions.map(({ history }) => {
      const builds = (history.events ?? []).flatMap(({ workflowTaskCompletedEventAttributes: task }) =>
        task ? [task.deploymentVersion?.buildId ?? 'none'] : [],
      );
      return builds.filter((build, i) => build !== builds[i - 1]);
    });
  }
});

describe('a run that began with the last release', { timeout: TEST_MS }, () => {
  const { release, bundle } = lastRelease();

  it(`(${release}) ends with today’s code and the result of one that began with it`, async () => {
    harness = await Harness.open('versions', { worker: false });
    await workers('cpu');
    await workers('gpu');
    const before = await releasedWorker(bundle);
    const { input } = await harness.client.runInput(spec, { folder: harness.folder });
    const { taskQueue } = harness.client.deployment;
    const args = [inputOf(release, input)];
    await harness.client.temporal.workflow.start('srlmRun', { workflowId: 'crosses', taskQueue, args });
    // In the middle of round 1: today's code takes over a state that the other carried, and a history that it decided.
    await scheduled('crosses', 'srlmShard', 2);
    await before.stop();
    expect((await harness.client.status('crosses')).endedAt).toBeNull();
    await workers('workflow');
    expect(made(await harness.finish('crosses'))).toEqual(reference);
  });

  /** A worker of that release, as far as workflows go. */
  async function releasedWorker(code: string): Promise<{ stop(): Promise<void> }> {
    const codePath = join(harness.folder, 'workflow-bundle.js');
    await writeFile(codePath, code);
    const connection = await NativeConnection.connect({ address: process.env.TEMPORAL_ADDRESS! });
    const { taskQueue } = harness.client.deployment;
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
});
