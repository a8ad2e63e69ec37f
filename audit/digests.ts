/** An entry with the instant it is ordered by, and the digests that a value names. Pure. */
import type { Digest, Entry } from './account.js';

export interface Told {
  order: string;
  entry: Entry;
}

const DEPTH = 3;
/** Parts of these say how, not with what. */
const HOW = new Set(['prompts', 'sampling', 'training', 'selection', 'fields']);

/** `{ data: { sha256, rows }, best: { grades: { sha256 } } }` -> data, best.grades. A digest of its own is `model` or `data`. */
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
    HOW.has(key) ? [] : digestsOf(inner, name ? `${name}.${key}` : key, depth - 1),
  );
}
