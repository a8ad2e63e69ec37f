/**
 * The bytes of a user's data file, unpacked where it is gzip or zstd, and as JSON Lines where it is Parquet. Its first
 * bytes decide that, not its name. `name` is what the user calls the file, for messages.
 */
import { open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { fileMissing, fileUnpackable } from '../contracts/errors.js';
import { codeOf, notAFile } from './files.js';
import { fileOf, isParquet, parquetLines, spooled } from './parquet.js';
import { isZstd, unzstd } from './zstd.js';

/** Throws file.missing, file.damaged. */
export async function* readFileBytes(path: string, name: string): AsyncGenerator<Uint8Array> {
  const file = await open(path).catch((error) => {
    const code = codeOf(error);
    throw code === 'ENOENT' ? fileMissing(name) : fileUnpackable(name, `it cannot be read (${code}).`);
  });
  try {
    const stats = await file.stat();
    const problem = notAFile(stats);
    if (problem) throw fileUnpackable(name, problem);
    // A pipe is read once, from its beginning to its end.
    const isWhole = stats.isFile() && isParquet((await file.read(Buffer.alloc(4), 0, 4, 0)).buffer);
    if (isWhole) yield* parquetLines(fileOf(file, stats.size), name);
    else yield* unpack(file.createReadStream({ highWaterMark: 1 << 18, autoClose: false }), name);
  } finally {
    await file.close();
  }
}

/** Throws file.damaged, and what `bytes` throws. If nobody stops early, `bytes` is read to its end. */
export async function* unpack(bytes: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Uint8Array> {
  const parts = bytes[Symbol.asyncIterator]();
  let first = Buffer.alloc(0);
  let done: boolean | undefined = false;
  try {
    while (first.length < 4 && !done) {
      const next = await parts.next();
      done = next.done;
      if (!next.done) first = Buffer.concat([first, next.value]);
    }
    const all = joined(first, done ? null : parts);
    if (first[0] === 0x1f && first[1] === 0x8b) yield* gunzip(all, name);
    else if (isZstd(first)) yield* unzstd(all, name);
    else if (isParquet(first)) yield* spooled(all, (file) => parquetLines(file, name));
    else yield* all;
  } finally {
    await parts.return?.();
  }
}

async function* joined(first: Uint8Array, rest: AsyncIterator<Uint8Array> | null): AsyncGenerator<Uint8Array> {
  if (first.length > 0) yield first;
  for (let next = await rest?.next(); next && !next.done; next = await rest?.next()) yield next.value;
}

async function* gunzip(packed: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Uint8Array> {
  const unpacked = createGunzip();
  let over = false;
  const ended = new Promise<void>((resolve) => {
    for (const event of ['end', 'close'])
      unpacked.once(event, () => {
        over = true;
        resolve();
      });
  });
  let abandoned = false;
  const feeding = (async () => {
    for await (const part of packed) {
      if (abandoned) return;
      // What follows the end of the gzip data is read and ignored. zlib never calls back for it.
      if (!over && part.length > 0)
        await Promise.race([ended, new Promise((resolve) => unpacked.write(part, resolve))]);
    }
    if (!over) unpacked.end();
  })();
  feeding.catch((error) => unpacked.destroy(error));
  try {
    yield* unpacked as AsyncIterable<Buffer>;
    await feeding;
  } catch (error) {
    // A source that checks itself at its end knows better why its bytes cannot be unpacked.
    await feeding;
    throw codeOf(error)?.startsWith('Z_') ? fileUnpackable(name, unusable(error as Error)) : error;
  } finally {
    abandoned = true;
    unpacked.destroy();
  }
}

const unusable = ({ message }: Error) => `it is not a whole gzip file (${message}).`;
