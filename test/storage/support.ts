/** What the tests of the store share: a bucket in memory that counts, small model folders, and the error of a failure. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import { z } from 'zod';
import type { Problem } from '../../contracts/errors.js';
import type { RecordMeta } from '../../contracts/refs.js';
import { type Bucket, checkName } from '../../storage/bucket.js';
import { sha256 } from '../../storage/files.js';
import { folderDigest, folderState } from '../../storage/model-folder.js';

export const Text = z.strictObject({ text: z.string() });
export const rows = (...texts: string[]) => texts.map((text) => ({ text }));

export const meta: RecordMeta = {
  seconds: 1,
  host: 'here',
  endedAt: '2026-01-01T00:00:00.000Z',
  run: 'r',
  usage: null,
};

/** A folder that lasts for one test; ask for it while the test runs. */
export function temporaryFolder(): () => string {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'srlm-test-storage-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));
  return () => folder;
}

export const problemOf = (work: Promise<unknown>): Promise<Problem> =>
  work.then(
    () => expect.unreachable('it should have failed'),
    (error) => error,
  );

/** What an object service would be: no folders, no rename. */
export class MemoryBucket implements Bucket {
  readonly blobs = new Map<string, Buffer>();
  readonly reads: string[] = [];
  /** The most calls of `size` that were under way together. */
  mostSizes = 0;
  private sizes = 0;

  async read(name: string): Promise<Buffer | null> {
    this.reads.push(name);
    return this.blobs.get(checkName(name)) ?? null;
  }
  async touch(): Promise<void> {}
  async size(name: string): Promise<number | null> {
    this.mostSizes = Math.max(this.mostSizes, ++this.sizes);
    await new Promise(setImmediate);
    this.sizes--;
    return this.blobs.get(checkName(name))?.length ?? null;
  }
  async stream(name: string): Promise<AsyncIterable<Uint8Array> | null> {
    const blob = this.blobs.get(checkName(name));
    if (!blob) return null;
    return (async function* () {
      for (let at = 0; at < blob.length; at += 3) yield blob.subarray(at, at + 3);
    })();
  }
  async write(name: string, content: Uint8Array): Promise<void> {
    this.blobs.set(checkName(name), Buffer.from(content));
  }
  async writeNew(name: string, content: Uint8Array): Promise<boolean> {
    if (this.blobs.has(checkName(name))) return false;
    await this.write(name, content);
    return true;
  }
  async upload(source: string, nameOf: (sha256: string) => string): Promise<{ sha256: string; bytes: number }> {
    const content = await readFile(source);
    await this.write(nameOf(sha256(content)), content);
    return { sha256: sha256(content), bytes: content.length };
  }
  async quarantine(name: string, isDamaged: (sha256: string) => boolean): Promise<void> {
    const blob = this.blobs.get(checkName(name));
    if (!blob || !isDamaged(sha256(blob))) return;
    this.blobs.delete(name);
    this.blobs.set(`damaged/${this.blobs.size}-${name.split('/').at(-1)}`, blob);
  }
}

/** The smallest folder that counts as a model. `weights` decides its digest. */
export async function makeModel(folder: string, weights = 'weights'): Promise<string> {
  await mkdir(folder, { recursive: true });
  const files = {
    'config.json': '{}',
    'model.safetensors': weights,
    'tokenizer.json': '{}',
    'chat_template.jinja': 'x',
  };
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  return folder;
}

/** What a trainer says of the folder it has written. */
export async function claimOf(folder: string): Promise<{ sha256: string; bytes: number }> {
  return { sha256: await folderDigest(folder), bytes: (await folderState(folder))!.bytes };
}
