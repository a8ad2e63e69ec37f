/**
 * What a selector is, and what selectors share. Axis: K sound candidates (no guard, every needed score), by ascending k.
 */
import type { Guard, ScoreName } from '../../contracts/rows.js';
import type { Selection } from '../../contracts/spec.js';

/** A line of the table that is chosen from. A score that is null or absent could not be computed. */
export interface CandidateRow {
  /** INCUMBENT for the rationale that the example already has. */
  k: number;
  /** Length of the rationale. */
  chars: number;
  guard: Guard | null;
  scores: Partial<Record<ScoreName, number | null>>;
}

/** Position among the K candidates, or the incumbent. */
export type Choice = number | 'incumbent';

export interface Selector {
  /** Rows without one of these are never passed to `choose`. */
  scores: readonly ScoreName[];
  /** It draws random numbers by `seed`. */
  draws?: true;
  /** `candidates_K` has at least one row. */
  choose(candidates_K: readonly CandidateRow[], incumbent: CandidateRow, bounds: Bounds, seed: string): Choice;
}

export type Bounds = Pick<Selection, 'minChars' | 'maxChars'>;

/** Equal is not better: a tie must not rewrite the training set. Of equal candidates the first. */
export function best(values_K: readonly number[], incumbent: number): Choice {
  let choice: Choice = 'incumbent';
  let highest = incumbent;
  for (const [i, value] of values_K.entries()) {
    if (value > highest) [choice, highest] = [i, value];
  }
  return choice;
}

/** A rationale outside the bounds is worth less than any other. */
export const boundedChars = (chars: number, { minChars, maxChars }: Bounds) =>
  chars >= minChars && chars <= maxChars ? chars : -1;

/** A score that the selector lists, which `choose` in index.ts has found to be there. */
export const scoreOf = (row: CandidateRow, name: ScoreName): number => row.scores[name]!;

/** The candidate with the highest score, if it is higher than the incumbent's. */
export const byScore = (name: ScoreName): Selector => ({
  scores: [name],
  choose: (candidates_K, incumbent) =>
    best(
      candidates_K.map((row) => scoreOf(row, name)),
      scoreOf(incumbent, name),
    ),
});
