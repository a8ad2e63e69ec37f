/**
 * What is promised of a run whose processes are killed with SIGKILL: it ends as if nobody had touched it. One run is
 * left alone; its twin, in another store and on a Temporal server of its own, is killed three times at points drawn
 * from a seed (SRLM_TEST_SEED; printed), and both are compared digest by digest.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Dataset } from '../../contracts/artifacts.js';
import { Row } from '../../contracts/records.js';
import type { RunResult } from '../../contracts/steps.js';
import { planShards } from '../../workflows/steps.js';
import { counts, Lab, labSpec, outcome, type ServedRequest, type Trainer, type TrainingStep } from '../support/lab.js';

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
  const labs: Lab[] = [];
  let alone: { result: RunResult; digests: Record<string, string> };
  let killed: { result: RunResult; digests: Record<string, string>; lab: Lab };
  /** Worker killed in the training of round 0. */
  let orphan: { before: Trainer; steps: TrainingStep[] };
  /** Worker killed while round 1 was sampled. */
  let sampled: { before: ServedRequest[]; after: ServedRequest[] };
  /** Worker, trainer and Temporal server killed in the training of round 1. */
  let lost: { before: Trainer; doneBefore: number; checkpoint: number; steps: TrainingStep[] };

  beforeAll(async () => {
    console.log(`kill.test.ts: SRLM_TEST_SEED=${SEED}, points ${JSON.stringify(points)}`);
    const quiet = await Lab.open('alone', { config: { shardsInFlight: SHARDS_IN_FLIGHT } });
    labs.push(quiet);
    const result = await quiet.finish(await quiet.start(labSpec()));
    alone = { result, digests: await quiet.digests() };
    await quiet.close();

    const lab = await Lab.open('killed', { temporal: 'own', config: { shardsInFlight: SHARDS_IN_FLIGHT } });
    labs.push(lab);
    const runId = await lab.start(labSpec());

    const first = await lab.trainerAt(points.training);
    // Held still until the next worker has come, the trainer cannot have ended before that.
    process.kill(first.pid, 'SIGSTOP');
    await lab.killWorker();
    await lab.startWorker();
    await lab.attempt(`${runId}.round-0`, 'srlmFineTune', 2);
    process.kill(first.pid, 'SIGCONT');

    const sampledRows = () => lab.requests().filter(({ request }) => request.startsWith('enrich:1:'));
    await lab.until('rows are sampled', () => sampledRows().length >= points.sampling);
    await lab.killWorker();
    const before = sampledRows();
    await lab.startWorker();

    const second = await lab.until('round 1 trains', async () => {
      const trainer = await lab.trainerAt(points.trainer);
      return trainer.folder === first.folder ? null : trainer;
    });
    process.kill(second.pid, 'SIGSTOP');
    const doneBefore = lab.steps(second.folder).length;
    const checkpoint = newestCheckpoint(second.folder);
    await lab.killWorker();
    await lab.kill(second.pid);
    await lab.killTemporal();
    await lab.startWorker();

    const end = await lab.finish(runId);
    killed = { result: end, digests: await lab.digests(), lab };
    orphan = { before: first, steps: lab.steps(first.folder) };
    sampled = { before, after: sampledRows() };
    lost = { before: second, doneBefore, checkpoint, steps: lab.steps(second.folder) };
  }, 600_000);

  afterAll(async () => {
    for (const lab of labs) await lab.close();
  }, 60_000);

  it('ends with the digests of a run left alone: every record, row, reply and weight', () => {
    expect(killed.digests).toEqual(alone.digests);
    expect(outcome(killed.result)).toEqual(outcome(alone.result));
  });

  it('is a run that enriched and trained: what is compared is not nothing', () => {
    const [zero, one] = alone.result.rounds;
    expect(one?.changed).toBeGreaterThan(0);
    expect(one?.model.sha256).not.toBe(zero?.model.sha256);
    expect(Object.keys(alone.digests).filter((path) => path.startsWith('models/'))).toHaveLength(2);
  });

  it('leaves the trainer alone when its worker dies, and does no step twice', () => {
    expect(new Set(orphan.steps.map(({ pid }) => pid))).toEqual(new Set([orphan.before.pid]));
    expect(orphan.steps.map(({ step }) => step)).toEqual(orphan.steps.map((_, i) => i + 1));
  });

  it('goes on from the newest checkpoint when the trainer died with its worker', () => {
    const resumed = lost.steps.filter(({ pid }) => pid !== lost.before.pid);
    expect(new Set(lost.steps.map(({ attempt }) => attempt))).toEqual(new Set([1, 2]));
    expect(lost.checkpoint).toBeGreaterThanOrEqual(5);
    expect(resumed[0]?.step).toBe(lost.checkpoint + 1);
    const again = lost.steps.length - new Set(lost.steps.map(({ step }) => step)).size;
    expect(again).toBe(lost.doneBefore - lost.checkpoint);
  });

  it('samples again no more than one chunk per shard in flight', async () => {
    const { lab, result } = killed;
    const again = [...counts(sampled.after.map(({ request }) => request))].filter(([, times]) => times > 1);
    const chunks = await chunksOfRows(lab, result.rounds[1]!.data);
    for (const { from, to } of planShards(chunks.length, SHARDS_IN_FLIGHT)) {
      const touched = chunks.slice(from, to).filter((ids) => again.some(([request]) => ids.has(rowOf(request))));
      expect(touched.length).toBeLessThanOrEqual(1);
    }
    expect(again.every(([, times]) => times === 2)).toBe(true);
    expect(new Set(sampled.after.map(({ request }) => request)).size).toBe(ROWS);
  });

  it('has no trainer left when it is done', () => {
    expect(killed.lab.processes('trainer.py')).toEqual([]);
  });
});

const rowOf = (request: string) => request.split(':').slice(2).join(':');

async function chunksOfRows(lab: Lab, data: Dataset): Promise<Set<string>[]> {
  const chunks = await lab.store.chunksOf(data);
  return Promise.all(chunks.map(async (chunk) => new Set((await lab.store.readRows(chunk, Row)).map(({ id }) => id))));
}

/** Marked complete: what a trainer may go on from. */
function newestCheckpoint(job: string): number {
  const folder = join(job, 'checkpoints');
  const complete = readdirSync(folder).filter((name) => existsSync(join(folder, name, 'complete.json')));
  return Math.max(0, ...complete.map((name) => Number(name.split('-')[1])));
}
