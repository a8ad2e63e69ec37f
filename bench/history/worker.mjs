/**
 * The worker of the history bench: the product's workflows, and scripted activities that answer like those of a run with
 * ROWS rows. Shards read their step and its texts from the store, as real ones do, and take 20 to 120 ms: long enough to end one by one.
 *   node bench/history/worker.mjs ADDRESS TASK_QUEUE STORE [waiting [SECONDS]]
 * Prints "ready" with the address of its metrics, and its peak memory in bytes when its input ends. `waiting`: shards never
 * end, and send heartbeats as real ones do; SECONDS: at least so often.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { activity } from '../../dist/activities/activity.js';
import { SpecTexts } from '../../dist/contracts/spec.js';
import { ShardedStep, ShardInput } from '../../dist/contracts/steps.js';
import { random } from '../../dist/method/random.js';
import { openStore } from '../../dist/storage/store.js';
import { root } from '../../scripts/set-up.mjs';

const [address, taskQueue, artifactRoot, waiting, seconds] = process.argv.slice(2);
const store = openStore({ artifactRoot, modelRoots: [] });
const next = random(1);
const sha = (text) => createHash('sha256').update(text).digest('hex');
const object = (name, rows = 0) => ({ sha256: sha(name), rows, bytes: 1000 });
const dataset = (name, like) => ({ ...object(name, like.rows), chunks: like.chunks });
const model = (name) => ({ sha256: sha(name), bytes: 1e9, path: null });
const usage = { tokens: 1000, gpuSeconds: 10, money: 0 };
const done = (output, used = null) => ({
  output,
  meta: { key: sha(JSON.stringify(output)), reused: false, run: 'bench', usage: used },
});

const activities = {
  srlmPrepareModel: async () => model('start'),
  // `limit` says how many rows there are: nothing is read.
  srlmIngest: async ({ kind, limit, chunkSize }) => {
    const rows = kind === 'examples' ? limit : 1000;
    const data = { rows, chunks: Math.ceil(rows / chunkSize) };
    return done({ dataset: dataset(kind, data), missingRationales: 0, meanRationaleChars: 40 });
  },
  srlmOpenStep: async (step) => ({
    step: await store.objects.putJson(step),
    ...{ rows: step.data.rows, chunks: step.data.chunks, done: null },
  }),
  srlmShard: async ({ step: ref, from, to }) => {
    const step = await store.objects.readJson(ref, ShardedStep);
    await store.objects.readJson(step.texts, SpecTexts);
    await sleep(20 + 100 * next());
    return { rows: (to - from) * 32, chunksReused: 0, chunksDone: to - from, complete: true, usage, countedUntil: 0 };
  },
  srlmAssemble: async ({ step: ref }) => {
    const { data, step } = await store.objects.readJson(ref, ShardedStep);
    return done(dataset(`${step} ${ref.sha256}`, data));
  },
  srlmParse: async ({ candidates }) => done(dataset(`parsed ${candidates.sha256}`, candidates)),
  srlmSelect: async ({ data }) =>
    done({
      set: { dataset: dataset('selected', data), rows: data.rows, enriched: data.rows, meanRationaleChars: 200 },
      ...{ decisions: dataset('decisions', data), changed: data.rows },
    }),
  srlmMix: async ({ data }) => done(dataset(`mixture ${data.sha256}`, data)),
  srlmFineTune: async ({ data }) =>
    done({ model: model(data.sha256), steps: 1000, trainLoss: 1.234567, tokens: 1e9, precision: 'bf16' }, usage),
  srlmGrade: async ({ replies }) =>
    done({ grades: dataset(replies.sha256, replies), correct: 500, total: 1000, accuracy: 0.5, low: 0.47, high: 0.53 }),
  srlmGate: async () => ({ verdict: 'keep', difference: 0.01, low: -0.02, high: 0.04 }),
  srlmKeepRound: async ({ round }) => store.objects.putJson({ version: 2, preparation: [], rounds: [round] }),
  srlmExport: async () => undefined,
};

if (waiting)
  activities.srlmShard = activity('shard', ShardInput, ({ from, to }, progress) => {
    progress.expect((to - from) * 32, 'sample');
    return new Promise(() => {});
  });

const metricsAt = `127.0.0.1:${await freePort()}`;
Runtime.install({
  logger: new DefaultLogger('ERROR'),
  telemetryOptions: { metrics: { prometheus: { bindAddress: metricsAt } } },
});
const connection = await NativeConnection.connect({ address });
const worker = await Worker.create({
  ...{ connection, taskQueue, activities },
  workflowBundle: { codePath: join(root, 'dist/workflow-bundle.js') },
  ...{ maxCachedWorkflows: 100, workflowThreadPoolSize: 1 },
  ...(seconds ? { maxHeartbeatThrottleInterval: `${seconds} seconds` } : {}),
});
const running = worker.run();
process.stdout.write(`ready http://${metricsAt}/metrics\n`);
process.stdin.resume().once('end', () => worker.shutdown());
await running;
await connection.close();
const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
process.stdout.write(`${peak ? Number(peak[1]) * 1024 : 0}\n`);

function freePort() {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
