/**
 * The seed of one row's samples: a function of what is sampled, never of which worker, shard or attempt samples it.
 */
import { hash32 } from './random.js';

/** Samples of one row use seed, seed + 1, ... seed + 63, and engines take seeds below 2^31. */
const SEEDS = 2 ** 31 - 64;

/** 0 to 2^31 - 1 - 64. `seed` is the run's. */
export function rowSeed(seed: number, round: number, purpose: string, id: string): number {
  return hash32(`${seed}/${round}/${purpose}/${id}`) % SEEDS;
}
