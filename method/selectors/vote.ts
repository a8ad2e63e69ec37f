/** Vote [ours]: what more than half of the three selectors choose; without such a majority the incumbent. */
import { length } from './length.js';
import { offPolicy } from './off-policy.js';
import { onPolicy } from './on-policy.js';
import type { Choice, Selector } from './selector.js';

const BALLOTS = [length, offPolicy, onPolicy];

export const vote: Selector = {
  scores: BALLOTS.flatMap(({ scores }) => scores),
  choose: (...table) => majority(BALLOTS.map((selector) => selector.choose(...table))),
};

export const majority = (choices: readonly Choice[]): Choice =>
  choices.find((choice) => choices.filter((other) => other === choice).length > choices.length / 2) ?? 'incumbent';
