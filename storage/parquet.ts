/**
 * Parquet files, as JSON Lines: the line of a row is its number in the file. A row group is read at a time, and what it
 * may take in memory is bounded before it is read: a file says of itself how large its parts are, and need not be right.
 * Missing values and NaN are null; a whole number that a JSON number cannot hold is a text.
 */
import { createWriteStream } from 'node:fs';
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { decompress as unzstd } from 'fzstd';
import { parquetMetadataAsync, parquetSchema, snappyUncompress } from 'hyparquet';
import { parquetHeader, readColumn } from 'hyparquet/src/column.js';
import { DEFAULT_PARSERS } from 'hyparquet/src/convert.js';
import { assembleAsync, asyncGroupToRows } from 'hyparquet/src/rowgroup.js';
import { getTreePath } from 'hyparquet/src/schema.js';
import { fileUnpackable, Problem } from '../contracts/errors.js';

const MB = 2 ** 20;
const MAX_METADATA_BYTES = 64 * MB;
/** Unpacked. Parsed, it may take several times as much. */
const MAX_GROUP_BYTES = 512 * MB;
const MAX_GROUP_VALUES = 20_000_000;
const LINES_BYTES = 1 << 18;

/** A file that is read at any place, as hyparquet has it. Its own type is an ES module's, which CommonJS cannot import. */
interface RandomAccess {
  byteLength: number;
  slice(start: number, end?: number): ArrayBuffer | Promise<ArrayBuffer>;
}

export const isParquet = (start: Uint8Array): boolean =>
  Buffer.from(start.subarray(0, 4)).toString('latin1') === 'PAR1';

export function fileOf(file: FileHandle, byteLength: number): RandomAccess {
  return {
    byteLength,
    async slice(start, end = byteLength) {
      if (!(0 <= start && start <= end && end <= byteLength)) throw new Error('a part of it is outside of the file');
      const bytes = new ArrayBuffer(end - start);
      const { bytesRead } = await file.read(new Uint8Array(bytes), 0, end - start, start);
      if (bytesRead < end - start) throw new Error('the file has become shorter');
      return bytes;
    },
  };
}

/** For bytes of which only the beginning is at hand: a Parquet file is read from its end. */
export async function* spooled<T>(
  bytes: AsyncIterable<Uint8Array>,
  use: (file: RandomAccess) => AsyncIterable<T>,
): AsyncGenerator<T> {
  const folder = await mkdtemp(join(tmpdir(), 'srlm-parquet-'));
  try {
    const path = join(folder, 'file');
    await pipeline(bytes, createWriteStream(path, { mode: 0o600 }));
    const file = await open(path);
    try {
      yield* use(fileOf(file, (await file.stat()).size));
    } finally {
      await file.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Throws file.damaged. */
export async function* parquetLines(file: RandomAccess, name: string): AsyncGenerator<Uint8Array> {
  try {
    yield* lines(file, name);
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw fileUnpackable(name, `it is not a Parquet file that can be read (${(error as Error).message}).`);
  }
}

async function* lines(file: RandomAccess, name: string): AsyncGenerator<Uint8Array> {
  if (file.byteLength < 12) throw new Error('it is too short');
  const tail = new DataView(await file.slice(file.byteLength - 8));
  const metadataBytes = tail.getUint32(0, true);
  if (metadataBytes > file.byteLength) throw new Error('its end is not that of a Parquet file');
  if (metadataBytes > MAX_METADATA_BYTES) throw tooLarge(name, 'its metadata');
  const metadata = await parquetMetadataAsync(file, { geoparquet: false });
  let rowsBefore = 0;
  for (const group of metadata.row_groups) {
    const rows = Number(group.num_rows);
    const refused = () => tooLarge(name, `the row group at row ${rowsBefore + 1}`);
    if (!(rows >= 0 && rows <= MAX_GROUP_VALUES)) throw refused();
    const objects = rows > 0 ? await rowsOf(metadata, rows, await checkedColumns(file, group.columns, refused)) : [];
    let text = '';
    for (const [i, object] of objects.entries()) {
      text += `${JSON.stringify(object, jsonValue)}\n`;
      objects[i] = {};
      if (text.length < LINES_BYTES) continue;
      yield Buffer.from(text);
      text = '';
    }
    yield Buffer.from(text);
    rowsBefore += rows;
  }
}

const tooLarge = (name: string, what: string) =>
  fileUnpackable(
    name,
    `${what} is larger than can be read at once (512 MB unpacked); write it with smaller row groups, such as row_group_size=10000.`,
  );

type Metadata = Awaited<ReturnType<typeof parquetMetadataAsync>>;
type Columns = Metadata['row_groups'][number]['columns'];
type ColumnMetadata = NonNullable<Columns[number]['meta_data']>;

interface ColumnBytes {
  column: ColumnMetadata;
  bytes: ArrayBuffer;
}

/** The pages of a row group. What each one says of its size, which is what the reader will allocate, is checked. */
async function checkedColumns(file: RandomAccess, columns: Columns, refused: () => Problem): Promise<ColumnBytes[]> {
  const read: ColumnBytes[] = [];
  let [packed, unpacked, values] = [0, 0, 0];
  for (const { meta_data: column, file_path: elsewhere } of columns) {
    if (!column || elsewhere) throw new Error('a column is in another file');
    const start = Number(column.dictionary_page_offset || column.data_page_offset);
    const length = Number(column.total_compressed_size);
    packed += length;
    if (!(length >= 0 && packed <= MAX_GROUP_BYTES)) throw refused();
    const bytes = await file.slice(start, start + length);
    const reader = { view: new DataView(bytes), offset: 0 };
    while (reader.offset < length - 1) {
      const page = parquetHeader(reader);
      if (!(page.compressed_page_size >= 0 && page.uncompressed_page_size >= 0)) throw new Error('a page has no size');
      reader.offset += page.compressed_page_size;
      unpacked += page.uncompressed_page_size;
      const counted = page.data_page_header ?? page.data_page_header_v2 ?? page.dictionary_page_header;
      values += counted?.num_values ?? 0;
      if (!(unpacked <= MAX_GROUP_BYTES && values <= MAX_GROUP_VALUES)) throw refused();
    }
    read.push({ column, bytes });
  }
  return read;
}

/**
 * What the library's own functions for whole files do, column by column: those start all columns at once, and a second
 * one that fails would be a rejection that nobody awaits, which ends the process.
 */
async function rowsOf(metadata: Metadata, rows: number, columns: readonly ColumnBytes[]): Promise<object[]> {
  const tree = parquetSchema(metadata);
  const group = { groupStart: 0, groupRows: rows, selectStart: 0, selectEnd: rows };
  const asyncColumns = columns
    .map(({ column, bytes }) => {
      const { path_in_schema: pathInSchema } = column;
      const schemaPath = getTreePath(tree, pathInSchema);
      const { element } = schemaPath[schemaPath.length - 1]!;
      const decoder = {
        ...column,
        pathInSchema,
        schemaPath,
        element,
        compressors: COMPRESSORS,
        parsers: DEFAULT_PARSERS,
      };
      return { pathInSchema, read: readColumn({ view: new DataView(bytes), offset: 0 }, group, decoder) };
    })
    .map(({ pathInSchema, read }) => ({ pathInSchema, data: Promise.resolve(read) }));
  return asyncGroupToRows(assembleAsync({ ...group, asyncColumns }, tree), 0, rows, undefined, 'object');
}

/** `length`: what the page says that it is unpacked, which was checked. */
const COMPRESSORS = {
  SNAPPY: (bytes: Uint8Array, length: number) => {
    const unpacked = new Uint8Array(length);
    snappyUncompress(bytes, unpacked);
    return unpacked;
  },
  GZIP: (bytes: Uint8Array, length: number) => gunzipSync(bytes, { maxOutputLength: Math.max(1, length) }),
  BROTLI: (bytes: Uint8Array, length: number) => brotliDecompressSync(bytes, { maxOutputLength: Math.max(1, length) }),
  ZSTD: (bytes: Uint8Array, length: number) => unzstd(bytes, new Uint8Array(length)),
};

/** A date has been made a text by its own `toJSON`. */
function jsonValue(_: string, value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  return value instanceof Uint8Array ? null : value;
}
