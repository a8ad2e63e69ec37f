/**
 * How many rows a wave asks. The first ones are small, so that a teacher that is of no use costs little; later ones ask
 * for what is still wanted, by the share of replies that were of use up to then. Pure.
 */
import type { BuildEnd } from '../../contracts/catalysts.js';
import type { CatalystCounts } from '../../contracts/counts.js';

/** More rows than are wanted, since some give nothing; never more than so many for each. */
const SPARE = 1.2;
const MOST_FOR_ONE = 4;
const FIRST_WAVE = 64;
const GROWTH = 4;
/** After so many waves without one catalyst, the next one would have none either. */
const HOPELESS_WAVES = 3;
export const MAX_WAVES = 40;

export interface Building {
  /** Waves that are done. */
  waves: number;
  counts: Pick<CatalystCounts, 'kept' | 'asked'> | null;
  /** Rows that are asked again in any case. */
  again: number;
  /** The last draw found fewer rows than it wanted. */
  noneLeft: boolean;
}

/** Rows to ask again and new rows for the next wave, or why there is no other. */
export function nextWave(
  { waves, counts, again, noneLeft }: Building,
  { count, maxRequests }: { count: number; maxRequests: number },
): { again: number; rows: number; end: null } | { end: BuildEnd } {
  const { kept, asked } = counts ?? { kept: 0, asked: 0 };
  if (kept >= count) return { end: 'count' };
  if (kept === 0 && waves >= HOPELESS_WAVES) return { end: 'no-use' };
  const requestsLeft = maxRequests - asked;
  if (requestsLeft <= 0 || waves >= MAX_WAVES) return { end: 'requests' };
  if (again === 0 && noneLeft) return { end: 'rows' };
  const forOne = kept === 0 ? SPARE : Math.min(MOST_FOR_ONE, Math.max(SPARE, asked / kept));
  const wanted = Math.ceil((count - kept) * forOne);
  const wave = Math.min(wanted, FIRST_WAVE * GROWTH ** Math.min(waves, 8), requestsLeft);
  return { again: Math.min(again, requestsLeft), rows: noneLeft ? 0 : Math.max(0, wave - again), end: null };
}
