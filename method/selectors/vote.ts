/** Vote [ours]: what more than half of the measures choose; without such a majority the incumbent. */
import type { Choice } from './selector.js';

export const majority = (choices: readonly Choice[]): Choice =>
  choices.find((choice) => choices.filter((other) => other === choice).length > choices.length / 2) ?? 'incumbent';
