/** The pure part of studies: intervals, arms, derived catalysts, the order of runs, results and claims. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Catalyst } from '../../contracts/rows.js';
import { RunSpec, splitRunSpec } from '../../contracts/spec.js';
import type { Shared, StudyPlan } from '../../contracts/study.js';
import { PRESETS, patched } from '../../method/study/arms.js';
import { formatOnly } from '../../method/study/format-only.js';
import { bootstrap, tInterval, tQuantile } from '../../method/study/intervals.js';
import { type StudyRunData, studyResult } from '../../method/study/result.js';
import { type Begun, nextToBegin } from '../../method/study/schedule.js';
import { sharingOf } from '../../method/study/sharing.js';

describe('intervals', () => {
  // R: qt(c(.975, .975, .975, .95, .995), c(1, 2, 4, 9, 30))
  it.each([
    [0.975, 1, 12.7062],
    [0.975, 2, 4.302653],
    [0.975, 4, 2.776445],
    [0.95, 9, 1.833113],
    [0.995, 30, 2.749996],
  ])("has Student's quantile of %d at %d degrees of freedom", (share, freedom, t) => {
    expect(tQuantile(share, freedom)).toBeCloseTo(t, 4);
  });

  it('is that of the textbook for the mean of three values', () => {
    // R: t.test(c(0.5, 0.6, 0.7))$conf.int
    const { mean, low, high } = tInterval([0.5, 0.6, 0.7], 0.95);
    expect([mean, low, high].map((one) => one.toFixed(4))).toEqual(['0.6000', '0.3516', '0.8484']);
  });

  it('counts the same answers in more seeds as no more questions', () => {
    const gains = Array.from({ length: 40 }, (_, e) => (e % 4 === 0 ? 1 : 0));
    expect(bootstrap([gains, gains, gains], 0.95)).toEqual(bootstrap([gains], 0.95));
    const { mean, low, high } = bootstrap([gains], 0.95);
    expect(mean).toBe(0.25);
    expect(low).toBeGreaterThan(0.1);
    expect(high).toBeLessThan(0.42);
  });
});

const SPEC = {
  model: { path: 'tiny' },
  data: { path: 'train.jsonl' },
  catalysts: { path: 'catalysts.jsonl', limit: 3 },
  evaluation: { path: 'evaluation.jsonl' },
  selection: { judge: { engine: 'teacher' } },
};

describe('arms', () => {
  it.each(Object.keys(PRESETS))('%s: is a patch that makes a run spec', (name) => {
    expect(RunSpec.safeParse(patched(SPEC, PRESETS[name]!.patch)).success).toBe(true);
  });

  it('changes what it names, and nothing else', () => {
    const base = RunSpec.parse(SPEC);
    const arm = RunSpec.parse(patched(SPEC, { 'selection.selector': 'random', 'catalysts.limit': null }));
    expect(arm).toEqual({
      ...base,
      selection: { ...base.selection, selector: 'random' },
      catalysts: { ...(base.catalysts as object), limit: undefined },
    });
  });

  it('puts a map in the place of a word', () => {
    const spec = patched({ ...SPEC, catalysts: 'none' }, { 'catalysts.path': 'c.jsonl' });
    expect(spec.catalysts).toEqual({ path: 'c.jsonl' });
  });

  it('leaves what every object has alone', () => {
    expect(() => patched(SPEC, { '__proto__.x': 1 })).toThrow('there is no such field');
  });
});

describe('format-only catalysts', () => {
  const row = (i: number, enriched: string): Catalyst => ({
    ...{ id: String(i), instruction: `q${i}`, rationale: `r${i}`, enriched },
    ...{ skills: [`s${enriched}`], answer: null },
  });

  it('give each row the reasoning of another, and each reasoning once', () => {
    const rows = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 40 }), { minLength: 2, maxLength: 60 });
    fc.assert(
      fc.property(rows, fc.nat(), (texts, seed) => {
        const before = texts.map((text, i) => row(i, text));
        const after = formatOnly(before, seed)!;
        expect(after.some((one, i) => one.enriched === before[i]!.enriched)).toBe(false);
        expect(after.map(({ enriched }) => enriched).sort()).toEqual([...texts].sort());
        expect(after.map(({ id, instruction, rationale }) => [id, instruction, rationale])).toEqual(
          before.map(({ id, instruction, rationale }) => [id, instruction, rationale]),
        );
        expect(after.every(({ enriched, skills }) => skills[0] === `s${enriched}`)).toBe(true);
        expect(formatOnly(before, seed)).toEqual(after);
      }),
      { numRuns: 50 },
    );
  });

  it('come from rows of about the same length', () => {
    const before = Array.from({ length: 64 }, (_, i) => row(i, 'x'.repeat(10 * i + 1)));
    const moved = formatOnly(before, 3)!.map((one, i) => Math.abs(one.enriched.length - before[i]!.enriched.length));
    expect(Math.max(...moved)).toBeLessThanOrEqual(70);
  });

  it('cannot be made of one text', () => {
    expect(formatOnly([row(0, 'a'), row(1, 'a')], 0)).toBeNull();
    expect(formatOnly([row(0, 'a')], 0)).toBeNull();
  });
});

describe('the order of runs', () => {
  const shared = (prepare: number, round0: number, round1: number | null): Shared => ({ prepare, round0, round1 });
  const begun = (entries: [number, Begun][]) => new Map(entries);
  const at = (passed: number, idle = false): Begun => ({ passed, idle });

  it('lets a run wait for another that does what both need, and another take its turn', () => {
    const order = [shared(0, 1, 2), shared(0, 1, 2), shared(0, 3, 4)];
    expect(nextToBegin(order, [1, 2], begun([[0, at(0)]]), 2)).toBeNull();
    expect(nextToBegin(order, [1, 2], begun([[0, at(1)]]), 2)).toBe(2);
    expect(nextToBegin(order, [1, 2], begun([[0, at(2)]]), 2)).toBe(2);
    expect(nextToBegin(order, [1, 2], begun([[0, at(3)]]), 2)).toBe(1);
  });

  it('does not wait for a run that waits for somebody', () => {
    const order = [shared(0, 1, 2), shared(0, 1, 2)];
    expect(nextToBegin(order, [1], begun([[0, at(0, true)]]), 1)).toBe(1);
  });

  it('begins no more than may work, and never two that need the same undone work', () => {
    const runs = fc.array(fc.tuple(fc.nat(1), fc.nat(2), fc.option(fc.nat(3))), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(runs, fc.integer({ min: 1, max: 4 }), fc.infiniteStream(fc.nat(2)), (given, atOnce, chance) => {
        // What decides round 1 holds what decides round 0, and so on.
        const order = given.map(([a, b, c]) =>
          shared(a, 10 + 3 * a + b, c === null ? null : 100 + 50 * a + 10 * b + c),
        );
        const waiting = order.map((_, i) => i);
        const running = new Map<number, Begun>();
        for (let done = 0; done < order.length; ) {
          for (let next = nextToBegin(order, waiting, running, atOnce); next !== null; ) {
            for (const [other, { passed }] of running) {
              const [a, b] = [order[next]!, order[other]!];
              expect(passed < 1 && a.prepare === b.prepare).toBe(false);
              expect(passed < 2 && a.round0 === b.round0).toBe(false);
              expect(passed < 3 && a.round1 !== null && a.round1 === b.round1).toBe(false);
            }
            waiting.splice(waiting.indexOf(next), 1);
            running.set(next, at(0));
            next = nextToBegin(order, waiting, running, atOnce);
          }
          expect(running.size).toBeGreaterThan(0);
          expect(running.size).toBeLessThanOrEqual(atOnce);
          const [index, run] = [...running][chance.next().value! % running.size]!;
          if (run.passed < 3) run.passed++;
          else {
            running.delete(index);
            done++;
          }
        }
      }),
      { numRuns: 100 },
    );
  });

  it('knows which runs share round 0, and which round 1, too', () => {
    const run = (patch: object) => {
      const files = { data: 'a', catalysts: 'b', evaluation: 'c' };
      return { ...splitRunSpec(RunSpec.parse(patched(SPEC, patch as Record<string, unknown>))), files };
    };
    const [base, random, k, none, noLoop] = sharingOf([
      run({}),
      run({ 'selection.selector': 'random', name: 'other' }),
      run({ 'sampling.k': 2 }),
      run({ catalysts: 'none' }),
      run({ rounds: 0 }),
    ]) as [Shared, Shared, Shared, Shared, Shared];
    expect(random).toEqual(base);
    expect(k).toMatchObject({ prepare: base.prepare, round0: base.round0 });
    expect(k.round1).not.toBe(base.round1);
    expect(none.prepare).toBe(base.prepare);
    expect(none.round0).not.toBe(base.round0);
    expect(noLoop).toEqual({ ...base, round1: null });
  });
});

describe('the result', () => {
  const ids_E = Array.from({ length: 100 }, (_, e) => `q${e}`);
  /** The first `right` questions are answered. */
  const run = (arm: string, seed: number, rights: number[], end: StudyRunData['end'] = 'done'): StudyRunData => ({
    ...{ id: `${arm}-${seed}`, arm, seed, end, steps: [] },
    rounds: rights.map((right, round) => ({
      round,
      ids_E,
      hits_E: Uint8Array.from(ids_E, (_, e) => Number(e < right)),
    })),
  });
  const planOf = (...presets: string[]): StudyPlan => ({
    ...{ version: 1, name: 'study', baseline: presets[0]!, confidence: 0.95, runs: [] },
    arms: presets.map((preset) => ({ name: preset, preset })),
  });
  const claims = (plan: StudyPlan, runs: StudyRunData[]) =>
    Object.fromEntries(studyResult(plan, runs).claims.map(({ claim, verdict }) => [claim, verdict]));

  it('has the mean and an interval over seeds, and of one seed that of its questions', () => {
    const runs = [0, 1, 2]
      .map((seed) => run('method', seed, [20 + seed, 60 + seed]))
      .concat(run('random', 0, [20, 50]));
    const { arms } = studyResult(planOf('method', 'random'), runs);
    expect(arms[0]!.rounds.map(({ mean, seeds, interval }) => [mean.toFixed(3), seeds, interval.over])).toEqual([
      ['0.210', 3, 'seeds'],
      ['0.610', 3, 'seeds'],
    ]);
    expect(arms[1]!.rounds[1]!.interval.over).toBe('questions');
    expect(arms[1]!.rounds[1]!.difference).toMatchObject({ mean: -0.1, bySeed: [{ seed: 0, mean: -0.1 }] });
    expect(arms[0]!.rounds[1]!.difference).toBeNull();
  });

  it('compares on the questions that both have', () => {
    const other = run('random', 0, [50]);
    const half = { round: 0, ids_E: ids_E.slice(50), hits_E: other.rounds[0]!.hits_E.slice(50) };
    const { arms } = studyResult(planOf('method', 'random'), [run('method', 0, [75]), { ...other, rounds: [half] }]);
    expect(arms[1]!.last).toMatchObject({ mean: -0.5, questions: 50 });
  });

  it('supports what is surely so in each seed, and decides nothing else', () => {
    const plan = planOf('method', 'random', 'no-catalysts', 'no-loop', 'format-only');
    const method = [run('method', 0, [20, 60, 70]), run('method', 1, [22, 62, 70])];
    const runs = [
      ...method,
      ...[run('random', 0, [20, 60, 69]), run('random', 1, [22, 62, 70])],
      ...[run('no-catalysts', 0, [20, 10, 10]), run('no-catalysts', 1, [22, 10, 10])],
      ...[run('no-loop', 0, [90]), run('no-loop', 1, [90])],
      ...[run('format-only', 0, [20, 20, 20], 'aborted'), run('format-only', 1, [20], 'aborted')],
    ];
    expect(claims(plan, runs)).toEqual({
      ...{ rounds: 'supported', catalysts: 'supported', selection: 'not decidable' },
      ...{ loop: 'not supported', reasoning: 'not decidable', samples: 'not decidable' },
    });
  });

  it('does not call a rise that is followed by a fall stable', () => {
    expect(claims(planOf('method'), [run('method', 0, [20, 70, 50])]).rounds).toBe('not supported');
  });

  it('decides nothing where no question differs', () => {
    expect(claims(planOf('method', 'random'), [run('method', 0, [20]), run('random', 0, [20])]).selection).toBe(
      'not decidable',
    );
  });

  it('does not call one round a rise that stays', () => {
    expect(claims(planOf('method'), [run('method', 0, [20, 70])]).rounds).toBe('not decidable');
  });

  it('counts what was found, and what it would have taken where a run of the study made it', () => {
    const step = (same: string, reused: boolean) => ({
      ...{ same, reused, seconds: reused ? 0.1 : 60 },
      usage: reused ? null : { tokens: 500, gpuSeconds: 1, money: 0 },
    });
    const made = { ...run('method', 0, [20]), steps: [step('a', false), step('b', false)] };
    const found = { ...run('random', 0, [20]), steps: [step('a', true), step('c', true), step('d', false)] };
    const { reuse } = studyResult(planOf('method', 'random'), [made, found]);
    expect(reuse).toEqual({ steps: 5, reused: 2, made: 1, savedSeconds: 60, savedTokens: 500 });
  });
});
