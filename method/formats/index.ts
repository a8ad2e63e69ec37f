/**
 * A whole file of one kind of data, row by row. Ids are unique: a row without one is named by its position.
 * The first unusable row ends the reading: what a run learns from must be what its user meant.
 * Throws what containers.ts and recognise.ts throw, data.invalid for an id that occurs twice, data.unusable for a file
 * without rows.
 */
import { dataUnusable, rowInvalid, show } from '../../contracts/errors.js';
import type { Catalyst, Example, PromptRow, Question } from '../../contracts/rows.js';
import type { Fields } from '../../contracts/spec.js';
import type { DataKind } from '../../contracts/steps.js';
import { readValues } from './containers.js';
import type { RowPosition } from './form.js';
import { toCatalyst, toExample, toPromptRow, toQuestion } from './recognise.js';

/** One version for all of formats/. Enters the keys of ingested data. */
export const VERSION = 1;

export interface DataRow {
  examples: Example;
  catalysts: Catalyst;
  questions: Question;
  prompts: PromptRow;
}

type Recognise<K extends DataKind> = (
  value: unknown,
  at: RowPosition,
  fields: Fields,
  fallbackId: string,
) => DataRow[K];

const KINDS: { [K in DataKind]: { one: string; recognise: Recognise<K> } } = {
  examples: { one: 'example', recognise: toExample },
  catalysts: { one: 'catalyst', recognise: toCatalyst },
  questions: { one: 'question', recognise: toQuestion },
  prompts: { one: 'prompt', recognise: toPromptRow },
};

/** `file`: its name in messages. `limit`: only the first rows; null: all. */
export async function* readData<K extends DataKind>(
  kind: K,
  bytes: AsyncIterable<Uint8Array>,
  file: string,
  fields: Fields,
  limit: number | null,
): AsyncGenerator<DataRow[K]> {
  const { one, recognise } = KINDS[kind];
  const lineOf = new Map<string, number>();
  for await (const { line, value } of readValues(bytes, file)) {
    let fallbackId = `r${String(lineOf.size + 1).padStart(6, '0')}`;
    while (lineOf.has(fallbackId)) fallbackId += '-2';
    const row = recognise(value, { file, line }, fields, fallbackId);
    const first = lineOf.get(row.id);
    if (first !== undefined) {
      const field = fields.id ?? 'id';
      throw rowInvalid({ file, line, field }, `${show(row.id)} occurs twice (first at line ${first}).`);
    }
    lineOf.set(row.id, line);
    yield row;
    if (lineOf.size === limit) return;
  }
  if (lineOf.size === 0) throw dataUnusable(file, `there is no usable ${one} in it.`);
}
