/**
 * Runs that are in progress while the code of their workflows changes: from one declared version to the next, and, with
 * no version declared, from the last release to what is built here (docs/releasing.md). Only that one needs a model.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { resolveDeployment, workflowConfigOf } from '../../config/load.js';
import type { Deployment, Versioning } from '../../contracts/deployment.js';
import type { RunInput, RunResult } from '../../contracts/run.js';
import { RunSettings } from '../../contracts/spec.js';
import type { FineTuneInput } from '../../contracts/steps.js';
import { temporalBinary } from '../../worker/embedded.js';
import { type Role, type RunningWorkers, startWorkers } from '../../worker/workers.js';
import { executionsOf } from '../support/executions.js';
import { type Finished, Harness, harnessSpec, temporalAddress } from '../support/harness.js';
import { python } from '../support/python.js';
import { inputOf, lastRelease } from '../support/releases.js';
import { defaults, object, type Script, trained } from '../workflows/script.js';
import { gate, PATIENCE_MS, within } from '../workflows/waiting.js';

let address: string;
const started: { stop(): Promise<void> }[] = [];

beforeAll(async () => {
  address = await temporalAddress();
});
beforeEach(() => {
  for (const name of Object.keys(process.env)) if (name.startsWith('TEMPORAL_')) delete process.env[name];
  process.env.TEMPORAL_ADDRESS = address;
});
afterEach(async () => {
  await Promise.all(started.splice(0).map((workers) => workers.stop()));
});

/** `srlm worker`, in this process. */
async function work(
  deployment: Deployment,
  role: Role,
  options: Pick<WorkerOptions, 'activities'> = {},
): Promise<RunningWorkers> {
  const running = await startWorkers(deployment, role, options);
  started.push(running);
  return running;
}

/** Activities answer as scripted: what is shown is which workflow code a run is sent to. */
describe('workers that declare a version', { timeout: 120_000 }, () => {
  let folder: string;
  let deployment: Deployment;
  let client: Client;

  beforeAll(async () => {
    client = new Client({ connection: await Connection.connect({ address }) });
  });
  afterAll(() => client.connection.close());

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'srlm-versions-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  /** One that `script` is all of whose work. */
  function open(runs: Versioning['runs'], script: Script = {}) {
    const engines = { teacher: { kind: 'endpoint' as const, baseUrl: 'http://127.0.0.1:9/v1', model: 'none' } };
    const versioning = { deploymentName: basename(folder), buildId: 'A', runs };
    deployment = resolveDeployment({ taskQueue: basename(folder), engines, versioning }, folder);
    // Which host has the trainer is for the worker to say.
    const { srlmClaimHost: _, ...answers } = { ...defaults(new Map()), ...script };
    const activities = Object.fromEntries(
      Object.entries(answers).map(([name, answer]) => [name, async (input: unknown) => answer(input, 1)]),
    );
    const at = (buildId?: string): Deployment => ({
      ...deployment,
      versioning: buildId ? { ...versioning, buildId } : undefined,
    });
    return {
      workflows: (buildId?: string) => work(at(buildId), 'workflow'),
      activities: (role: 'cpu' | 'gpu', buildId?: string) => work(at(buildId), role, { activities }),
    };
  }

  /** A run of two rounds, which are two executions. */
  async function start(workflowId: string): Promise<void> {
    const settings = { rounds: 1, catalysts: 'none', evaluation: 'none', selection: { selector: 'length' } };
    const input: RunInput = {
      version: 2,
      settings: RunSettings.parse({ data: {}, ...settings }),
      texts: object('texts'),
      data: object('data.jsonl'),
      ...{ catalysts: null, evaluation: null, fork: null },
      config: workflowConfigOf(deployment, false),
    };
    await client.workflow.start('srlmRun', { workflowId, taskQueue: deployment.taskQueue, args: [input] });
  }

  /** No training ends before `continues` is open. */
  function heldInTraining() {
    const training = gate();
    const continues = gate();
    const srlmFineTune = async (input: FineTuneInput) => {
      training.open();
      await continues.wait;
      return trained(input);
    };
    return { training, continues, script: { srlmFineTune } };
  }

  const finish = (workflowId: string) =>
    within(client.workflow.getHandle(workflowId).result() as Promise<RunResult>, () => `${workflowId} has not ended`);

  it('end a round with the code it began with, and the next round uses the current one', async () => {
    const { training, continues, script } = heldInTraining();
    const { workflows, activities } = open('auto-upgrade', script);
    await workflows('A');
    await makeCurrent('A');
    // Not routed: one worker for each GPU host serves the workflows of both.
    await activities('cpu', 'A');
    await activities('gpu', 'A');
    await workflows('B');
    await start('upgrades');
    await within(training.wait, () => 'round 0 never trains');
    await makeCurrent('B');
    continues.open();
    await finish('upgrades');
    expect(await buildsOf('upgrades')).toEqual([['A'], ['B']]);
  });

  it('keep a pinned run on the code it began with', async () => {
    const { training, continues, script } = heldInTraining();
    const { workflows, activities } = open('pinned', script);
    await workflows('A');
    await makeCurrent('A');
    await activities('cpu');
    await activities('gpu');
    await workflows('B');
    await start('stays');
    await within(training.wait, () => 'round 0 never trains');
    await makeCurrent('B');
    continues.open();
    await finish('stays');
    expect(await buildsOf('stays')).toEqual([['A'], ['A']]);
  });

  it('take over, as the first version, the round that a worker without one had begun', async () => {
    const { workflows, activities } = open('auto-upgrade');
    const before = await workflows();
    await activities('cpu');
    await start('introduced');
    await vi.waitFor(async () => expect((await buildsOf('introduced'))[0]).toEqual(['none']), PATIENCE_MS);
    await workflows('A');
    await makeCurrent('A');
    await before.stop();
    await activities('gpu');
    await finish('introduced');
    expect(await buildsOf('introduced')).toEqual([['none', 'A'], ['A']]);
  });

  /** As an operator does it. A version is known some moments after its first worker has started. */
  async function makeCurrent(buildId: string): Promise<void> {
    const args = ['worker', 'deployment', 'set-current-version', '--yes'];
    const version = ['--deployment-name', basename(folder), '--build-id', buildId];
    const set = () => promisify(execFile)(temporalBinary({ python }), [...args, ...version]);
    await vi.waitFor(set, { timeout: PATIENCE_MS, interval: 200 });
  }

  /** For each execution, the versions whose workflow code decided what comes next, in order. */
  async function buildsOf(workflowId: string): Promise<string[][]> {
    const executions = await executionsOf(client, workflowId);
    return executions.map(({ history }) => {
      const builds = (history.events ?? []).flatMap(({ workflowTaskCompletedEventAttributes: task }) =>
        task ? [task.deploymentVersion?.buildId ?? 'none'] : [],
      );
      return builds.filter((build, i) => build !== builds[i - 1]);
    });
  }
});

/** Engines start, and a busy machine takes its time for that. */
describe('a run that began with the last release', { timeout: 480_000 }, () => {
  const { release, bundle } = lastRelease();
  const spec = harnessSpec({
    training: { epochs: 1 },
    sampling: { k: 2, maxTokens: 8, chunkSize: 12 },
    evaluation: 'none',
    // As the last release has it: it knows no choice of scores to keep.
    selection: {},
  });
  let harness: Harness;

  beforeAll(async () => {
    harness = await Harness.open('versions', { worker: false });
  });
  afterAll(() => harness?.close());

  it(`(${release}) ends with today’s code and the result of one that began with it`, async () => {
    const { deployment } = harness.client;
    const { taskQueue } = deployment;
    await work(deployment, 'cpu');
    await work(deployment, 'gpu');
    const before = await releasedWorker(bundle);
    const { input } = await harness.client.runInput(spec, { folder: harness.folder });
    const args = [inputOf(release, input)];
    await harness.client.temporal.workflow.start('srlmRun', { workflowId: 'crosses', taskQueue, args });
    // In the middle of round 1: today's code takes over a state that the other carried, and a history that it decided.
    await scheduled('crosses', 'srlmShard', 2);
    await before.stop();
    expect((await harness.client.status('crosses')).endedAt).toBeNull();
    await work(deployment, 'workflow');
    const crossed = made(await harness.finish('crosses'));
    // Where today's code asks for the same, it finds what the other run has stored; where it does not, it is another result.
    expect(made(await harness.finish(await harness.start(spec, 'begins')))).toEqual(crossed);
  });

  /** What a run came to, as far as every release reports it. */
  function made({ rounds, best, model }: Finished) {
    const weightsAndData = rounds.map(({ model, set, decisions, evaluation }) => ({
      ...{ model, data: set.dataset, decisions, accuracy: evaluation?.accuracy },
    }));
    return { best, model, rounds: weightsAndData };
  }

  /** Waits until the workflow code of some execution has scheduled such an activity. */
  async function scheduled(workflowId: string, activity: string, execution = 1): Promise<void> {
    await harness.until(`execution ${execution} of ${workflowId} has scheduled ${activity}`, async () => {
      const { history } = (await executionsOf(harness.client.temporal, workflowId))[execution - 1]!;
      return history.events?.some(
        (event) => event.activityTaskScheduledEventAttributes?.activityType?.name === activity,
      );
    });
  }

  /** A worker of that release, as far as workflows go. */
  async function releasedWorker(code: string): Promise<{ stop(): Promise<void> }> {
    const codePath = join(harness.folder, 'workflow-bundle.js');
    await writeFile(codePath, code);
    const connection = await NativeConnection.connect({ address });
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
