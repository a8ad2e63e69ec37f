/**
 * What the indices of a file's answers count from: 0 or 1. A row seldom shows it, and an answer that is read by the wrong
 * one is another answer. The first row of a file that does decides for all: an index of 0 does, and one that is as large
 * as the number of choices.
 */
import type { Fields } from '../../contracts/spec.js';
import type { Base } from './choices.js';
import type { Row } from './container.js';
import { indexOf } from './recognise.js';

/** Rows are held until one decides; after so many the default holds. */
const MOST_HELD = 1000;
const MOST_HELD_CHARS = 2 ** 24;

export async function* withBase(
  rows: AsyncIterable<Row>,
  fields: Fields,
): AsyncGenerator<{ row: Row; first: Base | null }> {
  let first: Base | null = null;
  let looked = 0;
  let chars = 0;
  let held: Row[] = [];
  for await (const row of rows) {
    if (looked >= MOST_HELD || first !== null) {
      yield { row, first };
      continue;
    }
    looked++;
    const found = row.problem ? null : indexOf(row.value, fields);
    if (found && found.index === 0) first = 0;
    if (found && found.index === found.choices) first = 1;
    if (held.length > 0 || found) held.push(row);
    else yield { row, first };
    if (held.length > 0) chars += JSON.stringify(row.value)?.length ?? 0;
    if (first === null && looked < MOST_HELD && chars < MOST_HELD_CHARS) continue;
    looked = MOST_HELD;
    for (const one of held) yield { row: one, first };
    held = [];
  }
  for (const row of held) yield { row, first };
}
