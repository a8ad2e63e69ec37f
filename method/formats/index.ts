/**
 * A whole file of one kind of data, row by row. Ids are unique: a row without one is named by its position.
 * The first unusable row ends the reading: what a run learns from must be what its user meant.
 * Throws what its container and recognise.ts throw, file.empty, data.invalid for an id that occurs twice, data.unusable
 * for a file without rows or of another kind.
 */
import { dataUnusable, fileEmpty, fileNotText, rowInvalid, show } from '../../contracts/errors.js';
import type { Catalyst, Example, PromptRow, Question } from '../../contracts/rows.js';
import type { Fields } from '../../contracts/spec.js';
import type { DataKind } from '../../contracts/steps.js';
import { type Container, isBlank, LF, type Row, type RowReader } from './container.js';
import type { RowPosition } from './form.js';
import { jsonArray } from './json-array.js';
import { jsonLines } from './json-lines.js';
import { toCatalyst, toExample, toPromptRow, toQuestion } from './recognise.js';

/** One version for all of formats/. Enters the keys of ingested data. */
export const VERSION = 2;

/** The first one that fits reads the file. */
const CONTAINERS: readonly Container[] = [jsonArray, jsonLines];
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

/** First bytes of files that are not read. Without their names, a message about UTF-8 or JSON would mislead. */
const OTHERS: readonly (readonly [string, string])[] = [
  ['\x1f\x8b', 'a gzip file within a gzip file'],
  ['\x28\xb5\x2f\xfd', 'a zstd file'],
  ['\xfd7zXZ\0', 'an xz file'],
  ['BZh', 'a bzip2 file'],
  ['PK\x03\x04', 'a zip file'],
  ['PAR1', 'a Parquet file'],
  ['ARROW1', 'an Arrow file'],
];

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

/** `bytes`: unpacked. `file`: its name in messages. `limit`: only the first rows; null: all. */
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

/** JSON values with their lines, or what other containers make of their rows. */
export async function* readValues(bytes: AsyncIterable<Uint8Array>, file: string): AsyncGenerator<Row> {
  let reader: RowReader | undefined;
  let line = 1;
  let bytesSeen = 0;
  let markSeen = 0;
  for await (const chunk of bytes) {
    let at = 0;
    if (!reader) {
      for (; at < chunk.length; at++, bytesSeen++) {
        const byte = chunk[at]!;
        if (markSeen === bytesSeen && byte === BYTE_ORDER_MARK[markSeen]) markSeen++;
        else if (byte === LF) line++;
        else if (!isBlank(byte)) break;
      }
      if (at === chunk.length) continue;
      if (markSeen === 1 || markSeen === 2) throw fileNotText(file, 1);
      const start = Buffer.from(chunk.subarray(at, at + 8)).toString('latin1');
      const other = OTHERS.find(([bytes]) => start.startsWith(bytes))?.[1];
      if (other) throw dataUnusable(file, `this is ${other}.`, 'Convert it to JSONL, plain or .gz.');
      const first = chunk[at]!;
      reader = CONTAINERS.find((container) => container.fits(first, file))!.open(file, line);
    }
    yield* reader.push(chunk.subarray(at));
  }
  if (!reader) throw fileEmpty(file);
  yield* reader.end();
}
