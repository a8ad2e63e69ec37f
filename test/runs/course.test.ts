/**
 * Whole runs of the tiny model whose course is changed: a round made worse is rolled back, an evaluation is skipped,
 * approvals are waited for, a fork shares what was done before it, memory that runs out makes batches smaller.
 */
import { chmod, readFile, truncate, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Dataset } from '../../contracts/artifacts.js';
import { Lab, labSpec } from '../support/lab.js';

/** The questions are the training's own, and it learns them by heart: a score that can fall. */
const learning = (changes: object = {}) =>
  labSpec({
    data: { path: 'train.jsonl', limit: 12 },
    evaluation: { path: 'train.jsonl', maxTokens: 24, chunkSize: 8, limit: 12 },
    training: { epochs: 40, checkpoint: { everySteps: 50 } },
    rounds: 3,
    ...changes,
  });

describe('the course of a run', { timeout: 240_000 }, () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await Lab.open('course', { config: { heartbeatSeconds: 20, maxAttempts: 3 } });
  });

  afterAll(async () => {
    await lab.close();
  });

  describe('in which round 2 is made worse on purpose', () => {
    it('rolls it back, starts round 3 from round 1, and keeps the rejected round on record', async () => {
      const runId = await lab.start(learning(), 'worse');
      await lab.client.set(runId, { 'training.epochs': 0.2 }, { fromRound: 2, why: 'to be worse' });
      await lab.client.set(runId, { 'training.epochs': 40 }, { fromRound: 3 });
      await expect(lab.client.set(runId, { seed: 1 }, { fromRound: 2 })).rejects.toThrow('fork the run');
      const { rounds, best, model } = await lab.finish(runId);
      const [, first, second, third] = rounds;
      expect(first!.score!.accuracy).toBeGreaterThan(0.3);
      expect(second!.score!.accuracy).toBeLessThan(first!.score!.accuracy);
      expect(rounds.map(({ gate }) => gate?.verdict ?? null)).toEqual([null, 'keep', 'roll-back', 'keep']);
      expect(best).not.toBe(2);
      expect(model).toEqual(rounds[best]!.model);
      // Round 3 samples from round 1's weights, not from round 2's.
      const enrichments = (await lab.records('sample')).filter(
        ({ inputs }) => (inputs as { purpose: string }).purpose === 'enrich',
      );
      const weights = enrichments.map(({ inputs }) => inputs as { round: number; weights: string });
      expect(weights.find(({ round }) => round === 3)?.weights).toBe(first!.model.sha256);
      expect(third!.enriched).toBeGreaterThanOrEqual(0);
    });

    it('is forked from round 2 with another selector: nothing before it is done again', async () => {
      const sampled = lab.requests().length;
      const trainings = lab.jobs().length;
      const { runId } = await lab.client.fork('worse', {
        ...{ fromRound: 2, id: 'forked' },
        set: { 'selection.selector': 'length', rounds: 2 },
      });
      const begun = await lab.status(runId, 'round 2 has begun', ({ round, endedAt }) => round === 2 || endedAt);
      expect(begun.forkOf).toBe('worse');
      expect(lab.jobs().length).toBe(trainings);
      await lab.finish(runId);
      const again = lab.requests().slice(sampled);
      // Round 2's own samples are those of its parent, too: only what comes after the selection is new.
      expect(again.filter(({ request }) => request.startsWith('enrich'))).toEqual([]);
      expect(lab.jobs().length).toBeLessThanOrEqual(trainings + 1);
    });
  });

  it('waits for approvals with what there is to look at, and does as it is told', async () => {
    const approvals = ['catalysts', 'before-train', 'after-round'];
    const spec = learning({ approvals, rounds: 1, seed: 5, training: { epochs: 2 } });
    const runId = await lab.start(spec, 'approved');
    const waits = async (approval: string, round: number | null) =>
      (
        await lab.status(
          runId,
          `it waits for ${approval}`,
          ({ state, waiting }) => state === 'waiting' && waiting?.approval === approval && waiting.round === round,
        )
      ).waiting!;
    expect(await waits('catalysts', null)).toMatchObject({ rows: 6 });
    await expect(lab.client.retry(runId)).rejects.toThrow('is not parked');
    await lab.client.approve(runId, 'well written');
    expect(await waits('before-train', 0)).toMatchObject({ enriched: 0 });
    await lab.client.approve(runId);
    expect((await waits('after-round', 0)).score).not.toBeNull();
    await lab.client.approve(runId);
    await waits('before-train', 1);
    await lab.client.approve(runId);
    await waits('after-round', 1);
    await lab.client.reject(runId, 'it rambles');
    const { best, rounds } = await lab.finish(runId);
    expect([best, rounds.length]).toEqual([0, 2]);
    const { interventions } = await lab.client.status(runId);
    expect(interventions.map(({ kind, step, round }) => [kind, step, round])).toEqual([
      ['approve', 'catalysts', null],
      ['approve', 'before-train', 0],
      ['approve', 'after-round', 0],
      ['approve', 'before-train', 1],
      ['reject', 'after-round', 1],
    ]);
    // A fork is asked for what its parent was not.
    const { runId: forked } = await lab.client.fork(runId, { fromRound: 1, set: { 'selection.selector': 'length' } });
    const { waiting } = await lab.status(forked, 'it waits', ({ state }) => state === 'waiting');
    expect(waiting).toMatchObject({ approval: 'before-train', round: 1 });
    await lab.client.abort(forked);
    const { runId: again } = await lab.client.fork(forked, { fromRound: 1, set: { 'selection.selector': 'vote' } });
    const asked = await lab.status(again, 'it waits', ({ state }) => state === 'waiting');
    expect(asked.waiting).toMatchObject({ approval: 'before-train', round: 1 });
    await lab.client.abort(again);
  });

  it('ends with its round when it is told to, and has a model; the model of an earlier round may be promoted', async () => {
    const runId = await lab.start(
      learning({ approvals: ['after-round'], rounds: 3, seed: 8, training: { epochs: 2 } }),
      'promoted',
    );
    const waits = (round: number) =>
      lab.status(runId, `round ${round} waits`, ({ waiting }) => waiting?.round === round);
    await waits(0);
    await expect(lab.client.promote(runId, 1)).rejects.toThrow('round 1 is not done');
    await lab.client.approve(runId);
    await waits(1);
    await lab.client.promote(runId, 0, 'it reads better');
    await lab.client.stop(runId, 'round', 'enough for today');
    await lab.client.approve(runId);
    const ended = await lab.status(runId, 'it has ended', ({ endedAt }) => endedAt);
    expect(ended.state).toBe('stopped');
    const result = await lab.client.result(runId);
    expect([result.rounds.length, result.best, result.stopped]).toEqual([2, 0, true]);
    expect(result.model).toEqual(result.rounds[0]!.model);
  });

  it('halves the micro-batch when memory runs out, keeps the effective batch, and says so', async () => {
    // The trainer's own word for it, given for every micro-batch of more than one.
    const real = await readFile(lab.python, 'utf8');
    const starved = `#!/bin/sh
case "$1" in *trainer.py)
  if ! grep -q '"microBatchSize": 1,' "$2/spec.json"; then
    echo '{"state":"failed","pid":'$$',"error":{"type":"out-of-memory","message":"Out of memory."}}' > "$2/state.json"
    exit 4
  fi;;
esac
${real.slice(real.indexOf('exec'))}`;
    await writeFile(lab.python, starved);
    await chmod(lab.python, 0o755);
    try {
      const runId = await lab.start(learning({ rounds: 0, seed: 6, training: { epochs: 2 } }), 'starved');
      await lab.finish(runId);
      const { interventions } = await lab.client.status(runId);
      expect(interventions.map(({ kind, who, set }) => [kind, who, set])).toEqual([
        ['decision', 'srlm', { microBatchSize: 2 }],
        ['decision', 'srlm', { microBatchSize: 1 }],
      ]);
    } finally {
      await writeFile(lab.python, real);
    }
  });

  it('goes on without an evaluation that cannot be done, if somebody says so; never without a training', async () => {
    const real = await readFile(lab.python, 'utf8');
    await lab.killModelServers();
    await writeFile(lab.python, '#!/bin/sh\nexit 9\n');
    const runId = await lab.start(learning({ rounds: 0, seed: 7, training: { epochs: 2 } }), 'skipped');
    await lab.status(runId, 'training is parked', ({ parked }) => parked?.step === 'fineTune');
    await expect(lab.client.skip(runId)).rejects.toThrow('fineTune cannot be skipped');
    const serverless = real.replace('exec', 'case "$1" in *server.py) exit 9;; esac\nexec');
    await writeFile(lab.python, serverless);
    await lab.client.retry(runId, 'it trains again');
    await lab.status(
      runId,
      'the evaluation is parked',
      ({ parked }) => parked?.step === 'evaluate' && parked.skippable,
    );
    await writeFile(lab.python, real);
    await lab.client.skip(runId, 'not today');
    const { rounds } = await lab.finish(runId);
    expect(rounds[0]).toMatchObject({ score: null, gate: null });
  });

  it('whose tokens are used up in a training leaves a checkpoint, and goes on from there when there are more', async () => {
    const spec = learning({ rounds: 0, seed: 6, budget: { tokens: 2000 } });
    const known = lab.jobs();
    const runId = await lab.start(spec, 'spent');
    const { parked, spent } = await lab.status(runId, 'it is parked', ({ state }) => state === 'parked');
    expect(parked).toMatchObject({ type: 'budget.spent', step: 'fineTune', round: 0 });
    expect(spent.tokens).toBeGreaterThanOrEqual(2000);
    const job = lab.jobs().find((one) => !known.includes(one))!;
    const before = lab.steps(job).length;
    await lab.client.set(runId, { 'budget.tokens': 1_000_000 }, { why: 'granted' });
    const { rounds } = await lab.finish(runId);
    const steps = lab.steps(job).map(({ step }) => step);
    expect(steps.length).toBeGreaterThan(before);
    expect(steps).toEqual(steps.map((_, i) => i + 1));
    const tokens = lab.steps(job).reduce((sum, step) => sum + step.tokens, 0);
    expect(rounds[0]!.spent!.fineTune!.tokens).toBe(tokens);
  });

  it('that is gone through again after damage finds what was made by earlier settings, and keeps what it was told', async () => {
    const spec = learning({ approvals: ['before-train'], rounds: 1, seed: 7, training: { epochs: 2 } });
    const runId = await lab.start(spec, 'again');
    const waits = (wanted: number) => lab.status(runId, 'it waits', ({ waiting }) => waiting?.round === wanted);
    await waits(0);
    await lab.client.set(runId, { 'training.epochs': 3 }, { fromRound: 1, why: 'longer' });
    await lab.client.approve(runId);
    await waits(1);
    const trainings = lab.jobs().length;
    const { spent } = await lab.client.status(runId);
    const mixture = (await lab.records('mix')).at(-1);
    await truncate((await lab.chunkPaths(Dataset.parse(mixture?.output)))[0]!, 10);
    await lab.client.approve(runId);
    // Approved already, all of it: it asks no more.
    await lab.finish(runId);
    const ended = await lab.client.status(runId);
    expect(ended.warnings).toEqual([expect.stringContaining('artifact.damaged')]);
    expect(lab.jobs()).toHaveLength(trainings + 1);
    expect(ended.interventions.map(({ kind, round }) => [kind, round])).toEqual([
      ['set', 0],
      ['approve', 0],
      ['approve', 1],
    ]);
    // What the failed round had spent on enriching is not forgotten.
    expect(ended.spent.tokens).toBeGreaterThan(spent.tokens + (ended.summaries[1]!.spent?.fineTune?.tokens ?? 0) - 1);
    expect(ended.summaries[1]!.spent?.sample).toBeUndefined();
  });
});
