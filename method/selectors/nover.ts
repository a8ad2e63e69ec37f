/**
 * The two terms of NOVER, arXiv 2505.16022, over all rationales of a question. Lengths are in characters, where NOVER
 * counts tokens.
 *   likelihood-rank  (n - r) / n, r = 0 for the rationale with the lowest perplexity of the answer under the reference
 *                    model; equal perplexities share the mean of their ranks
 *   efficiency       the share of the other rationales that are both longer and worse by that perplexity
 */
import { midRanks } from './rank-sum.js';
import type { Measured } from './selector.js';

/** Perplexity is exp(-mean log p): a lower one is a higher mean log-probability. */
export const likelihoodRank: Measured = {
  reads: ['off-policy'],
  values: (table_N) => {
    const ranks_N = midRanks(table_N.map(({ scores }) => scores['off-policy']!));
    return ranks_N.map((rank) => (table_N.length - (rank - 1)) / table_N.length);
  },
};

export const efficiency: Measured = {
  reads: ['off-policy'],
  values: (table_N) =>
    table_N.map((row) => {
      const beaten = table_N.filter(
        (other) => other.chars > row.chars && other.scores['off-policy']! < row.scores['off-policy']!,
      );
      return beaten.length / (table_N.length - 1);
    }),
};
