/**
 * A run whose processes are killed with SIGKILL ends as if nobody had touched it. One run is left alone; its twin, in
 * another store and on a Temporal server of its own, is killed three times at points drawn from a seed (SRLM_TEST_SEED,
 * printed), and both are compared digest by digest.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DatasetRef } from '../../contracts/refs.js';
import { Example } from '../../contracts/rows.js';
import { planShards } from '../../workflows/steps/shards.js';
import {
  counts,
  type Finished,
  Harness,
  harnessSpec,
  outcome,
  type ServedRequest,
  type Trainer,
  type TrainingStep,
  WORKER_KEY,
} from '../support/harness.js';

const SEED = Number(process.env.SRLM_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
const SHARDS_IN_FLIGHT = 2;
const ROWS = 24;

/** mulberry32: whole numbers from `low` to `high`. */
function drawer(seed: number) {
  let state = seed;
  return (low: number, high: number) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return low + (((t ^ (t >>> 14)) >>> 0) % (high - low + 1));
  };
}

describe(`a run killed at three points (SRLM_TEST_SEED=${SEED})`, () => {
  const draw = drawer(SEED);
  const points = { training: draw(1, 22), sampling: draw(1, ROWS - 6), trainer: draw(6, 22) };
  const harnesses: Harness[] = [];
  let alone: { result: Finished; digests: Record<string, string> };
  let killed: { result: Finished; digests: Record<string, string>; harness: Harness };
  /** Worker killed in the training of round 0. */
  let orphan: { before: Trainer; steps: TrainingStep[] };
  /** Worker killed while round 1 was sampled. */
  let sampled: { before: ServedRequest[]; after: ServedRequest[] };
  /** Worker, trainer and Temporal server killed in the training of round 1. */
  let lost: { before: Trainer; doneBefore: number; checkpoint: number; steps: TrainingStep[] };

  /** The programs that ran when that worker was killed, and whether they had its key. */
  let programs: { name: string; hasKey: boolean }[];

  beforeAll(async () => {
    console.log(`kill.test.ts: SRLM_TEST_SEED=${SEED}, points ${JSON.stringify(points)}`);
    const quiet = await Harness.open('alone', { probes: true, config: { shardsInFlight: SHARDS_IN_FLIGHT } });
    harnesses.push(quiet);
    const result = await quiet.finish(await quiet.start(harnessSpec()));
    alone = { result, digests: await quiet.digests() };
    await quiet.close();

    const harness = await Harness.open('killed', { temporal: 'own', config: { shardsInFlight: SHARDS_IN_FLIGHT } });
    harnesses.push(harness);
    const runId = await harness.start(harnessSpec());

    const first = await harness.trainerAt(points.training);
    // Stopped until the next worker is there, the trainer cannot have ended before that.
    process.kill(first.pid, 'SIGSTOP');
    await harness.killWorker();
    await harness.startWorker();
    await harness.attempt(runId, 'srlmFineTune', 2);
    process.kill(first.pid, 'SIGCONT');

    const sampledRows = () => harness.requests().filter(({ request }) => request.startsWith('enrich:1:'));
    await harness.until('rows are sampled', () => sampledRows().length >= points.sampling);
    await harness.killWorker();
    const before = sampledRows();
    await harness.startWorker();

    const second = await harness.until('round 1 trains', async () => {
      const trainer = await harness.trainerAt(points.trainer);
      return trainer.folder === first.folder ? null : trainer;
    });
    process.kill(second.pid, 'SIGSTOP');
    const doneBefore = harness.steps(second.folder).length;
    const checkpoint = newestCheckpoint(second.folder);
    programs = harness.processes().map(({ pid, command }) => ({
      name: /main\.js|trainer\.py|server\.py|server start-dev/.exec(command)?.[0] ?? command,
      hasKey: existsSync('/proc/self/environ') && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(WORKER_KEY),
    }));
    await harness.killWorker();
    await harness.kill(second.pid);
    await harness.killTemporal();
    await harness.startWorker();

    const end = await harness.finish(runId);
    killed = { result: end, digests: await harness.digests(), harness };
    orphan = { before: first, steps: harness.steps(first.folder) };
    sampled = { before, after: sampledRows() };
    lost = { before: second, doneBefore, checkpoint, steps: harness.steps(second.folder) };
  }, 900_000);

  afterAll(async () => {
    for (const harness of harnesses) await harness.close();
  }, 60_000);

  it('ends with the digests of a run that was left alone: every record, row, reply and weight', () => {
    expect(killed.digests).toEqual(alone.digests);
    expect(outcome(killed.result)).toEqual(outcome(alone.result));
  });

  it('is a run that enriched and trained: what is compared is not nothing', () => {
    const [zero, one] = alone.result.rounds;
    expect(one?.changed).toBeGreaterThan(0);
    expect(one?.model.sha256).not.toBe(zero?.model.sha256);
    expect(Object.keys(alone.digests).filter((path) => path.startsWith('models/'))).toHaveLength(2);
  });

  it.skipIf(process.platform !== 'linux')(
    'starts Temporal, model server and trainer without the keys of the worker',
    () => {
      expect(Object.fromEntries(programs.map(({ name, hasKey }) => [name, hasKey]))).toEqual({
        'main.js': true,
        'server start-dev': false,
        'server.py': false,
        'trainer.py': false,
      });
    },
  );

  it('leaves the trainer alone when its worker dies, and does no step twice', () => {
    expect(new Set(orphan.steps.map(({ pid }) => pid))).toEqual(new Set([orphan.before.pid]));
    expect(orphan.steps.map(({ step }) => step)).toEqual(orphan.steps.map((_, i) => i + 1));
  });

  it('resumes from the newest checkpoint when the trainer died with its worker', () => {
    const resumed = lost.steps.filter(({ pid }) => pid !== lost.before.pid);
    expect(new Set(lost.steps.map(({ attempt }) => attempt))).toEqual(new Set([1, 2]));
    expect(lost.checkpoint).toBeGreaterThanOrEqual(5);
    expect(resumed[0]?.step).toBe(lost.checkpoint + 1);
    const again = lost.steps.length - new Set(lost.steps.map(({ step }) => step)).size;
    expect(again).toBe(lost.doneBefore - lost.checkpoint);
  });

  it('samples again no more than one chunk per shard in flight', async () => {
    const { harness, result } = killed;
    const again = [...counts(sampled.after.map(({ request }) => request))].filter(([, times]) => times > 1);
    const chunks = await chunksOfRows(harness, result.rounds[1]!.set.dataset);
    for (const { from, to } of planShards(chunks.length, SHARDS_IN_FLIGHT)) {
      const touched = chunks.slice(from, to).filter((ids) => again.some(([request]) => ids.has(rowOf(request))));
      expect(touched.length).toBeLessThanOrEqual(1);
    }
    expect(again.every(([, times]) => times === 2)).toBe(true);
    expect(new Set(sampled.after.map(({ request }) => request)).size).toBe(ROWS);
  });

  it('has no trainer left when it is done', () => {
    expect(killed.harness.processes('trainer.py')).toEqual([]);
  });
});

const rowOf = (request: string) => request.split(':').slice(2).join(':');

async function chunksOfRows({ store }: Harness, data: DatasetRef): Promise<Set<string>[]> {
  const chunks = await store.datasets.chunks(data);
  return Promise.all(
    chunks.map(async (chunk) => new Set((await store.objects.readRows(chunk, Example)).map(({ id }) => id))),
  );
}

/** Marked complete: what a trainer may resume from. */
function newestCheckpoint(job: string): number {
  const folder = join(job, 'checkpoints');
  const complete = readdirSync(folder).filter((name) => existsSync(join(folder, name, 'complete.json')));
  return Math.max(0, ...complete.map((name) => Number(name.split('-')[1])));
}
