/**
 * Files that are there whole or not at all: write, fsync, rename, fsync of the folder. Used for all that another
 * process may read or a crash may interrupt. Temporary names hold host and process, so that what a dead process left
 * can be told from what a live one is writing (`sweep`).
 */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, readdirSync, rmSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import type { z } from 'zod';

export function temporaryName(): string {
  return `${hostname()}~${process.pid}~${randomBytes(6).toString('hex')}`;
}

/** Replaces `path` by `content`. `tmp` must be on the same file system. */
export async function writeWhole(path: string, content: string | Uint8Array, tmp: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = join(tmp, temporaryName());
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** What a file of another process's says; null: there is none, or it is damaged, or it says something else. */
export async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | null> {
  try {
    const parsed = schema.safeParse(JSON.parse(await readFile(path, 'utf8')));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

/** Without it a rename may be lost with the power. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
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
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
