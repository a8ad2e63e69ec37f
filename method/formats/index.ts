/**
 * A whole file of one kind, row by row. Ids are unique: a row without one is named by its position.
 * The first row that cannot be used ends the reading: what a run learns from must be what its user meant.
 * Throws all that reading and recognising throw, data.invalid for an id that stands twice, data.unusable for no rows.
 */
import { dataUnusable, rowInvalid, show } from '../contracts/errors.js';
import type { Catalyst, Example, Prompt, Question } from '../contracts/records.js';
import type { Fields } from '../contracts/spec.js';
import type { DataKind } from '../contracts/steps.js';
import { toCatalyst, toExample, toPrompt, toQuestion } from './recognise.js';
import { readRows } from './rows.js';

export { readRows, toCatalyst, toExample, toPrompt, toQuestion };

export interface DataRow {
  examples: Example;
  catalysts: Catalyst;
  questions: Question;
  prompts: Prompt;
}

type Recognise<K extends DataKind> = (
  value: unknown,
  at: { file: string; line: number },
  fields: Fields,
  fallbackId: string,
) => DataRow[K];

const RECOGNISE: { [K in DataKind]: { one: string; by: Recognise<K> } } = {
  examples: { one: 'example', by: toExample },
  catalysts: { one: 'catalyst', by: toCatalyst },
  questions: { one: 'question', by: toQuestion },
  prompts: { one: 'prompt', by: toPrompt },
};

/** `limit`: only the first rows; null: all. */
export async function* readData<K extends DataKind>(
  kind: K,
  bytes: AsyncIterable<Uint8Array>,
  file: string,
  fields: Fields,
  limit: number | null,
): AsyncGenerator<DataRow[K]> {
  const lineOf = new Map<string, number>();
  for await (const { line, value } of readRows(bytes, file)) {
    let fallbackId = `r${String(lineOf.size + 1).padStart(6, '0')}`;
    while (lineOf.has(fallbackId)) fallbackId += '-2';
    const row = RECOGNISE[kind].by(value, { file, line }, fields, fallbackId);
    const first = lineOf.get(row.id);
    if (first !== undefined) {
      const field = fields.id ?? 'id';
      throw rowInvalid({ file, line, field }, `${show(row.id)} stands twice (first at line ${first}).`);
    }
    lineOf.set(row.id, line);
    yield row;
    if (lineOf.size === limit) return;
  }
  if (lineOf.size === 0) throw dataUnusable(file, `there is no usable ${RECOGNISE[kind].one} in it.`);
}
