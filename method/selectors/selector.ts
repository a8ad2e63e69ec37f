/**
 * What selectors share: the table that they choose from, and the comparison with the incumbent.
 * Axes: N rows, the candidates by ascending k and then the incumbent; T tokens of the answer.
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
  /** Mean log-probability of the answer, in nats per token, by the model that gives it; and a judge's verdict. */
  scores: { readonly [Name in ScoreName | 'judge']?: number | null };
  /** The log-probability of each token of the answer, in nats. */
  logprobs?: Logprobs | undefined;
  /** The same without a rationale; the incumbent alone has it. */
  withoutRationale?: Logprobs | undefined;
}
export type Logprobs = { [Name in ScoreName]?: number[] };

export type Bounds = Pick<Selection, 'minChars' | 'maxChars'>;

/** Rows that a measure can compare: each has what it reads. The last one is the incumbent. */
export type Table = readonly CandidateRow[];

/** Values of the rows of a table; the higher the better. Pure. */
export interface Measured {
  /** The models whose log-probabilities it reads. */
  reads: readonly ScoreName[];
  /** It reads those of each token, and without a rationale. */
  tokens?: boolean;
  withoutRationale?: boolean;
  /** It reads a judge's verdict. */
  judged?: boolean;
  values(table_N: Table, bounds: Bounds): number[];
}

/** Position among the candidates, or the incumbent. */
export type Choice = number | 'incumbent';

/**
 * The first of the highest values, if it is above the incumbent's, the last one, by more than `minGain`. Equal is not
 * better: a tie must not rewrite the training set.
 */
export function best(values_N: readonly number[], minGain = 0): Choice {
  const candidates_K = values_N.slice(0, -1);
  const highest = Math.max(...candidates_K);
  return highest > values_N.at(-1)! + minGain ? candidates_K.indexOf(highest) : 'incumbent';
}
