/**
 * Two GPU hosts, of which one is lost for good in a training: the other one continues from the newest checkpoint. The
 * time after which a host is given up is shortened in the workflow code, since nobody else needs to set it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { packageRoot } from '../../processes/python.js';
import { type RunningWorkers, startWorkers } from '../../worker/workers.js';
import { executionsOf } from '../support/executions.js';
import { type Finished, Harness, harnessSpec, type TrainingStep, temporalAddress } from '../support/harness.js';

const GIVEN_UP_AFTER = /HOST_SCHEDULE_TO_START = '2 minutes'/;

let harness: Harness;
let connection: NativeConnection;
let cpu: RunningWorkers;
let workflows: { worker: Worker; ended: Promise<void> };
let lost: TrainingStep[];
let steps: TrainingStep[];
let result: Finished;

beforeAll(async () => {
  harness = await Harness.open('hosts', { worker: false, config: { heartbeatSeconds: 2 } });
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  connection = await NativeConnection.connect({ address: await temporalAddress() });
  const code = readFileSync(join(packageRoot, 'dist/workflow-bundle.js'), 'utf8');
  expect(code).toMatch(GIVEN_UP_AFTER);
  const worker = await Worker.create({
    ...{ connection, taskQueue: harness.client.deployment.taskQueue },
    workflowBundle: { code: code.replace(GIVEN_UP_AFTER, "HOST_SCHEDULE_TO_START = '2 seconds'") },
  });
  workflows = { worker, ended: worker.run() };
  cpu = await startWorkers(harness.client.deployment, 'cpu', { connection });

  const a = await harness.startWorker('a');
  const runId = await harness.start(harnessSpec({ rounds: 0, evaluation: 'none' }), 'moves');
  const trainer = await harness.trainerAt(6);
  process.kill(trainer.pid, 'SIGSTOP');
  await harness.startWorker('b');
  await harness.kill(a);
  await harness.kill(trainer.pid);
  lost = harness.steps(trainer.folder);
  result = await harness.finish(runId);
  steps = harness.steps(trainer.folder);
}, 240_000);

afterAll(async () => {
  workflows?.worker.shutdown();
  await workflows?.ended;
  await cpu?.stop();
  await connection?.close();
  await harness?.close();
}, 60_000);

it('continues on the other host, from the newest checkpoint', async () => {
  const after = steps.slice(lost.length);
  expect(after[0]?.step).toBeLessThanOrEqual(lost.length + 1);
  expect(after[0]?.step).toBeGreaterThan(5);
  expect(after.map(({ attempt }) => attempt)).toEqual(after.map(() => 2));
  expect(result.rounds).toHaveLength(1);
  const [trained] = await harness.records('fineTune');
  expect(trained?.meta.host).toBe('b');
});

it('names the host in the history, and moves once', async () => {
  const [first] = await executionsOf(harness.client.temporal, 'moves');
  const queues = first?.history.events
    ?.map((event) => event.activityTaskScheduledEventAttributes)
    .filter((scheduled) => scheduled?.activityType?.name === 'srlmFineTune')
    .map((scheduled) => scheduled?.taskQueue?.name);
  const gpu = `${harness.client.deployment.taskQueue}-gpu`;
  expect(queues).toEqual([`${gpu}@a`, `${gpu}@b`]);
});
