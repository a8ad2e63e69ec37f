/** Several runs share one GPU queue: by priority, and in turns where that is the same. On a server with fairness. */
import { Context } from '@temporalio/activity';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ShardedStep, ShardInput } from '../../contracts/steps.js';
import { type Scenario, Scenarios, SMALL } from './scenario.js';
import { object, shard } from './script.js';

const SHARDS = 8;

let scenarios: Scenarios;
beforeAll(async () => {
  scenarios = await Scenarios.open();
});
afterAll(() => scenarios?.close());

it('runs that wait for one GPU take turns, after those of a higher priority', async () => {
  const gpuQueue = `${scenarios.taskQueue.slice(0, 70)}-gpu`;
  const config = { gpuQueue, shardsInFlight: SHARDS };
  const script = {
    srlmOpenStep: (step: ShardedStep) => ({ step: object(JSON.stringify(step)), rows: 8, chunks: SHARDS, done: null }),
  };
  const start = (name: string, priorityKey: number): Promise<Scenario> =>
    scenarios.start({
      ...{ id: `${name}-${gpuQueue}`, type: 'srlmSample', args: [scenarios.sampleInput({}, config)], script },
      priority: { priorityKey, fairnessKey: name },
    });
  const runs: Scenario[] = [];
  for (const [name, priority] of Object.entries({ first: 3, second: 3, urgent: 1 })) {
    const run = await start(name, priority);
    while ((await pendingShards(run)) < SHARDS);
    runs.push(run);
  }
  const served: string[] = [];
  const gpu = await Worker.create({
    ...{ connection: scenarios.env.nativeConnection, taskQueue: gpuQueue },
    maxConcurrentActivityTaskExecutions: 1,
    activities: {
      srlmShard: async ({ from, to }: ShardInput) => {
        served.push(Context.current().info.workflowExecution!.workflowId.split('-')[0]!);
        return shard(to - from);
      },
    },
  });
  await gpu.runUntil(Promise.all(runs.map((run) => run.result())));
  const count = (name: string, of: string[]) => of.filter((one) => one === name).length;
  // In the order in which they came, these would be 0 and 8: on a busy machine some are late on their way to the queue.
  expect(count('urgent', served.slice(0, SHARDS))).toBeGreaterThanOrEqual(SHARDS / 2);
  const half = served.slice(SHARDS, 2 * SHARDS);
  expect(Math.abs(count('first', half) - count('second', half))).toBeLessThanOrEqual(SHARDS / 2);
  expect(served).toHaveLength(3 * SHARDS);
});

async function pendingShards({ handle }: Scenario): Promise<number> {
  const { raw } = await handle.describe();
  return (raw.pendingActivities ?? []).filter(({ activityType }) => activityType?.name === 'srlmShard').length;
}

it('the executions that follow one another have the priority and the turn of their run', async () => {
  const priority = { priorityKey: 2, fairnessKey: 'mine', fairnessWeight: 2 };
  const run = await scenarios.start({ settings: { ...SMALL, rounds: 1 }, priority });
  await run.result();
  expect((await run.executions()).length).toBeGreaterThan(1);
  expect((await scenarios.env.client.workflow.getHandle(run.id).describe()).priority).toEqual(priority);
});
