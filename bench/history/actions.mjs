/**
 * What does a run cost on Temporal Cloud? Billable actions an hour with 8 shards in flight, at the default settings and
 * with the heartbeats of earlier releases: heartbeats as the SDK's own metrics count them while shards run that wait
 * (worker.mjs), and everything else as the histories of a finished run count it, at 10 minutes a shard.
 * What is billed: https://docs.temporal.io/cloud/actions
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { Deployment } from '../../dist/contracts/deployment.js';
import { root } from '../../scripts/set-up.mjs';

const SHARDS = 8;
const SHARD_MINUTES = 10;
/** The first heartbeat of an activity is sent at once, all others at their interval. */
const UNTIL_STEADY_MS = 5000;
/** A multiple of the interval at the default settings. */
const MEASURED_MS = 96_000;

/** Settings of earlier releases: every worker sent a heartbeat every two seconds. */
const BEFORE = { heartbeatSeconds: 20, intervalSeconds: 2 };

export async function actionsPerHour(address, artifactRoot, runInput, { activities, actions }) {
  const { heartbeatSeconds } = Deployment.parse({});
  const now = { heartbeatSeconds, intervalSeconds: Math.min(0.8 * heartbeatSeconds, 60) };
  const [ours, before] = await Promise.all(
    [now, BEFORE].map((settings) => heartbeats(address, artifactRoot, runInput, settings)),
  );
  // All that is not a heartbeat: what a run's histories hold for each of its activities, nearly all of them shards.
  const starts = (SHARDS * 60) / SHARD_MINUTES;
  const others = starts * (actions / activities);
  // An activity's first heartbeat is sent when it begins.
  const total = (measured) => Math.round(measured + starts + others);
  return {
    ...{ shards: SHARDS, shardMinutes: SHARD_MINUTES, otherActionsPerHour: Math.round(others) },
    ...{ ...ours, actionsPerHour: total(ours.heartbeatsPerHour) },
    before: { ...before, actionsPerHour: total(before.heartbeatsPerHour) },
  };
}

async function heartbeats(address, artifactRoot, runInput, { heartbeatSeconds, intervalSeconds }) {
  const taskQueue = `actions-${intervalSeconds}`;
  const input = await runInput(artifactRoot, taskQueue, SHARDS * 8 * 32, 0);
  input.config = { ...input.config, heartbeatSeconds, shardsInFlight: SHARDS };
  const limit = intervalSeconds < 0.8 * heartbeatSeconds ? String(intervalSeconds) : '';
  const args = [join(root, 'bench/history/worker.mjs'), address, taskQueue, artifactRoot, 'waiting', limit];
  const worker = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: worker.stdout })[Symbol.asyncIterator]();
  const metrics = (await lines.next()).value.split(' ')[1];
  const connection = await Connection.connect({ address });
  try {
    const { workflow } = new Client({ connection });
    const handle = await workflow.start('srlmRun', { workflowId: taskQueue, taskQueue, args: [input] });
    while ((await inFlight(handle)) < SHARDS) await sleep(200);
    await sleep(UNTIL_STEADY_MS);
    const [first, from] = [await sent(metrics), performance.now()];
    await sleep(MEASURED_MS);
    const [last, to] = [await sent(metrics), performance.now()];
    await handle.terminate();
    return {
      ...{ heartbeatSeconds, intervalSeconds, heartbeatsMeasured: last - first },
      heartbeatsPerHour: Math.round(((last - first) / (to - from)) * 3_600_000),
      heartbeatsPerHourComputed: (SHARDS * 3600) / intervalSeconds,
    };
  } finally {
    await connection.close();
    worker.kill('SIGKILL');
    if (worker.exitCode === null && worker.signalCode === null) await once(worker, 'exit');
  }
}

async function inFlight(handle) {
  const { raw } = await handle.describe();
  return (raw.pendingActivities ?? []).filter(({ activityType }) => activityType.name === 'srlmShard').length;
}

/** Heartbeats that reached the server. */
async function sent(metrics) {
  const text = await (await fetch(metrics)).text();
  const counts = text.matchAll(/^temporal_request\{[^}]*operation="RecordActivityTaskHeartbeat"[^}]*\} (\d+)/gm);
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** Billable actions among the events of one execution. Search attributes given at the start cost nothing. */
export function billable(events) {
  const kinds = [
    'workflowExecutionStartedEventAttributes',
    // Each attempt: its last one has an event, which says how many there were.
    'activityTaskStartedEventAttributes',
    'timerStartedEventAttributes',
    'workflowExecutionSignaledEventAttributes',
    'workflowExecutionUpdateAcceptedEventAttributes',
    'upsertWorkflowSearchAttributesEventAttributes',
  ];
  return events.reduce((sum, event) => {
    const kind = kinds.find((name) => event[name]);
    return sum + (kind ? (event[kind].attempt ?? 1) : 0);
  }, 0);
}
