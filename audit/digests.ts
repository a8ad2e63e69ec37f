/** The digests that the input or output of an activity holds. Pure. */
import type { Digest } from './timeline.js';

const DEPTH = 3;
/** Settings and texts: how a step works, not what it works on. */
const SETTINGS = new Set(['texts', 'sampling', 'training', 'selection', 'gate']);

/** `{ data: { sha256, rows }, best: { grades: { sha256 } } }` -> data, best.grades. A bare reference is `model` or `data`. */
export function digestsOf(value: unknown, name = '', depth = DEPTH): Digest[] {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return [];
  const { sha256, rows } = value as { sha256?: unknown; rows?: unknown };
  if (typeof sha256 === 'string') {
    const isModel = rows === undefined;
    return [
      { name: name || (isModel ? 'model' : 'data'), sha256, rows: typeof rows === 'number' && rows > 0 ? rows : null },
    ];
  }
  if (depth === 0) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    SETTINGS.has(key) ? [] : digestsOf(inner, name ? `${name}.${key}` : key, depth - 1),
  );
}
