/**
 * Whole runs of the tiny model whose course is changed: memory that runs out makes batches smaller, a budget is
 * used up, damage is repaired. A round that is rolled back, and a fork, are in test/audit/history.test.ts; what needs no
 * process (approvals, promotions, settings) is in test/workflows.
 */
import { chmod, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DatasetRef } from '../../contracts/refs.js';
import { Harness, harnessSpec } from '../support/harness.js';

const few = (changes: object) =>
  harnessSpec({ data: { path: 'train.jsonl', limit: 12 }, evaluation: 'none', rounds: 0, ...changes });

describe('the course of a run', { timeout: 240_000 }, () => {
  let harness: Harness;

  beforeAll(async () => {
    harness = await Harness.open('course', { config: { heartbeatSeconds: 20, maxAttempts: 3 } });
  });

  afterAll(async () => {
    await harness?.close();
  });

  it('halves the micro-batch when memory runs out, keeps the effective batch, and records both decisions', async () => {
    // What the trainer reports when memory runs out, for every micro-batch of more than one.
    const real = await readFile(harness.python, 'utf8');
    const starved = `#!/bin/sh
case "$1" in *trainer.py)
  if ! grep -q '"microBatchSize": 1,' "$2/spec.json"; then
    echo '{"state":"failed","pid":'$$',"error":{"type":"out-of-memory","message":"Out of memory."}}' > "$2/state.json"
    exit 4
  fi;;
esac
${real.slice(real.indexOf('\n') + 1)}`;
    await writeFile(harness.python, starved);
    await chmod(harness.python, 0o755);
    try {
      const runId = await harness.start(few({ seed: 6, training: { epochs: 2 } }), 'starved');
      const { rounds } = await harness.finish(runId);
      const { interventions } = await harness.client.status(runId);
      const trained = (await harness.records('fineTune')).find(({ meta }) => meta.run === runId)!;
      expect(rounds[0]!.model).toEqual((trained.output as { model: unknown }).model);
      const spec = JSON.parse(await readFile(join(harness.artifactRoot, 'jobs', trained.key, 'spec.json'), 'utf8'));
      expect(spec).toMatchObject({ batchSize: 4, microBatchSize: 1 });
      expect(interventions.map(({ kind, who, set }) => [kind, who, set])).toEqual([
        ['decision', 'srlm', { microBatchSize: 2 }],
        ['decision', 'srlm', { microBatchSize: 1 }],
      ]);
    } finally {
      await writeFile(harness.python, real);
    }
  });

  it('whose tokens are used up by a training leaves a checkpoint, and resumes from it when there are more', async () => {
    const training = { epochs: 15, checkpoint: { everySteps: 50 } };
    const spec = few({ seed: 6, budget: { tokens: 2000 }, training });
    const known = harness.jobs();
    const runId = await harness.start(spec, 'spent');
    const { halt, usage } = await harness.status(runId, 'it is parked', ({ state }) => state === 'parked');
    expect(halt).toMatchObject({ type: 'budget.spent', step: 'fineTune', round: 0 });
    expect(usage.tokens).toBeGreaterThanOrEqual(2000);
    const job = harness.jobs().find((one) => !known.includes(one))!;
    const before = harness.steps(job).length;
    await harness.client.send(runId, 'set', { set: { 'budget.tokens': 1_000_000 }, why: 'granted' });
    const { rounds } = await harness.finish(runId);
    const steps = harness.steps(job).map(({ step }) => step);
    expect(steps.length).toBeGreaterThan(before);
    expect(steps).toEqual(steps.map((_, i) => i + 1));
    const tokens = harness.steps(job).reduce((sum, step) => sum + step.tokens, 0);
    expect(rounds[0]!.steps.find(({ step }) => step === 'fineTune')!.usage!.tokens).toBe(tokens);
  });

  it('that repeats its steps after damage reuses what was made by earlier settings, and keeps what operators set', async () => {
    const spec = few({ approvals: ['before-train'], rounds: 1, seed: 7, training: { epochs: 2 } });
    const runId = await harness.start(spec, 'again');
    const waits = (wanted: number) =>
      harness.status(runId, 'it waits', ({ halt }) => halt?.kind === 'waiting' && halt.round === wanted);
    await waits(0);
    await harness.client.send(runId, 'set', { set: { 'training.epochs': 3 }, fromRound: 1, why: 'longer' });
    await harness.client.send(runId, 'approve', {});
    await waits(1);
    const trainings = harness.jobs().length;
    const { usage } = await harness.client.status(runId);
    const mixture = (await harness.records('mix')).at(-1);
    await truncate((await harness.chunkPaths(DatasetRef.parse(mixture?.output)))[0]!, 10);
    await harness.client.send(runId, 'approve', {});
    // All of it is approved already: it does not wait again.
    await harness.finish(runId);
    const ended = await harness.client.status(runId);
    expect(ended.warnings).toEqual([expect.stringContaining('artifact.damaged')]);
    expect(harness.jobs()).toHaveLength(trainings + 1);
    expect(ended.interventions.map(({ kind, round }) => [kind, round])).toEqual([
      ['set', 0],
      ['approve', 0],
      ['approve', 1],
    ]);
    // What the round had used for its enrichment before it was repeated still counts.
    const costOf = (name: string) => ended.rounds[1]!.steps.find(({ step }) => step === name)!;
    const [sample, fineTune] = [costOf('sample'), costOf('fineTune')];
    expect(ended.usage.tokens).toBeGreaterThanOrEqual(usage.tokens + fineTune.usage!.tokens);
    expect(sample).toMatchObject({ reused: true, usage: null });
  });
});
