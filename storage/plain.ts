/** The bytes of a user's file, unpacked where it is gzip (told by its first bytes, not its name). */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { fileMissing, fileUnpackable } from '../contracts/errors.js';

/** Throws file.missing, file.damaged. `name` is the user's name of it, for messages. */
export async function* readPlain(path: string, name: string): AsyncGenerator<Uint8Array> {
  const magic = Buffer.alloc(2);
  try {
    const file = await open(path);
    try {
      await file.read(magic, 0, 2, 0);
    } finally {
      await file.close();
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') throw fileMissing(name);
    throw fileUnpackable(name, code === 'EISDIR' ? 'this is a folder, not a file.' : `it cannot be read (${code}).`);
  }
  const source = createReadStream(path, { highWaterMark: 1 << 18 });
  if (magic[0] !== 0x1f || magic[1] !== 0x8b) {
    yield* source as AsyncIterable<Buffer>;
    return;
  }
  const unpacked = source.pipe(createGunzip());
  source.on('error', (error) => unpacked.destroy(error));
  try {
    yield* unpacked as AsyncIterable<Buffer>;
  } catch (error) {
    throw fileUnpackable(name, `it is not a whole gzip file (${(error as Error).message}).`);
  }
}
