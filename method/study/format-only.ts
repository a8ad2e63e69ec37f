/**
 * Format-only catalysts: each keeps its question, its short rationale and its answer, and gets the enriched rationale and
 * the skills of another row of about the same length. So a model sees the same form, the same lengths and the same texts,
 * and learns nothing of how a short rationale becomes *its* longer one. Deterministic in `seed`. Pure.
 */
import type { Catalyst } from '../../contracts/rows.js';
import { random } from '../random.js';

/** Rows of neighbouring length that exchange their reasoning. */
const BLOCK = 8;
const TRIES = 50;

/** null: there is no way to give each row another text than its own, since too many of them are the same. */
export function formatOnly(catalysts: readonly Catalyst[], seed: number): Catalyst[] | null {
  const byLength = catalysts
    .map((_, i) => i)
    .sort((a, b) => catalysts[a]!.enriched.length - catalysts[b]!.enriched.length || a - b);
  const next = random(seed);
  for (let size = BLOCK, tries = 0; tries < TRIES; tries++) {
    const source = exchanged(byLength, size, next);
    if (source.every((from, i) => catalysts[from]!.enriched !== catalysts[i]!.enriched))
      return catalysts.map((row, i) => ({
        ...row,
        enriched: catalysts[source[i]!]!.enriched,
        skills: catalysts[source[i]!]!.skills,
      }));
    // Equal texts lie beside each other: larger blocks have others, too.
    if (tries % 5 === 4) size = Math.min(2 * size, catalysts.length);
  }
  return null;
}

/** By row, the row that it gets its reasoning from: a cycle through each block (Sattolo), so none keeps its own. */
function exchanged(byLength: readonly number[], size: number, next: () => number): number[] {
  const source = new Array<number>(byLength.length);
  const blocks = Math.max(1, Math.floor(byLength.length / size));
  for (let block = 0; block < blocks; block++) {
    // What is left over at the end is part of the last block.
    const rows = byLength.slice(block * size, block === blocks - 1 ? undefined : (block + 1) * size);
    const order = [...rows];
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(next() * i);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    for (const [i, row] of rows.entries()) source[row] = order[i]!;
  }
  return source;
}
