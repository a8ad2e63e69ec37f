/**
 * How large do histories get? One enriching round (rank-sum selection, so two models give log-probabilities, and an
 * evaluation) with 10,000, 100,000 and 1,000,000 rows and once more with a prompt of 100 KB: the product's workflows on
 * Temporal's dev server, scripted activities (worker.mjs). The worker's peak memory is known on Linux only.
 * Writes bench/results/history.json: [{rows, promptBytes, events, bytes, largestPayload, activities, actions,
 * replaySeconds, workerPeakBytes, executions}]; events, bytes and replay are those of the run's largest execution;
 * bench/results/actions.json: what an hour costs on Temporal Cloud (actions.mjs).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { workflowConfigOf } from '../../dist/config/load.js';
import { Deployment } from '../../dist/contracts/deployment.js';
import { RunSpec, splitRunSpec } from '../../dist/contracts/spec.js';
import { openStore } from '../../dist/storage/store.js';
import { startEmbedded, temporalBinary } from '../../dist/worker/embedded.js';
import { root } from '../../scripts/set-up.mjs';
import { actionsPerHour, billable } from './actions.mjs';

const SIZES = [
  { rows: 10_000, promptBytes: 0 },
  { rows: 100_000, promptBytes: 0 },
  { rows: 1_000_000, promptBytes: 0 },
  { rows: 1_000_000, promptBytes: 100_000 },
];

export async function history(say) {
  const folder = mkdtempSync(join(tmpdir(), 'srlm-bench-history-'));
  const [port, uiPort] = [await freePort(), await freePort()];
  const embedded = await startEmbedded({
    folder: join(folder, 'temporal'),
    port,
    uiPort,
    temporal: temporalBinary({}),
  });
  try {
    Runtime.install({ logger: new DefaultLogger('ERROR') });
    const found = [];
    for (const size of SIZES) {
      say(`${size.rows} rows${size.promptBytes ? `, a prompt of ${size.promptBytes} bytes` : ''} ...`);
      found.push(await measure(embedded.address, join(folder, 'store'), size));
    }
    say('actions an hour ...');
    const cost = await actionsPerHour(embedded.address, join(folder, 'store'), runInput, largestOf(found[1]));
    mkdirSync(join(root, 'bench/results'), { recursive: true });
    const write = (name, value) =>
      writeFileSync(join(root, 'bench/results', name), `${JSON.stringify(value, null, 2)}\n`);
    write('history.json', found);
    write('actions.json', cost);
    return { histories: found, cost };
  } finally {
    await embedded.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

const largestOf = ({ executions }) => executions.reduce((a, b) => (b.events > a.events ? b : a));

async function measure(address, artifactRoot, { rows, promptBytes }) {
  const taskQueue = `history-${rows}-${promptBytes}`;
  const input = await runInput(artifactRoot, taskQueue, rows, promptBytes);
  const worker = spawn(process.execPath, [join(root, 'bench/history/worker.mjs'), address, taskQueue, artifactRoot], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: worker.stdout })[Symbol.asyncIterator]();
  await lines.next();
  const connection = await Connection.connect({ address });
  try {
    const { workflow, workflowService } = new Client({ connection });
    const { firstExecutionRunId } = await workflow.start('srlmRun', {
      workflowId: taskQueue,
      taskQueue,
      args: [input],
    });
    await workflow.getHandle(taskQueue).result();
    const executions = [];
    for (let runId = firstExecutionRunId; runId; runId = executions.at(-1).next)
      executions.push(await executionOf(workflow, workflowService, taskQueue, runId));
    worker.stdin.end();
    const workerPeakBytes = Number((await lines.next()).value);
    const largest = largestOf({ executions });
    const replaySeconds = await replayed(executions[0].history, largest.history);
    const { events, bytes, activities, actions } = largest;
    return {
      ...{ rows, promptBytes, events, bytes, activities, actions },
      largestPayload: Math.max(...executions.map((one) => one.largestPayload)),
      replaySeconds,
      workerPeakBytes,
      executions: executions.map(({ history: _, next: __, largestPayload: ___, ...one }) => one),
    };
  } finally {
    await connection.close();
    if (worker.exitCode === null) worker.kill();
    if (worker.exitCode === null) await once(worker, 'exit');
  }
}

/** Seconds that `history` takes, in a worker that has replayed `first` before, as one that serves runs has. */
async function replayed(first, history) {
  const histories = [first, history].map((one, i) => ({ workflowId: `replay-${i}`, history: one }));
  const options = { workflowBundle: { codePath: join(root, 'dist/workflow-bundle.js') } };
  let startedAt = 0;
  let seconds = 0;
  for await (const { error } of Worker.runReplayHistories(options, histories)) {
    if (error) throw error;
    seconds = (Date.now() - startedAt) / 1000;
    startedAt = Date.now();
  }
  return seconds;
}

async function executionOf(workflow, service, workflowId, runId) {
  const handle = workflow.getHandle(workflowId, runId);
  const { raw } = await handle.describe();
  const events = [];
  for (let nextPageToken; ; ) {
    const page = await service.getWorkflowExecutionHistory({
      ...{ namespace: 'default', execution: { workflowId, runId }, maximumPageSize: 500, nextPageToken },
    });
    events.push(...page.history.events);
    nextPageToken = page.nextPageToken;
    if (!nextPageToken?.length) break;
  }
  return {
    history: { events },
    next: events.at(-1).workflowExecutionContinuedAsNewEventAttributes?.newExecutionRunId,
    events: events.length,
    bytes: Number(raw.workflowExecutionInfo.historySizeBytes),
    activities: events.filter((event) => event.activityTaskScheduledEventAttributes).length,
    actions: billable(events),
    largestPayload: Math.max(...payloadSizes(events)),
  };
}

/** Bytes of every payload in a history: inputs, results, memo, updates, details of failures. */
function payloadSizes(value) {
  if (value === null || typeof value !== 'object') return [];
  if (value.data instanceof Uint8Array && value.metadata) return [value.data.length];
  return Object.values(value).flatMap(payloadSizes);
}

async function runInput(artifactRoot, taskQueue, rows, promptBytes) {
  const store = openStore({ artifactRoot, modelRoots: [] });
  const filler = 'Think. '.repeat(Math.ceil(promptBytes / 7)).slice(0, promptBytes);
  const source = (limit) => ({ path: 'rows.jsonl', limit });
  const spec = RunSpec.parse({
    ...{ model: { path: 'model' }, data: source(rows), catalysts: source(1000), evaluation: source(1000), rounds: 1 },
    ...(promptBytes ? { prompts: { enrich: `${filler} {instruction} {rationale}` } } : {}),
    selection: { selector: 'rank-sum' },
  });
  const { settings, texts } = splitRunSpec(spec);
  const deployment = Deployment.parse({ taskQueue, singleTaskQueue: true });
  const file = await store.objects.putJson('rows');
  return {
    ...{
      version: 2,
      settings,
      texts: await store.objects.putJson(texts),
      data: file,
      catalysts: file,
      evaluation: file,
    },
    // The worker here has no queue of its own host.
    ...{ config: { ...workflowConfigOf(deployment, true), hostQueues: false }, fork: null },
  };
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
