/** The steps of the collapse watch on a real store: what is measured once, what compares rounds, and the gate's limits. */
import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Gate } from '../../contracts/spec.js';
import type { GateOutput, StepDone } from '../../contracts/steps.js';
import type { RoundWatch } from '../../contracts/watch.js';
import { type Hostile, hostileStore } from '../hostile/store.js';
import { TABLE } from '../method/watch-corpus.js';

let at: Hostile;
beforeAll(async () => {
  at = await hostileStore();
});
afterAll(() => rm(at.root, { recursive: true, force: true }));

const measure = (more: object = {}) =>
  at.run('srlmWatch', { ...(at.valid.srlmWatch as object), ...more }) as Promise<StepDone<RoundWatch>>;

it('measures decisions and replies once, whatever the run has around them', async () => {
  const chunks = await Promise.all(TABLE.map((lines) => at.store.objects.putRows(lines)));
  const decisions = await at.store.datasets.put(chunks);
  const first = await measure({ decisions });
  expect(first.output).toMatchObject({ changed: 0.65, setChars: 4, enriched: 0 });
  expect(first.output.distinct2).toBeGreaterThan(0);
  const again = await measure({ decisions, round: 3, set: { rows: 4, enriched: 1, meanRationaleChars: 9 } });
  expect([first.meta.reused, again.meta.key]).toEqual([false, first.meta.key]);
  expect(again.output).toEqual({ ...first.output, setChars: 9, enriched: 0.25 });
  const selection = { selector: 'on-policy', minChars: 1, maxChars: 100, minGain: 0 };
  expect((await measure({ decisions, selection })).meta.key).not.toBe(first.meta.key);
});

it('compares with the round before, and reads evaluation sets and curves', async () => {
  const { evaluation } = at.valid.srlmWatch as { evaluation: { accuracy: number } };
  const summary = (at.valid.srlmKeepRound as { round: object }).round;
  const table = await at.store.objects.putJson({
    ...{ version: 2, preparation: [] },
    rounds: [{ ...summary, evaluation: { ...evaluation, accuracy: 0.3 } }],
  });
  const report = await at.store.objects.putJson({
    version: 1,
    evaluations: { other: { watch: true, total: 5 } },
    comparisons: [{ set: 'other', against: ['first'], difference: -0.25, round: 0 }],
  });
  const curves = await at.store.objects.putJson({ depths: [{ majority: { mean_N: [0.25, 0.5] } }] });
  const { output } = await measure({ table, report, curves });
  expect(output).toMatchObject({ heldOutGain: 0.2, watchGain: -0.25, majorityGain: 0.25 });
  expect((await measure({ table: null })).output).not.toHaveProperty('heldOutGain');
});

it('rolls back by a limit that is relative to the first round of the table', async () => {
  const summary = (at.valid.srlmKeepRound as { round: object }).round;
  const kept = await at.run('srlmKeepRound', { table: null, preparation: [], round: summary });
  expect(kept).toBeDefined();
  const table = await at.store.objects.putJson({
    ...{ version: 2, preparation: [] },
    rounds: [summary, { ...summary, round: 1, watch: { distinct2: 0.6 } }],
  });
  const decide = (distinct2: number) =>
    at.run('srlmGate', {
      ...{ best: null, current: null, rollbacksInARow: 0, seed: 0, watch: { distinct2 }, table },
      gate: Gate.parse({ watch: { distinct2: { drop: 0.5 } } }),
    }) as Promise<GateOutput>;
  expect((await decide(0.31)).verdict).toBe('keep');
  expect(await decide(0.29)).toMatchObject({
    ...{ verdict: 'roll-back', difference: null },
    watch: [{ metric: 'distinct2', value: 0.29, limit: 0.3 }],
  });
});
