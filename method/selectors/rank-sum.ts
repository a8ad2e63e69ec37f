/** Rank sum [ours]: the candidate with the lowest sum of its ranks by each measure. */
import { best, type Choice } from './selector.js';

/** M measures, each with the values of N rows; the highest value has rank 1. */
export function lowestRankSum(values_MN: readonly (readonly number[])[]): Choice {
  const ranks_MN = values_MN.map(midRanks);
  const sums_N = values_MN[0]!.map((_, i) => ranks_MN.reduce((sum, ranks_N) => sum + ranks_N[i]!, 0));
  return best(sums_N.map((sum) => -sum));
}

/** Equal values share the mean of their ranks. */
export const midRanks = (values: readonly number[]) =>
  values.map((value) => {
    const higher = values.filter((other) => other > value).length;
    const equal = values.filter((other) => other === value).length;
    return higher + (equal + 1) / 2;
  });
