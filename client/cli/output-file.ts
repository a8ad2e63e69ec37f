/** A file of --out: complete, or not written at all. */
import { createWriteStream } from 'node:fs';
import { access, constants, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileNotWritable, Problem } from '../../contracts/errors.js';
import { fileSystemProblem, syncFolder, temporaryName } from '../../storage/files.js';

type Fill<T> = (temporary: string) => Promise<T>;

/**
 * Checks that `file` can be written. Returns a function that has `fill` write it beside its place, and then moves it there,
 * completely or not at all. Throws file.not-writable.
 */
export async function fileMaker(file: string): Promise<<T>(fill: Fill<T>) => Promise<T>> {
  // A link is followed: it stays, and the file that it leads to is written.
  const path = await realpath(file).catch(() => resolve(file));
  const folder = dirname(path);
  await access(folder, constants.W_OK).catch((error: NodeJS.ErrnoException) => {
    throw fileNotWritable(file, `its folder cannot be written (${error.code})`);
  });
  const there = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw fileNotWritable(file, `it cannot be written (${error.code})`);
  });
  if (there && !there.isFile())
    throw fileNotWritable(file, there.isDirectory() ? 'it is a folder' : 'it is a device, not a file');
  return async (fill) => {
    // Not made from the name of the file, which may be as long as a name can be.
    const temporary = join(folder, `.srlm-out~${temporaryName()}`);
    try {
      const made = await fill(temporary);
      await rename(temporary, path);
      await syncFolder(folder);
      return made;
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {});
      const { code, path: of, syscall } = error as NodeJS.ErrnoException;
      const problem = fileSystemProblem(error, folder);
      if (problem instanceof Problem) throw problem;
      throw of === temporary || syscall === 'write' ? fileNotWritable(file, `it cannot be written (${code})`) : error;
    }
  };
}

/** The same for a file of lines; the function returns their number. */
export async function fileWriter(file: string): Promise<(lines: AsyncIterable<string>) => Promise<number>> {
  const make = await fileMaker(file);
  return (lines) =>
    make(async (temporary) => {
      let count = 0;
      const counted = async function* () {
        for await (const line of lines) {
          count++;
          yield `${line}\n`;
        }
      };
      await pipeline(Readable.from(counted()), createWriteStream(temporary, { flush: true }));
      return count;
    });
}
