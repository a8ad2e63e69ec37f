/**
 * Files that exist completely or not at all: write, fsync, rename, fsync of the folder. Used for everything that
 * another process may read or that a crash may interrupt. `tmp` is always a folder of the same file system. Temporary
 * names contain host and process id, so `sweep` can remove the files of dead processes and leave those of live ones.
 */
import { createHash, randomBytes } from 'node:crypto';
import { constants, createReadStream, createWriteStream, readdirSync, rmSync, type Stats } from 'node:fs';
import { copyFile, link, mkdir, open, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { z } from 'zod';

export function temporaryName(): string {
  return `${hostname()}~${process.pid}~${randomBytes(6).toString('hex')}`;
}

export const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | null)?.code;

/** For `.catch`: null where there is no such file; other errors are thrown. */
export function nullIfMissing(error: unknown): null {
  if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return null;
  throw error;
}

/** Why nothing can be read from it to an end; null: it is a file or a pipe. */
export function notAFile(found: Stats): string | null {
  if (found.isFile() || found.isFIFO()) return null;
  return found.isDirectory() ? 'this is a folder, not a file.' : 'this is a device or a socket, not a file.';
}

/** Replaces `path` by `content`. */
export async function writeWhole(path: string, content: string | Uint8Array, tmp: string): Promise<void> {
  await withTemporary(tmp, async (temporary) => {
    await writeFile(temporary, content, { flag: 'wx', flush: true });
    await moveInto(temporary, path);
  });
}

/** Writes `path` unless it exists. False: it exists, and is as it was. */
export async function writeWholeNew(path: string, content: string | Uint8Array, tmp: string): Promise<boolean> {
  return withTemporary(tmp, async (temporary) => {
    await writeFile(temporary, content, { flag: 'wx', flush: true });
    return linkInto(temporary, path);
  });
}

/** Writes a file of any size part by part. `pathOf` gives its path from the digest of its content. */
export async function streamTo(
  pathOf: (sha256: string) => string,
  parts: AsyncIterable<Uint8Array>,
  tmp: string,
): Promise<{ sha256: string; bytes: number }> {
  return withTemporary(tmp, async (temporary) => {
    const hash = createHash('sha256');
    let bytes = 0;
    const measured = async function* () {
      for await (const part of parts) {
        hash.update(part);
        bytes += part.length;
        yield part;
      }
    };
    // A full disk is an error event of the stream at any moment: pipeline rejects with it.
    await pipeline(measured, createWriteStream(temporary, { flush: true }));
    const sha256 = hash.digest('hex');
    await moveInto(temporary, pathOf(sha256));
    return { sha256, bytes };
  });
}

const moveInto = (temporary: string, path: string): Promise<void> => durably(path, () => rename(temporary, path));

/** Gives a finished temporary file a second name, `path`. False: `path` exists, and is as it was. */
export async function linkInto(temporary: string, path: string): Promise<boolean> {
  try {
    await durably(path, () => link(temporary, path).catch((error) => copyWithoutLinks(error, temporary, path)));
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Some file systems have no hard links. A copy may be torn by a crash, which readers of such files must accept. */
async function copyWithoutLinks(error: unknown, temporary: string, path: string): Promise<void> {
  if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(codeOf(error) ?? '')) throw error;
  await copyFile(temporary, path, constants.COPYFILE_EXCL);
}

async function durably(path: string, place: () => Promise<void>): Promise<void> {
  try {
    await place();
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    await makeFolder(dirname(path));
    await place();
  }
  await syncFolder(dirname(path));
}

/** Passes the name of a file in `tmp` to `work`, and removes what `work` leaves there. */
async function withTemporary<T>(tmp: string, work: (temporary: string) => Promise<T>): Promise<T> {
  const temporary = join(tmp, temporaryName());
  try {
    return await work(temporary);
  } finally {
    await unlink(temporary).catch(nullIfMissing);
  }
}

/** The mode of the folders that srlm makes for itself: prompts, data and models are in them, and tokens beside them. */
export const OWNER_ONLY = 0o700;

/** Creates a folder with its parents, so that a power failure does not lose them. Only its owner can look into it. */
export async function makeFolder(folder: string): Promise<void> {
  const path = resolve(folder);
  const first = await mkdir(path, { recursive: true, mode: OWNER_ONLY });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made));
}

/** Makes a rename in this folder survive a power failure. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** JSON that another process wrote; null: missing, torn or invalid. */
export async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | null> {
  try {
    const parsed = schema.safeParse(JSON.parse(await readFile(path, 'utf8')));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

export function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(part);
  return hash.digest('hex');
}

/** Removes what dead processes of this host left in a folder of temporary files. */
export function sweep(tmp: string): void {
  for (const name of readdirSync(tmp)) {
    const [host, pid] = name.split('~');
    if (host === hostname() && pid && !isAlive(Number(pid))) rmSync(join(tmp, name), { recursive: true, force: true });
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}
