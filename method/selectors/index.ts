/**
 * Which candidate becomes r(t), or does the incumbent r(t-1) stay? [paper] three selectors, none of which assumes an
 * instruction type or an answer format. [ours] what the three are, and how they are combined: the paper's own could not
 * be obtained. Pure: a table of what was seen -> k, so another selector needs no new samples.
 * Throws a plain Error for a table without an incumbent.
 */
import { INCUMBENT, type ScoreName } from '../../contracts/rows.js';
import type { Selection, SelectorName } from '../../contracts/spec.js';
import { length } from './length.js';
import { offPolicy } from './off-policy.js';
import { onPolicy } from './on-policy.js';
import { random } from './random.js';
import { rankSum } from './rank-sum.js';
import type { CandidateRow, Selector } from './selector.js';
import { vote } from './vote.js';

export type { CandidateRow };

/** One version for all selectors, which a new one does not change. Enters the keys of selections. */
export const VERSION = 1;

const TABLE: Record<SelectorName, Selector> = {
  length,
  'off-policy': offPolicy,
  'on-policy': onPolicy,
  vote,
  'rank-sum': rankSum,
  random,
};

/** The scores that a selector reads; no others need to be computed. */
export const scoresOf = (selector: SelectorName): ScoreName[] => [...TABLE[selector].scores];

/** Whether its choice depends on the seed, which then is in the key of the selection. */
export const draws = (selector: SelectorName): boolean => TABLE[selector].draws ?? false;

/**
 * The chosen k. Never chosen: a candidate with a guard, and one without a score that the selector reads, since it cannot
 * be compared. An incumbent without such a score stays, for the same reason.
 * `seed`: for a selector that draws; it differs between examples.
 */
export function choose(table: readonly CandidateRow[], selection: Selection, seed: string): number {
  const incumbent = table.find(({ k }) => k === INCUMBENT);
  if (!incumbent) throw new Error('the table has no incumbent');
  const selector = TABLE[selection.selector];
  const isComparable = ({ scores }: CandidateRow) =>
    selector.scores.every((name) => scores[name] !== null && scores[name] !== undefined);
  if (!isComparable(incumbent)) return INCUMBENT;
  const sound_K = table
    .filter((row) => row.k !== INCUMBENT && row.guard === null && isComparable(row))
    .sort((a, b) => a.k - b.k);
  if (sound_K.length === 0) return INCUMBENT;
  const choice = selector.choose(sound_K, incumbent, selection, seed);
  return choice === 'incumbent' ? INCUMBENT : sound_K[choice]!.k;
}
