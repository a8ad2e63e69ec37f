/** Random selector [ours]: a control arm, not part of the method. Draws from the candidates, never the incumbent. */
import { random as generator, hash32 } from '../random.js';
import type { Selector } from './selector.js';

export const random: Selector = {
  draws: true,
  scores: [],
  choose: (candidates_K, _incumbent, _bounds, seed) => Math.floor(generator(hash32(seed))() * candidates_K.length),
};
