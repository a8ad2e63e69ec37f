/** The collapse watch in a run: what is measured, what the gate rolls back by it, and which model `final` takes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RoundSummary } from '../../contracts/steps.js';
import { Scenarios, SMALL } from './scenario.js';
import { done, evaluation, FOUND, fails, model } from './script.js';
import { once } from './waiting.js';

let scenarios: Scenarios;
beforeAll(async () => {
  scenarios = await Scenarios.open();
});
afterAll(() => scenarios?.close());

const LIMITS = { distinct2: { drop: 0.5 } };
const BEYOND = [{ metric: 'distinct2', value: 0.1, limit: 0.3 }];
const unknown = { difference: null, low: null, high: null };

describe.concurrent('a run without an evaluation, with a limit that rounds 2 and 3 pass', () => {
  const story = once(async () => {
    const run = await scenarios.start({
      settings: { ...SMALL, rounds: 4, gate: { watch: LIMITS, patience: 2 } },
      script: {
        ...FOUND,
        srlmWatch: (_, call) => done({ distinct2: call === 1 ? 0.6 : 0.1, setChars: 40 }),
        srlmGate: (_, call) =>
          call === 1
            ? { verdict: 'keep', ...unknown }
            : { verdict: call === 2 ? 'roll-back' : 'stop', ...unknown, watch: BEYOND },
      },
    });
    const result = await run.result();
    return { run, result, rounds: run.rounds(result) as RoundSummary[] };
  });

  it('measures each round that has candidates, from its decisions and its set', async () => {
    const { run, rounds } = await story();
    const asked = run.inputs('srlmWatch');
    expect(asked.map(({ round }) => round)).toEqual([1, 2, 3]);
    expect(asked[0]).toMatchObject({ decisions: rounds[1]!.decisions, evaluation: null, set: { enriched: 21 } });
    expect(asked[0].set).not.toHaveProperty('dataset');
    expect(asked.every(({ table }) => table !== null)).toBe(true);
  });

  it('gives the gate the numbers, the limits, and the table of the rounds before', async () => {
    const { run } = await story();
    const asked = run.inputs('srlmGate');
    expect(asked.map(({ best, current }) => [best, current])).toEqual([1, 2, 3].map(() => [null, null]));
    expect(asked[1]).toMatchObject({ watch: { distinct2: 0.1 }, gate: { watch: LIMITS }, rollbacksInARow: 0 });
    expect(asked.every(({ table }) => table !== null)).toBe(true);
    expect(asked[2].rollbacksInARow).toBe(1);
  });

  it('rolls back what is beyond a limit, ends by patience, and keeps numbers and reason in the table', async () => {
    const { result, rounds } = await story();
    expect(rounds.map(({ gate }) => gate?.verdict)).toEqual([undefined, 'keep', 'roll-back', 'stop']);
    expect(rounds.map(({ watch }) => watch?.distinct2)).toEqual([undefined, 0.6, 0.1, 0.1]);
    expect(rounds[2]!.gate?.watch).toEqual(BEYOND);
    expect(result).toMatchObject({ best: 1, final: 1, model: rounds[1]!.model });
  });

  it('continues from the best round after one that was rolled back', async () => {
    const { run, rounds } = await story();
    const samples = run.inputs('srlmOpenStep').filter(({ purpose }) => purpose === 'enrich');
    expect(samples.map((one) => one.model)).toEqual([rounds[0], rounds[1], rounds[1]].map((one) => one!.model));
  });
});

describe.concurrent('a limit', () => {
  it('asks no gate where nothing was measured, or nothing can be returned to', async () => {
    const run = await scenarios.start({ settings: { ...SMALL, rounds: 0, gate: { watch: LIMITS } }, script: FOUND });
    await run.result();
    expect(run.asked()).not.toContain('srlmGate');
    expect(run.asked()).not.toContain('srlmWatch');
  });

  it('may be set while a round runs, as one value', async () => {
    const run = await scenarios.start({
      settings: { ...SMALL, rounds: 1 },
      script: { ...FOUND, srlmWatch: fails('input.invalid') },
    });
    await run.parked('watch');
    expect(await run.refused('set', { set: { 'gate.watch': { distinct9: { min: 0 } } } })).toContain('gate.watch');
    await run.command('set', { set: { 'gate.watch': LIMITS } });
    run.answer({ srlmWatch: () => done({ distinct2: 0.5 }) });
    await run.command('retry');
    await run.result();
    expect(run.inputs('srlmGate')).toMatchObject([{ gate: { watch: LIMITS }, watch: { distinct2: 0.5 } }]);
  });
});

describe.concurrent('a watch that cannot be done', () => {
  it('can be skipped: the round has no numbers, and the gate compares answers as before', async () => {
    const run = await scenarios.start({
      settings: { ...SMALL, evaluation: {}, rounds: 1, gate: { watch: LIMITS } },
      fromRound: 1,
      evaluated: true,
      script: { ...FOUND, srlmWatch: fails('artifact.gone') },
    });
    await run.parked('watch');
    await run.command('skip');
    const result = await run.result();
    expect(run.rounds(result)[1]).not.toHaveProperty('watch');
    expect(run.inputs('srlmGate')[0]).not.toHaveProperty('watch');
  });
});

describe.concurrent('final', () => {
  /** Round 1 is better than round 0, round 2 is worse and kept. */
  const settings = { ...SMALL, evaluation: {}, rounds: 2 };
  const script = {
    ...FOUND,
    srlmGrade: (_: unknown, call: number) => done(evaluation(`round ${call}`, [0.25, 0.75, 0.5][call - 1])),
  };

  it('best takes the best round, last the last one', async () => {
    const end = async (final: 'best' | 'last') => {
      const run = await scenarios.start({ settings: { ...settings, final }, script });
      const result = await run.result();
      return { result, rounds: run.rounds(result) as RoundSummary[] };
    };
    const [best, last] = await Promise.all([end('best'), end('last')]);
    expect(best.result).toMatchObject({ best: 1, final: 1, model: best.rounds[1]!.model });
    expect(last.result).toMatchObject({ best: 1, final: 2, model: last.rounds[2]!.model });
  });

  it('last takes the best where the last round was rolled back', async () => {
    const gate = { srlmGate: () => ({ verdict: 'roll-back', difference: 0, low: 0, high: 0 }) };
    const settings = { ...SMALL, evaluation: {}, rounds: 1, final: 'last' };
    const run = await scenarios.start({ settings, fromRound: 1, evaluated: true, script: { ...FOUND, ...gate } });
    expect(await run.result()).toMatchObject({ best: 0, final: 0, model: model('model 0') });
  });

  it('can be set in the last round, and is part of the state', async () => {
    const run = await scenarios.start({
      settings: { ...settings, rounds: 0 },
      script: { ...script, srlmMix: fails('x') },
    });
    expect((await run.parked('mix')).final).toBe('best');
    await run.command('set', { set: { final: 'last' } });
    expect((await run.state()).final).toBe('last');
    run.answer({ srlmMix: ({ data }) => done({ ...data, chunks: 1 }) });
    await run.command('retry');
    expect(await run.result()).toMatchObject({ best: 0, final: 0 });
  });
});
