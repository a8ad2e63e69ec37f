/** Random selector [ours]: a control arm, not part of the method. Draws from the candidates, never the incumbent. */
import { random as generator, hash32 } from '../random.js';

export const draw = (candidates: number, seed: string): number => Math.floor(generator(hash32(seed))() * candidates);
