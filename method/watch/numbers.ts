/** Numbers of a RoundWatch. Pure. */
import type { MetricName, RoundWatch } from '../../contracts/watch.js';

/** null: there is nothing to divide by. */
export const share = (part: number, of: number): number | null => (of === 0 ? null : part / of);

/** What is known, rounded to four digits behind the point, so that a record stays small. */
export function defined(numbers: { [Name in MetricName]?: number | null | undefined }): RoundWatch {
  const known = Object.entries(numbers).filter(([, value]) => typeof value === 'number' && Number.isFinite(value));
  // Adding 0 turns -0 into 0.
  return Object.fromEntries(known.map(([name, value]) => [name, Math.round(value! * 1e4) / 1e4 + 0]));
}
