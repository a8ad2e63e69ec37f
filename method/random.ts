/**
 * Seeded randomness: a hash, a generator and the seed of a row, the same on every machine and in every version. Not for
 * cryptography. Seeds and draws of stored runs come from here, so none of it must ever change.
 */

/** Enters the keys of what is drawn here. */
export const VERSION = 1;

/** Samples of one row use seed, seed + 1, ... seed + 63, and engines take seeds below 2^31. */
const SEEDS = 2 ** 31 - 64;

/**
 * The seed of one row's samples, 0 to 2^31 - 1 - 64. It depends on what is sampled, never on which worker, shard or
 * attempt samples it. `seed` is the run's.
 */
export function rowSeed(seed: number, round: number, purpose: string, id: string): number {
  return hash32(`${seed}/${round}/${purpose}/${id}`) % SEEDS;
}

/** MurmurHash3 (32 bits), one round per UTF-16 unit. 0 to 2^32 - 1. */
export function hash32(text: string): number {
  let hash = 0;
  for (let i = 0; i < text.length; i++) {
    const mixed = Math.imul(rotate(Math.imul(text.charCodeAt(i), 0xcc9e2d51), 15), 0x1b873593);
    hash = Math.imul(rotate(hash ^ mixed, 13), 5) + 0xe6546b64;
  }
  hash ^= text.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

const rotate = (bits: number, by: number) => (bits << by) | (bits >>> (32 - by));

/** mulberry32: each call gives the next number in [0, 1). */
export function random(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}
