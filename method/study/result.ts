/**
 * The result of a study, from the finished rounds of its runs: a table by arm and round, each arm against the baseline
 * on the same questions and seeds, what was reused, and the verdicts on the claims. docs/studies.md states the rules.
 * Pure.
 */
import type { ArmResult, ArmRound, Difference, RunEnd, StudyPlan, StudyResult } from '../../contracts/study.js';
import { addUsage, NO_USAGE } from '../budget.js';
import { wilsonInterval } from '../statistics.js';
import { claimsOf } from './claims.js';
import { bootstrap, meanOf, tInterval } from './intervals.js';
import { makersOf, reuseOf, type StudyStep, sumOfReuse } from './reuse.js';

/** An evaluated round. `ids_E[e]` is the question that `hits_E[e]` (1: right) is about. */
export interface StudyRound {
  round: number;
  ids_E: readonly string[];
  hits_E: Uint8Array;
}

export interface StudyRunData {
  id: string;
  arm: string;
  seed: number;
  /** null: it has not ended. */
  end: RunEnd | null;
  rounds: readonly StudyRound[];
  steps: readonly StudyStep[];
}

export function studyResult(plan: StudyPlan, runs: readonly StudyRunData[]): StudyResult {
  const { name, baseline, confidence } = plan;
  const of = (arm: string) => runs.filter((run) => run.arm === arm);
  const makers = makersOf(runs.map(({ steps }) => steps));
  const arms = plan.arms.map(({ name: arm, preset }): ArmResult => {
    const own = of(arm);
    const steps = own.flatMap((run) => run.steps);
    return {
      arm,
      preset,
      runs: own.map(({ id, seed, end, rounds }) => ({
        ...{ id, seed, end },
        scores: rounds.map(({ round, hits_E }) => ({ round, correct: hitsIn(hits_E), total: hits_E.length })),
      })),
      rounds: roundsOf(own, arm === baseline ? [] : of(baseline), confidence),
      last: arm === baseline ? null : difference(own, of(baseline), lastOf, lastOf, confidence),
      seconds: steps.reduce((sum, { seconds }) => sum + seconds, 0),
      usage: steps.reduce((sum, { usage }) => (usage ? addUsage(sum, usage) : sum), NO_USAGE),
      reuse: reuseOf(steps, makers),
    };
  });
  const seeds = [...new Set(plan.runs.map(({ seed }) => seed))];
  const reuse = sumOfReuse(arms.map((one) => one.reuse));
  return { version: 1, name, baseline, confidence, seeds, arms, claims: claimsOf(plan, runs), reuse };
}

function roundsOf(own: readonly StudyRunData[], base: readonly StudyRunData[], confidence: number): ArmRound[] {
  const numbers = [...new Set(own.flatMap(({ rounds }) => rounds.map(({ round }) => round)))].sort((a, b) => a - b);
  return numbers.map((round) => {
    const at = roundAt(round);
    const found = own.map(at).filter((one) => one !== null);
    return {
      round,
      seeds: found.length,
      mean: meanOf(found.map(accuracyOf)),
      interval: intervalOf(found, confidence),
      difference: difference(own, base, at, at, confidence),
    };
  });
}

function intervalOf(rounds: readonly StudyRound[], confidence: number): ArmRound['interval'] {
  if (rounds.length === 1) {
    const { hits_E } = rounds[0]!;
    return { ...wilsonInterval(hitsIn(hits_E), hits_E.length, confidence), over: 'questions' };
  }
  const { low, high } = tInterval(rounds.map(accuracyOf), confidence);
  return { low: Math.max(0, low), high: Math.min(1, high), over: 'seeds' };
}

type Choose = (run: StudyRunData) => StudyRound | null;

export const roundAt =
  (number: number): Choose =>
  ({ rounds }) =>
    rounds.find(({ round }) => round === number) ?? null;

/** The last round of a run that has done all of them. */
export const lastOf: Choose = ({ end, rounds }) => (end === 'done' ? (rounds.at(-1) ?? null) : null);

/** a - b, on the questions that all of these rounds have, seed by seed; null: there is no such pair. */
export function difference(
  a: readonly StudyRunData[],
  b: readonly StudyRunData[],
  ofA: Choose,
  ofB: Choose,
  confidence: number,
): Difference | null {
  const pairs = a.flatMap((run) => {
    const other = b.find(({ seed }) => seed === run.seed);
    const [mine, theirs] = [ofA(run), other ? ofB(other) : null];
    return mine && theirs ? [{ seed: run.seed, mine, theirs }] : [];
  });
  const ids_E = commonIds(pairs.flatMap(({ mine, theirs }) => [mine, theirs]));
  if (ids_E.length === 0) return null;
  const gains_S_E = pairs.map(({ mine, theirs }) => {
    const [mine_E, theirs_E] = [hitsOn(ids_E, mine), hitsOn(ids_E, theirs)];
    return ids_E.map((_, e) => mine_E[e]! - theirs_E[e]!);
  });
  const bySeed = pairs.map(({ seed }, s) => ({ seed, mean: meanOf(gains_S_E[s]!) }));
  return { ...bootstrap(gains_S_E, confidence), questions: ids_E.length, bySeed };
}

function commonIds(rounds: readonly StudyRound[]): readonly string[] {
  let ids = rounds[0]?.ids_E ?? [];
  for (const { ids_E } of rounds) {
    if (ids_E === ids) continue;
    const known = new Set(ids_E);
    const common = ids.filter((id) => known.has(id));
    if (common.length < ids.length) ids = common;
  }
  return ids;
}

function hitsOn(ids: readonly string[], { ids_E, hits_E }: StudyRound): ArrayLike<number> {
  if (ids === ids_E) return hits_E;
  const at = new Map(ids_E.map((id, e) => [id, hits_E[e]!]));
  return ids.map((id) => at.get(id)!);
}

const hitsIn = (hits_E: Uint8Array): number => hits_E.reduce((sum, hit) => sum + hit, 0);
export const accuracyOf = ({ hits_E }: StudyRound): number => hitsIn(hits_E) / hits_E.length;
