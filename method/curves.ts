/**
 * Accuracy against the number of samples, from one set of S samples: for each N = 1 ... S the expectation over all subsets
 * of N of the S samples, which is unbiased for N fresh samples. Exact, in closed form or by dynamic programming, so that
 * no subset is drawn. Axes: S samples of one question, N samples used, G groups of equal answers. Pure; never throws.
 */

export interface Answered {
  /** Equal for answers that are the same vote; null: the sample has none (vote.ts). */
  vote: string | null;
  correct: boolean;
}

export interface Scored {
  /** The highest is taken; null: lower than all. */
  score: number | null;
  correct: boolean;
}

/**
 * Majority vote: the probability that the answer which most of N samples give is right. A tie is broken at random, which
 * is what method/vote.ts does over all orders of the samples. N samples without any vote are wrong.
 */
export function majority(samples_S: readonly Answered[]): number[] {
  const groups = new Map<string, { count: number; correct: boolean }>();
  for (const { vote, correct } of samples_S) {
    if (vote === null) continue;
    const group = groups.get(vote);
    if (group) group.count++;
    else groups.set(vote, { count: 1, correct });
  }
  const all = [...groups.values()];
  const size = samples_S.length;
  const silent = size - all.reduce((sum, { count }) => sum + count, 0);
  const won_N = new Float64Array(size + 1);
  for (const right of all.filter(({ correct }) => correct)) {
    const others = all.filter((group) => group !== right).map(({ count }) => count);
    for (let votes = 1; votes <= right.count; votes++) {
      const ways = restWays(others, silent, votes);
      for (const [rest, count] of ways.entries())
        won_N[votes + rest] = won_N[votes + rest]! + choose(right.count, votes) * count;
    }
  }
  return shares(won_N, size);
}

/**
 * In how many ways the samples outside of a group can be drawn, by their number, so that no other group has more than
 * `votes` of them; a way in which t others have as many counts as 1 / (t + 1), the chance to win the tie.
 */
function restWays(others_G: readonly number[], silent: number, votes: number): number[] {
  /** [samples drawn][groups that tie] -> ways. */
  let ways: number[][] = [[1]];
  for (const count of others_G) {
    const most = Math.min(count, votes);
    const ties = ways[0]!.length + (count >= votes ? 1 : 0);
    const next = Array.from({ length: ways.length + most }, () => new Array<number>(ties).fill(0));
    for (const [drawn, byTies] of ways.entries())
      for (let take = 0; take <= most; take++) {
        const row = next[drawn + take]!;
        const factor = choose(count, take);
        const tie = take === votes ? 1 : 0;
        for (const [tied, sofar] of byTies.entries())
          if (sofar > 0) row[tied + tie] = row[tied + tie]! + sofar * factor;
      }
    ways = next;
  }
  const won = ways.map((byTies) => byTies.reduce((sum, count, ties) => sum + count / (ties + 1), 0));
  const all = new Array<number>(won.length + silent).fill(0);
  for (const [drawn, count] of won.entries())
    for (let take = 0; take <= silent; take++) all[drawn + take] = all[drawn + take]! + count * choose(silent, take);
  return all;
}

/** Best of N by a score: the probability that the sample with the highest score of N is right. Equal scores share it. */
export function bestOf(samples_S: readonly Scored[]): number[] {
  const value = ({ score }: Scored) => score ?? Number.NEGATIVE_INFINITY;
  const ranked = [...samples_S].sort((a, b) => value(b) - value(a) || 0);
  const size = ranked.length;
  const won_N = new Float64Array(size + 1);
  for (let from = 0, to = 0; from < size; from = to) {
    while (to < size && value(ranked[to]!) === value(ranked[from]!)) to++;
    const right = ranked.slice(from, to).filter(({ correct }) => correct).length / (to - from);
    // Subsets without the samples above, less those without these as well: the best one is among these.
    for (let n = 1; n <= size; n++) won_N[n] = won_N[n]! + right * (choose(size - from, n) - choose(size - to, n));
  }
  return shares(won_N, size);
}

/** pass@N: the probability that any of N samples is right. arXiv 2107.03374. */
export function anyOf(correct_S: readonly boolean[]): number[] {
  const size = correct_S.length;
  const wrong = correct_S.filter((correct) => !correct).length;
  return Array.from({ length: size }, (_, i) => 1 - choose(wrong, i + 1) / choose(size, i + 1));
}

/** Sums curves over questions. */
export class CurveSum {
  private count = 0;
  private readonly sum_N: number[] = [];
  private readonly squares_N: number[] = [];

  add(value_N: readonly number[]): void {
    this.count++;
    for (const [n, value] of value_N.entries()) {
      this.sum_N[n] = (this.sum_N[n] ?? 0) + value;
      this.squares_N[n] = (this.squares_N[n] ?? 0) + value ** 2;
    }
  }

  /** The mean over the questions, and its standard error: 0 where there is one question. */
  result(): { mean_N: number[]; error_N: number[] } {
    const { count, sum_N, squares_N } = this;
    return {
      mean_N: sum_N.map((sum) => bounded(sum / count)),
      error_N: sum_N.map((sum, n) => {
        const variance = (squares_N[n]! - sum ** 2 / count) / Math.max(1, count - 1);
        return Math.sqrt(Math.max(0, variance) / count);
      }),
    };
  }
}

/** Ways -> probabilities, for N = 1 ... S. */
const shares = (won_N: Float64Array, size: number): number[] =>
  Array.from({ length: size }, (_, i) => bounded(won_N[i + 1]! / choose(size, i + 1)));

/** A rounding error must not make more than 1 of a probability. */
const bounded = (share: number) => Math.min(1, Math.max(0, share));

const PASCAL: number[][] = [[1]];
/** Binomial coefficient; 0 where k > n. */
export function choose(n: number, k: number): number {
  for (let row = PASCAL.length; row <= n; row++) {
    const above = PASCAL[row - 1]!;
    PASCAL.push([1, ...above.slice(1).map((value, i) => value + above[i]!), 1]);
  }
  return PASCAL[n]![k] ?? 0;
}
