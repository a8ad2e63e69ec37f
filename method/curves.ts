/**
 * Accuracy against the number of samples, from one set of S samples of a question: the expected result for N of them,
 * drawn without replacement, so that no sample is asked for twice. Exact, not simulated. Axes: S samples, N = 1..S.
 * Pure. Throws nothing.
 */

/** One of S samples. `answer` null: none was found in it, so that it has no vote. */
export interface Sampled {
  /** The form in which equal answers are equal. */
  answer: string | null;
  correct: boolean;
}

/**
 * P(the majority answer of N samples is correct), for N = 1..S. Of answers with equally many votes each is as likely as
 * the others to have come first, which is how a vote is decided (vote.ts).
 * For each number of votes j: how many choices of N samples give one correct answer j votes, t others also j, and all the
 * rest fewer; counted answer by answer (a convolution), then divided by C(S, N).
 */
export function majorityCurve(samples: readonly Sampled[]): number[] {
  const size = samples.length;
  const answers = votesOf(samples);
  const blank = samples.filter(({ answer }) => answer === null).length;
  const chances = new Array<number>(size).fill(0);
  const most = Math.max(0, ...answers.map(({ votes }) => votes));
  for (let j = 1; j <= most; j++) {
    // ways[c][t][n]: choices of n samples, in which t answers have j votes, c of them correct, and no answer has more.
    for (const [at, { votes, correct }] of answers.entries()) {
      if (!correct || votes < j) continue;
      const others = answers.filter((_, i) => i !== at).map((one) => one.votes);
      const ways_TN = waysOf([...others], blank, j, size - j);
      const own = choose(votes, j);
      for (const [ties, ways_N] of ways_TN.entries())
        for (const [n, ways] of ways_N.entries()) if (n + j <= size) chances[n + j - 1]! += (own * ways) / (ties + 1);
    }
  }
  return chances.map((ways, i) => ways / choose(size, i + 1));
}

/** ways[t][n]: choices of n samples among the answers with these votes, t of which get j votes, and none more. */
function waysOf(votes: readonly number[], blank: number, j: number, most: number): number[][] {
  const reaching = votes.filter((count) => count >= j).length;
  let ways = Array.from({ length: reaching + 1 }, () => new Array<number>(most + 1).fill(0));
  for (let n = 0; n <= Math.min(blank, most); n++) ways[0]![n] = choose(blank, n);
  for (const count of votes) {
    const next = ways.map((row) => row.map(() => 0));
    for (const [t, row] of ways.entries())
      for (const [n, before] of row.entries()) {
        if (before === 0) continue;
        for (let v = 0; v <= Math.min(count, j, most - n); v++) {
          const ties = v === j ? t + 1 : t;
          next[ties]![n + v]! += before * choose(count, v);
        }
      }
    ways = next;
  }
  return ways;
}

/**
 * P(the best of N samples by a score is correct), for N = 1..S: the sample of rank i is the best of N if the others come
 * from the S - 1 - i below it, C(S - 1 - i, N - 1) / C(S, N). Of equal scores the first is the better.
 */
export function bestOfCurve(scored: readonly { score: number; correct: boolean }[]): number[] {
  const size = scored.length;
  const ranked = [...scored].sort((a, b) => b.score - a.score);
  return scored.map((_, i) => {
    const n = i + 1;
    const ways = ranked.reduce((sum, { correct }, rank) => sum + (correct ? choose(size - 1 - rank, n - 1) : 0), 0);
    return ways / choose(size, n);
  });
}

function votesOf(samples: readonly Sampled[]): { votes: number; correct: boolean }[] {
  const votes = new Map<string, { votes: number; correct: boolean }>();
  for (const { answer, correct } of samples) {
    if (answer === null) continue;
    const known = votes.get(answer);
    if (known) known.votes++;
    else votes.set(answer, { votes: 1, correct });
  }
  return [...votes.values()];
}

/** Binomial coefficient; exact as far as a double is, which 64 samples stay within to 15 digits. */
function choose(n: number, k: number): number {
  if (k < 0 || k > n) return 0;
  let product = 1;
  for (let i = 1; i <= Math.min(k, n - k); i++) product = (product * (n - Math.min(k, n - k) + i)) / i;
  return product;
}
