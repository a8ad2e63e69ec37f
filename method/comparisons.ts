/**
 * A round against earlier ones, on the same questions: the one before it, the best, and round 0. Rounds that are the same
 * are compared once. A report is not stored under a key, so there is no VERSION here. Pure; throws a plain Error where the
 * answers do not pair.
 */
import type { Against, Comparison } from '../contracts/report.js';
import { exactPairedTest, pairedBootstrap } from './statistics.js';

/** What a round has for each question: right or wrong, or a number. */
export type Answers_E = readonly boolean[] | readonly number[];

/** Which earlier rounds `round` is compared with, and as what. */
export function roundsToCompare(round: number, best: number | null): Map<number, Against[]> {
  const found = new Map<number, Against[]>();
  const add = (other: number | null, as: Against) => {
    if (other !== null && other >= 0 && other < round) found.set(other, [...(found.get(other) ?? []), as]);
  };
  add(round - 1, 'before');
  add(best, 'best');
  add(0, 'first');
  return found;
}

export function compare(
  other_E: Answers_E,
  this_E: Answers_E,
  confidence: number,
  seed: number,
): Pick<Comparison, 'difference' | 'low' | 'high' | 'test'> {
  const paired = pairedBootstrap(other_E, this_E, confidence, seed);
  if (!areGraded(other_E) || !areGraded(this_E)) return { ...paired, test: null };
  const { onlyA, onlyB, p } = exactPairedTest(other_E, this_E);
  return { ...paired, test: { onlyOther: onlyA, onlyThis: onlyB, p } };
}

const areGraded = (answers_E: Answers_E): answers_E is readonly boolean[] =>
  (answers_E as readonly unknown[]).every((answer) => typeof answer === 'boolean');
