/**
 * A bucket in a local or shared folder, safe with many processes and hosts at once: a blob is a file below `root`,
 * written to tmp/ and renamed. Quarantined blobs are moved to damaged/.
 */
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Bucket, checkName } from './bucket.js';
import {
  fileSystemProblem,
  linkInto,
  nullIfMissing,
  OWNER_ONLY,
  partsOf,
  sha256File,
  streamTo,
  temporaryName,
  writeWhole,
  writeWholeNew,
} from './files.js';

export class FolderBucket implements Bucket {
  /** `tmp`: an existing folder of the same file system. */
  constructor(
    private readonly root: string,
    private readonly tmp: string,
  ) {}

  private path(name: string): string {
    return join(this.root, checkName(name));
  }

  async read(name: string): Promise<Buffer | null> {
    const path = this.path(name);
    return readFile(path).catch((error) => nullIfMissing(fileSystemProblem(error, path)));
  }

  async size(name: string): Promise<number | null> {
    const found = await stat(this.path(name)).catch(nullIfMissing);
    return found?.isFile() ? found.size : null;
  }

  async stream(name: string): Promise<AsyncIterable<Uint8Array> | null> {
    const path = this.path(name);
    const file = await open(path).catch(nullIfMissing);
    return file && partsOf(path, file.createReadStream({ highWaterMark: 1 << 18 }));
  }

  async write(name: string, content: Uint8Array): Promise<void> {
    await writeWhole(this.path(name), content, this.tmp);
  }

  async writeNew(name: string, content: Uint8Array): Promise<boolean> {
    return writeWholeNew(this.path(name), content, this.tmp);
  }

  async touch(name: string): Promise<void> {
    const now = new Date();
    await utimes(this.path(name), now, now).catch(() => {});
  }

  async upload(source: string, nameOf: (sha256: string) => string): Promise<{ sha256: string; bytes: number }> {
    return streamTo((sha256) => this.path(nameOf(sha256)), createReadStream(source), this.tmp);
  }

  async quarantine(name: string, isDamaged: (sha256: string) => boolean): Promise<void> {
    const path = this.path(name);
    const found = await sha256File(path).catch(nullIfMissing);
    if (found === null || !isDamaged(found)) return;
    const aside = await asidePath(this.root, basename(name));
    if ((await rename(path, aside).catch(nullIfMissing)) === null) return;
    // A writer may have replaced the blob between the check and the rename.
    if (isDamaged(await sha256File(aside))) return;
    await linkInto(aside, path);
    await rm(aside);
  }
}

/** A free name in damaged/. */
export async function asidePath(root: string, name: string): Promise<string> {
  const damaged = join(root, 'damaged');
  await mkdir(damaged, { recursive: true, mode: OWNER_ONLY });
  return join(damaged, `${Date.now()}-${temporaryName().split('~').at(-1)}-${name}`);
}
