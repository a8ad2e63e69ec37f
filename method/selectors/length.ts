/** Length selector [ours]: the longest candidate within the bounds, if it is longer than the incumbent. */
import { best, boundedChars, type Selector } from './selector.js';

export const length: Selector = {
  scores: [],
  choose: (candidates_K, incumbent, bounds) =>
    best(
      candidates_K.map(({ chars }) => boundedChars(chars, bounds)),
      incumbent.chars,
    ),
};
