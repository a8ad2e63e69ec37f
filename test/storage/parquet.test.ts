/** The two files were written by pyarrow, with a row group for each row. */
import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Problem } from '../../contracts/errors.js';
import { parquetLines } from '../../storage/parquet.js';
import { readFileBytes, unpack } from '../../storage/unpack.js';

const pathOf = (codec: string) => fileURLToPath(new URL(`../fixtures/two-rows.${codec}.parquet`, import.meta.url));
const ROWS = [
  { question: '2+2?', answer: '4', n: '1152921504606846976', score: null },
  { question: 'Größe?', answer: null, n: 5, score: 1.5 },
];

async function rowsOf(parts: AsyncIterable<Uint8Array>): Promise<unknown[]> {
  const all: Uint8Array[] = [];
  for await (const part of parts) all.push(part);
  const lines = Buffer.concat(all).toString().split('\n');
  return lines.filter(Boolean).map((line) => JSON.parse(line));
}

/** The parts of a file that a reader asks for, from its bytes. */
const fileOf = (bytes: Buffer) => ({
  byteLength: bytes.length,
  async slice(start: number, end = bytes.length) {
    if (!(0 <= start && start <= end && end <= bytes.length)) throw new Error('outside');
    return new Uint8Array(bytes.subarray(start, end)).buffer;
  },
});

async function* stream(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

describe.each(['snappy', 'zstd'])('a Parquet file packed with %s', (codec) => {
  it('is read as JSON Lines: what is missing is null, and a number that JSON cannot hold a text', async () => {
    expect(await rowsOf(readFileBytes(pathOf(codec), 'data.parquet'))).toEqual(ROWS);
  });

  it('is read from a stream, and leaves nothing behind', async () => {
    const bytes = readFileSync(pathOf(codec));
    const temporary = async () => (await readdir(tmpdir())).filter((name) => name.startsWith('srlm-parquet-'));
    const before = await temporary();
    expect(await rowsOf(unpack(stream(bytes, 100), 'data.parquet'))).toEqual(ROWS);
    for await (const _ of unpack(stream(bytes, 100), 'data.parquet')) break;
    expect(await temporary()).toEqual(before);
  });

  it('gives rows or one sentence when its bytes are altered or cut, and takes no memory for what it only claims', () => {
    const bytes = readFileSync(pathOf(codec));
    return fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.constantFrom(0, 0, 0, 1, 100),
        async (changes, cut) => {
          const altered = Buffer.from(bytes.subarray(0, bytes.length - cut));
          for (const [at, byte] of changes) if (at < altered.length) altered[at] = byte;
          const found = await rowsOf(parquetLines(fileOf(altered), 'data.parquet')).catch((error) => error);
          if (found instanceof Problem) expect(found.type).toBe('file.damaged');
          else expect(found).toBeInstanceOf(Array);
        },
      ),
      { numRuns: 300 },
    );
  });
});

it('a file that only begins as Parquet does is refused with a sentence', async () => {
  expect(await rowsOf(unpack(stream(Buffer.from('PAR1 and text'), 3), 'x')).catch((error) => error.message)).toMatch(
    /^x: it is not a Parquet file that can be read \(.+\)\. \[file\.damaged\]$/,
  );
});
