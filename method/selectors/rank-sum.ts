/** Rank sum [ours]: the candidate with the lowest sum of ranks by length, off-policy score and on-policy score. */
import { best, boundedChars, type Choice, type Selector, scoreOf } from './selector.js';

export const rankSum: Selector = {
  scores: ['off-policy', 'on-policy'],
  choose(candidates_K, incumbent, bounds) {
    const rows = [...candidates_K, incumbent];
    return lowestRankSum([
      [...candidates_K.map(({ chars }) => boundedChars(chars, bounds)), incumbent.chars],
      rows.map((row) => scoreOf(row, 'off-policy')),
      rows.map((row) => scoreOf(row, 'on-policy')),
    ]);
  },
};

/** Each list of values holds the candidates, then the incumbent; the highest value has rank 1. */
export function lowestRankSum(values: readonly (readonly number[])[]): Choice {
  const ranks = values.map(midRanks);
  const sums = values[0]!.map((_, i) => ranks.reduce((sum, list) => sum + list[i]!, 0));
  const incumbent = sums.pop()!;
  return best(
    sums.map((sum) => -sum),
    -incumbent,
  );
}

/** Equal values share the mean of their ranks. */
const midRanks = (values: readonly number[]) =>
  values.map((value) => {
    const higher = values.filter((other) => other > value).length;
    const equal = values.filter((other) => other === value).length;
    return higher + (equal + 1) / 2;
  });
