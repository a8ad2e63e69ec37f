/** A worker is stopped: its activities hand over what they have done, so that nothing is paid for twice. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { srlmFineTune } from '../../activities/fine-tune.js';
import { srlmShard } from '../../activities/sharded.js';
import { resolveDeployment } from '../../config/load.js';
import type { ObjectRef } from '../../contracts/refs.js';
import { SampleSpec, splitSampleSpec } from '../../contracts/spec.js';
import type { FineTuneInput, ShardOutput } from '../../contracts/steps.js';
import { Training } from '../../contracts/training.js';
import { Site } from '../../worker/site.js';
import { SteeredEndpoint } from '../support/endpoint.js';
import { freePorts } from '../support/temporal-server.js';

const CHUNKS = 3;
const ROWS = 2;

let folder: string;
let endpoint: SteeredEndpoint;
let site: Site;
let step: ObjectRef;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'srlm-test-drain-'));
  const [port] = await freePorts(1);
  endpoint = await new SteeredEndpoint(port!).open();
  const { baseUrl } = endpoint;
  const engines = { teacher: { kind: 'endpoint' as const, baseUrl, model: 'teacher' } };
  site = Site.of(resolveDeployment({ engines }, folder));
  const { objects, datasets } = site.deps.store;
  const { settings, texts } = splitSampleSpec(
    SampleSpec.parse({ engine: 'teacher', data: { path: 'asked.jsonl' }, sampling: { k: 1 } }),
  );
  const rows = (chunk: number) =>
    Array.from({ length: ROWS }, (_, i) => ({ id: `${chunk}-${i}`, instruction: `question ${chunk}-${i}` }));
  const chunks = await Promise.all(Array.from({ length: CHUNKS }, (_, chunk) => objects.putRows(rows(chunk))));
  const { chunkSize: _, maxFailedShare: __, ...sampling } = settings.sampling;
  step = await objects.putJson({
    ...{ step: 'sample', purpose: 'prompt', engine: 'teacher', model: null, enrichFrom: 'original' },
    ...{ data: await datasets.put(chunks), texts: await objects.putJson(texts), sampling },
    ...{ seed: 0, round: 0, deterministic: false },
  });
});

afterEach(async () => {
  await endpoint.close();
  rmSync(folder, { recursive: true, force: true });
});

function run<In, Out>(activity: (input: In) => Promise<Out>, input: In): Promise<Out> {
  const info = { workflowExecution: { workflowId: 'run', runId: 'one' } };
  const environment = new MockActivityEnvironment(info, { logger: new DefaultLogger('ERROR') });
  return environment.run(activity as never, input as never) as Promise<Out>;
}

const shard = (): Promise<ShardOutput> =>
  run(srlmShard(site.deps), {
    ...{ step, from: 0, to: CHUNKS, share: null, countedUntil: 0 },
    suspects: { since: 0, forkOf: null },
  });

it('a shard finishes its chunk, and the next worker asks for the rest only', async () => {
  endpoint.delayMs = 50;
  const first = shard();
  while (endpoint.asked === 0) await sleep(5);
  site.drain();
  expect(await first).toMatchObject({ complete: false, chunksDone: 1, rows: ROWS });
  expect(endpoint.answered).toHaveLength(ROWS);
  site.undrain();
  expect(await shard()).toMatchObject({ complete: true, chunksReused: 1, chunksDone: CHUNKS - 1, rows: CHUNKS * ROWS });
  expect(new Set(endpoint.answered).size).toBe(endpoint.answered.length);
});

it('a shard that reaches a worker which is being stopped is handed over at once', async () => {
  site.drain();
  expect(await shard()).toMatchObject({ complete: false, chunksDone: 0, rows: 0 });
  expect(endpoint.answered).toEqual([]);
});

it('a training that waits for the hardware fails at once, in a way that is tried again', async () => {
  const base = { sha256: 'a'.repeat(64), bytes: 1, path: null };
  const data = { sha256: 'b'.repeat(64), rows: 1, bytes: 1, chunks: 1 };
  const training = Training.parse({});
  const input: FineTuneInput = { trainer: 'local', base, data, training, seed: 0, deterministic: true };
  let release = () => {};
  const other = site.deps.engines.hardware.withTrainer('other', new AbortController().signal, async () => {
    await new Promise<void>((resolve) => {
      release = resolve;
    });
  });
  const waiting = run(srlmFineTune(site.deps), input);
  setTimeout(() => site.drain(), 50);
  await expect(waiting).rejects.toMatchObject({ message: 'WORKER_SHUTDOWN', nonRetryable: false });
  release();
  await other;
});
