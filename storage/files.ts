/**
 * Files that exist completely or not at all: write, fsync, rename, fsync of the folder. Used for everything that
 * another process may read or that a crash may interrupt. Temporary names contain host and process id, so `sweep` can
 * remove the files of dead processes and leave those of live ones.
 */
import { createHash, randomBytes } from 'node:crypto';
import { constants, createReadStream, readdirSync, rmSync } from 'node:fs';
import { copyFile, link, mkdir, open, readFile, rename, unlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
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

/** Replaces `path` by `content`. `tmp` must be a folder of the same file system. */
export async function writeWhole(path: string, content: string | Uint8Array, tmp: string): Promise<void> {
  await withTemporary(tmp, async (temporary) => {
    await writeAndSync(temporary, content);
    await moveInto(temporary, path);
  });
}

/** Writes `path` unless it exists. False: it exists, and is as it was. */
export async function writeWholeNew(path: string, content: string | Uint8Array, tmp: string): Promise<boolean> {
  return withTemporary(tmp, async (temporary) => {
    await writeAndSync(temporary, content);
    return linkInto(temporary, path);
  });
}

/** Moves a finished temporary file to `path`, which it replaces. */
export const moveInto = (temporary: string, path: string): Promise<void> =>
  durably(path, () => rename(temporary, path));

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
export async function withTemporary<T>(tmp: string, work: (temporary: string) => Promise<T>): Promise<T> {
  const temporary = join(tmp, temporaryName());
  try {
    return await work(temporary);
  } finally {
    await unlink(temporary).catch(nullIfMissing);
  }
}

async function writeAndSync(path: string, content: string | Uint8Array): Promise<void> {
  const file = await open(path, 'wx');
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Creates a folder with its parents, so that a power failure does not lose them. */
export async function makeFolder(folder: string): Promise<void> {
  const path = resolve(folder);
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made));
}

/** Without it, a power failure may undo a rename in this folder. */
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
