/**
 * Which candidate becomes r(t), or does the incumbent r(t-1) stay? [paper] three selectors, none of which assumes an
 * instruction type or an answer format. [ours] what the three are, and how they are taken together: the paper's own
 * could not be obtained. Pure: a table of what was seen -> k, so a table can be chosen from again without sampling.
 * Axes: K sound candidates, in the order of k. Throws a plain Error where a score that is needed is missing.
 */
import { type Guard, INCUMBENT } from '../contracts/records.js';
import type { Selection } from '../contracts/spec.js';
import { hash32, random } from './random.js';

export interface CandidateRow {
  k: number;
  chars: number;
  guard: Guard | null;
  offPolicyNats: number | null;
  onPolicyNats: number | null;
}
type Bounds = Pick<Selection, 'minChars' | 'maxChars'>;
/** An index on K, or the incumbent. */
export type Choice = number | 'incumbent';

/** Which scores a selector reads: others need not be computed. */
export function needs(selector: Selection['selector']): { offPolicy: boolean; onPolicy: boolean } {
  const both = selector === 'vote' || selector === 'rank-sum';
  return { offPolicy: both || selector === 'off-policy', onPolicy: both || selector === 'on-policy' };
}

/** `table` holds the incumbent as k = -1. Returns the chosen k. Candidates with a guard are never chosen. */
export function choose(table: CandidateRow[], selection: Selection, seed: string): number {
  const incumbent = table.find((row) => row.k === INCUMBENT);
  if (!incumbent) throw new Error('the table has no incumbent');
  const sound_K = table.filter((row) => row.k !== INCUMBENT && row.guard === null).sort((a, b) => a.k - b.k);
  if (sound_K.length === 0) return INCUMBENT;
  const choice = chooseSound(sound_K, incumbent, selection, seed);
  return choice === 'incumbent' ? INCUMBENT : sound_K[choice]!.k;
}

function chooseSound(sound_K: CandidateRow[], incumbent: CandidateRow, selection: Selection, seed: string): Choice {
  const chars_K = sound_K.map((row) => row.chars);
  const length = () => selectLength(chars_K, incumbent.chars, selection);
  const offPolicy = () => selectOffPolicy(sound_K.map(offPolicyNats), offPolicyNats(incumbent));
  const onPolicy = () => selectOnPolicy(sound_K.map(onPolicyNats), onPolicyNats(incumbent));
  switch (selection.selector) {
    case 'length':
      return length();
    case 'off-policy':
      return offPolicy();
    case 'on-policy':
      return onPolicy();
    case 'vote':
      return selectByVote([length(), offPolicy(), onPolicy()]);
    case 'rank-sum':
      return selectByRankSum([
        [...chars_K.map((chars) => (withinBounds(chars, selection) ? chars : -1)), incumbent.chars],
        [...sound_K, incumbent].map(offPolicyNats),
        [...sound_K, incumbent].map(onPolicyNats),
      ]);
    case 'random':
      return selectRandom(sound_K.length, seed);
  }
}

/** Length selector [ours]: the longest candidate within the bounds, if it is longer than the incumbent. */
export function selectLength(chars_K: readonly number[], incumbentChars: number, bounds: Bounds): Choice {
  return best(
    chars_K.map((chars) => (withinBounds(chars, bounds) ? chars : -1)),
    incumbentChars,
  );
}

/** Off-policy selector [ours]: the candidate under which the *reference* model finds the answer likeliest.
 *  Input: mean log-probability of the answer, nats per token. */
export function selectOffPolicy(logprobNats_K: readonly number[], incumbentNats: number): Choice {
  return best(logprobNats_K, incumbentNats);
}

/** On-policy selector [ours]: the same under the *current* model M(t-1). */
export function selectOnPolicy(logprobNats_K: readonly number[], incumbentNats: number): Choice {
  return best(logprobNats_K, incumbentNats);
}

/** Random selector [ours]: a control arm, not part of the method. Never the incumbent. */
export function selectRandom(candidates: number, seed: string): Choice {
  return candidates === 0 ? 'incumbent' : Math.floor(random(hash32(seed))() * candidates);
}

/** Vote [ours]: what more than half of the selectors choose; without such a majority the incumbent. */
export function selectByVote(choices: readonly Choice[]): Choice {
  return (
    choices.find((choice) => choices.filter((other) => other === choice).length > choices.length / 2) ?? 'incumbent'
  );
}

/** Rank sum [ours]: the lowest sum of ranks over the selectors. Each list of values holds the candidates, then the
 *  incumbent; the highest value has rank 1, and equal values share the mean of their ranks. */
export function selectByRankSum(values: readonly (readonly number[])[]): Choice {
  const ranks = values.map(midRanks);
  const sums = values[0]!.map((_, i) => ranks.reduce((sum, of) => sum + of[i]!, 0));
  const incumbent = sums.length - 1;
  return best(
    sums.slice(0, incumbent).map((sum) => -sum),
    -sums[incumbent]!,
  );
}

/** Equal is not better: a tie must not rewrite the training set. Among equal candidates the first. */
function best(values_K: readonly number[], incumbent: number): Choice {
  let choice: Choice = 'incumbent';
  let highest = incumbent;
  for (const [i, value] of values_K.entries()) {
    if (value > highest) [choice, highest] = [i, value];
  }
  return choice;
}

const midRanks = (values: readonly number[]) =>
  values.map((value) => {
    const higher = values.filter((other) => other > value).length;
    const equal = values.filter((other) => other === value).length;
    return higher + (equal + 1) / 2;
  });

const withinBounds = (chars: number, { minChars, maxChars }: Bounds) => chars >= minChars && chars <= maxChars;

const offPolicyNats = (row: CandidateRow) => scored(row, row.offPolicyNats, 'off-policy');
const onPolicyNats = (row: CandidateRow) => scored(row, row.onPolicyNats, 'on-policy');

function scored(row: CandidateRow, nats: number | null, selector: string): number {
  if (nats === null) throw new Error(`candidate ${row.k} has no ${selector} score`);
  return nats;
}
