/**
 * Files that exist completely or not at all: write, fsync, rename, fsync of the folder. Used for everything that
 * another process may read or that a crash may interrupt. `tmp` is always a folder of the same file system. Temporary
 * names contain host and process id, so `sweep` can remove the files of dead processes and leave those of live ones.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  accessSync,
  constants,
  createReadStream,
  createWriteStream,
  existsSync,
  readdirSync,
  rmSync,
  type Stats,
  statSync,
} from 'node:fs';
import { copyFile, link, mkdir, open, readFile, rename, rm, stat, truncate, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { z } from 'zod';
import { storageFull, storageRefused, storageUnreadable } from '../contracts/errors.js';

export function temporaryName(): string {
  return `${hostname()}~${process.pid}~${randomBytes(6).toString('hex')}`;
}

export const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | null)?.code;

/**
 * What a file system refuses (no space, read-only, not this user's), as a Problem that names `path`; any other error as it
 * is. A write that finds no space names no path itself.
 */
export function fileSystemProblem(error: unknown, path = (error as NodeJS.ErrnoException | null)?.path): unknown {
  const code = refusalCode(error);
  if (isFull(code)) return storageFull(path ?? 'disk');
  if (path && code === 'EIO') return storageUnreadable(path);
  if (path && (code === 'EROFS' || code === 'EACCES' || code === 'EPERM')) return storageRefused(path, code);
  return error;
}

export const isFull = (code: string | undefined): boolean => code === 'ENOSPC' || code === 'EDQUOT';

/** The code of an error; the true one where Node reports ENOENT for a folder that a file system does not let it make. */
export function refusalCode(error: unknown): string | undefined {
  const { code, syscall, path } = (error ?? {}) as NodeJS.ErrnoException;
  if (code !== 'ENOENT' || syscall !== 'mkdir' || path === undefined) return code;
  let present = resolve(path);
  while (!existsSync(present)) present = dirname(present);
  try {
    accessSync(present, constants.W_OK);
    return code;
  } catch (refusal) {
    return codeOf(refusal);
  }
}

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

/**
 * Removes the file if it still has this content (null: it cannot be read). Of several processes that found the same one
 * stale, one may have replaced it already: what that one wrote stays.
 */
export async function removeSame(path: string, content: string | null): Promise<void> {
  const aside = join(dirname(path), temporaryName());
  if ((await rename(path, aside).catch(nullIfMissing)) === null) return;
  if ((await readFile(aside, 'utf8').catch(() => null)) !== content) await linkInto(aside, path);
  await rm(aside, { recursive: true, force: true });
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

/**
 * Passes the name of a file in `tmp` to `work`, and removes what `work` leaves there. Throws storage.full and
 * storage.not-writable.
 */
async function withTemporary<T>(tmp: string, work: (temporary: string) => Promise<T>): Promise<T> {
  const temporary = join(tmp, temporaryName());
  try {
    return await work(temporary);
  } catch (error) {
    const { path, dest } = error as NodeJS.ErrnoException & { dest?: string };
    throw fileSystemProblem(error, dest ?? (path === temporary ? tmp : path) ?? tmp);
  } finally {
    // Whatever prevents it was reported above, or leaves a file for `sweep`.
    await unlink(temporary).catch(() => {});
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
  for await (const part of partsOf(path, createReadStream(path, { highWaterMark: 1 << 20 }))) hash.update(part);
  return hash.digest('hex');
}

/** What is read from `path`. Throws storage.unreadable: an error of reading does not name the file itself. */
export async function* partsOf(path: string, parts: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* parts;
  } catch (error) {
    throw fileSystemProblem(error, path);
  }
}

const LOG_BYTES = 50_000_000;

/** Empties a log that has grown too large, after copying it to LOG.1: its writer, which appends, keeps it open. */
export async function boundLog(log: string, maxBytes = LOG_BYTES): Promise<void> {
  if ((await stat(log)).size <= maxBytes) return;
  // A full disk has no room for the copy, and needs the space all the more.
  await copyFile(log, `${log}.1`).catch(() => rm(`${log}.1`, { force: true }));
  await truncate(log);
}

/** No file takes as long to write as this. */
const ABANDONED_MS = 7 * 86_400_000;

/**
 * Removes what dead processes of this host left in a folder of temporary files. Hosts with names that never come back
 * (containers) leave files too: what nobody has written to for a week is removed. Names of another form are not ours.
 */
export function sweep(tmp: string): void {
  for (const name of readdirSync(tmp)) {
    const [, host, pid] = /^(.+)~(\d+)~[0-9a-f]{12}$/.exec(name) ?? [];
    if (host === undefined) continue;
    const path = join(tmp, name);
    const isOver = host === hostname() ? !isAlive(Number(pid)) : Date.now() - mtimeOf(path) > ABANDONED_MS;
    try {
      if (isOver) rmSync(path, { recursive: true, force: true });
    } catch {
      // Whoever may remove it does so one day; it is in nobody's way.
    }
  }
}

/** Infinity: it is gone. */
const mtimeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Infinity;

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}
