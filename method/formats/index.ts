/**
 * A whole file of one kind of data, row by row. Ids are unique: a row without one is named by its content, so that it keeps
 * its name, its seed and what was made of it when other rows come or go.
 * The first unusable row ends the reading: what a run learns from must be what its user meant.
 * Throws what its container and recognise.ts throw, file.empty, data.invalid for an id that occurs twice, data.unusable
 * for a file without rows or of another kind.
 */
import { dataUnusable, fileEmpty, fileNotText, Problem, rowInvalid, show } from '../../contracts/errors.js';
import type { Catalyst, Example, PromptRow, Question } from '../../contracts/rows.js';
import type { Fields } from '../../contracts/spec.js';
import type { DataKind } from '../../contracts/steps.js';
import { hash32 } from '../random.js';
import type { Base } from './choices.js';
import { type Container, isBlank, LF, type Row, type RowReader } from './container.js';
import { csv } from './csv.js';
import type { RowPosition } from './form.js';
import { withBase } from './index-base.js';
import { jsonArray } from './json-array.js';
import { jsonLines } from './json-lines.js';
import { jsonObject } from './json-object.js';
import { type Seen, toCatalyst, toExample, toPromptRow, toQuestion } from './recognise.js';

/** One version for all of formats/. Enters the keys of ingested data. */
export const VERSION = 3;

/** The first one that fits reads the file. */
const CONTAINERS: readonly Container[] = [csv, jsonArray, jsonObject, jsonLines];
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

/** How files begin that are not read. Without their names, a message about UTF-8 or JSON would mislead. */
const OTHERS: readonly { start: RegExp | string; is: string; hint?: string }[] = [
  {
    start: /^version https:\/\/git-lfs\.github\.com\//,
    is: 'a Git LFS pointer, not the data that it points to',
    hint: 'Fetch the data with `git lfs pull`, or download the file from its page.',
  },
  {
    start: /^<(?:!doctype html|html|head|body)\b/i,
    is: 'an HTML page, not data',
    hint: 'Download the file itself, by its raw or resolve address.',
  },
  { start: /^<\?xml\b/, is: 'an XML file' },
  { start: /^%PDF-/, is: 'a PDF file' },
  { start: '\x1f\x8b', is: 'a packed file within a packed file' },
  { start: '\x28\xb5\x2f\xfd', is: 'a packed file within a packed file' },
  { start: 'PAR1', is: 'a packed Parquet file', hint: 'Unpack it: Parquet is read as it is.' },
  { start: '\xfd7zXZ\0', is: 'an xz file' },
  { start: /^BZh\d/, is: 'a bzip2 file' },
  {
    start: /^PK[\s\S]{28}(?:\[Content_Types\]|_rels\/|xl\/|docProps)/,
    is: 'a file of Excel or another Office program',
    hint: 'Save the sheet as CSV (UTF-8).',
  },
  { start: 'PK\x03\x04', is: 'a zip file', hint: 'Unpack it, and name the data file that is in it.' },
  { start: '7z\xbc\xaf', is: 'a 7z file' },
  { start: /^[\s\S]{257}ustar/, is: 'a tar file', hint: 'Unpack it, and name the data file that is in it.' },
  { start: 'ARROW1', is: 'an Arrow file' },
  { start: '\xff\xff\xff\xff', is: 'an Arrow stream' },
  { start: 'SQLite format 3', is: 'an SQLite database' },
  ...['\x80\x02', '\x80\x03', '\x80\x04', '\x80\x05'].map((start) => ({ start, is: 'a pickle of Python' })),
  { start: 'ORC', is: 'an ORC file' },
  ...['\xff\xfe', '\xfe\xff', '{\0', '[\0', '\0{', '\0['].map((start) => ({
    ...{ start, is: 'a text in UTF-16', hint: 'Save it as UTF-8.' },
  })),
];
const CONVERT = 'Convert it to JSONL, CSV or Parquet.';
/** Enough for the longest of these, and for a header of CSV. */
const START_BYTES = 512;

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
  seen?: Seen,
  first?: Base | null,
) => DataRow[K];

export const KINDS: { [K in DataKind]: { one: string; recognise: Recognise<K> } } = {
  examples: { one: 'example', recognise: toExample },
  catalysts: { one: 'catalyst', recognise: toCatalyst },
  questions: { one: 'question', recognise: toQuestion },
  prompts: { one: 'prompt', recognise: toPromptRow },
};

export interface Watch {
  /** Is called for each row that is read. */
  onUses?: Seen | undefined;
  /** Whether the unusable row is left out; default: its problem is thrown. */
  onFault?: ((problem: Problem) => boolean) | undefined;
}

/** `bytes`: unpacked. `file`: its name in messages. `limit`: only the first rows that are usable; null: all. */
export async function* readData<K extends DataKind>(
  kind: K,
  bytes: AsyncIterable<Uint8Array>,
  file: string,
  fields: Fields,
  limit: number | null,
  { onUses, onFault = () => false }: Watch = {},
): AsyncGenerator<DataRow[K]> {
  const { one, recognise } = KINDS[kind];
  const lineOf = new Map<string, number>();
  const copies = new Map<string, number>();
  const read = ({ line, value, problem }: Row, first: Base | null): DataRow[K] => {
    if (problem) throw problem;
    const fallbackId = contentId(value, lineOf, copies);
    const row = recognise(value, { file, line }, fields, fallbackId, onUses, first);
    const before = lineOf.get(row.id);
    if (before === undefined) return row;
    const field = fields.id ?? 'id';
    throw rowInvalid({ file, line, field }, `${show(row.id)} occurs twice (first at line ${before}).`);
  };
  for await (const { row: found, first } of withBase(readValues(bytes, file), fields)) {
    if (found.beside) {
      onUses?.({ parts: {}, unused: found.beside.map((name) => `${name} (another list of the file)`) });
      continue;
    }
    let row: DataRow[K];
    try {
      row = read(found, first);
    } catch (error) {
      if (error instanceof Problem && onFault(error)) continue;
      throw error;
    }
    lineOf.set(row.id, found.line);
    yield row;
    if (lineOf.size === limit) return;
  }
  if (lineOf.size === 0) throw dataUnusable(file, `there is no usable ${one} in it.`);
}

/** `r-` and 64 bits of hash; of equal rows, the second one ends in `-2`. `copies`: how many there were of each. */
function contentId(value: unknown, known: ReadonlyMap<string, unknown>, copies: Map<string, number>): string {
  const text = JSON.stringify(value) ?? '';
  const id = `r-${[text, `\n${text}`].map((one) => hash32(one).toString(16).padStart(8, '0')).join('')}`;
  for (let count = (copies.get(id) ?? 0) + 1; ; count++) {
    const next = count === 1 ? id : `${id}-${count}`;
    if (known.has(next)) continue;
    if (known.has(id)) copies.set(id, count);
    return next;
  }
}

/** The rows of a container, as they are in the file. */
export async function* readValues(bytes: AsyncIterable<Uint8Array>, file: string): AsyncGenerator<Row> {
  const start = new Start(file);
  let reader: RowReader | undefined;
  for await (const chunk of bytes) {
    if (reader) yield* reader.push(chunk);
    if (reader || !start.add(chunk)) continue;
    reader = start.open();
    yield* reader.push(start.bytes);
  }
  if (start.bytes.length === 0) throw fileEmpty(file);
  if (!reader) {
    reader = start.open();
    yield* reader.push(start.bytes);
  }
  yield* reader.end();
}

/** What the file begins with, after a byte order mark and white space. */
class Start {
  bytes = Buffer.alloc(0);
  private line = 1;
  private bytesSeen = 0;
  private markSeen = 0;

  constructor(private readonly file: string) {}

  /** True once there is enough to know what the file is. Throws file.not-utf8 for half a byte order mark. */
  add(chunk: Uint8Array): boolean {
    let at = 0;
    for (; this.bytes.length === 0 && at < chunk.length; at++, this.bytesSeen++) {
      const byte = chunk[at]!;
      if (this.markSeen === this.bytesSeen && byte === BYTE_ORDER_MARK[this.markSeen]) this.markSeen++;
      else if (byte === LF) this.line++;
      else if (!isBlank(byte)) break;
    }
    this.bytes = Buffer.concat([this.bytes, chunk.subarray(at)]);
    if (this.bytes.length > 0 && this.markSeen % 3 !== 0) throw fileNotText(this.file, 1);
    return this.bytes.length >= START_BYTES;
  }

  /** Throws data.unusable for a file of another kind. */
  open(): RowReader {
    const text = this.bytes.subarray(0, START_BYTES).toString('latin1');
    const other = OTHERS.find(({ start }) => (typeof start === 'string' ? text.startsWith(start) : start.test(text)));
    if (other) throw dataUnusable(this.file, `this is ${other.is}.`, other.hint ?? CONVERT);
    return CONTAINERS.find((container) => container.fits(text, this.file))!.open(this.file, this.line, text);
  }
}
