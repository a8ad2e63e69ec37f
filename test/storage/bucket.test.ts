import { mkdirSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Bucket } from '../../storage/bucket.js';
import { sha256 } from '../../storage/files.js';
import { FolderBucket } from '../../storage/folder-bucket.js';
import { MemoryBucket, temporaryFolder } from './support.js';

const folder = temporaryFolder();

function folderBucket(): FolderBucket {
  mkdirSync(join(folder(), 'root/tmp'), { recursive: true });
  return new FolderBucket(join(folder(), 'root'), join(folder(), 'root/tmp'));
}

async function contentOf(bucket: Bucket, name: string): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of (await bucket.stream(name))!) parts.push(part);
  return Buffer.concat(parts).toString();
}

/** What every bucket must fulfil. */
describe.each([
  ['a folder', folderBucket],
  ['memory', () => new MemoryBucket()],
])('a bucket in %s', (_kind, make: () => Bucket) => {
  it('returns what was written last, whole or in parts', async () => {
    const bucket = make();
    await bucket.write('a/b/c.json', Buffer.from('one'));
    await bucket.write('a/b/c.json', Buffer.from('three'));
    expect((await bucket.read('a/b/c.json'))?.toString()).toBe('three');
    expect(await bucket.size('a/b/c.json')).toBe(5);
    expect(await contentOf(bucket, 'a/b/c.json')).toBe('three');
  });

  it('has nothing under other names', async () => {
    const bucket = make();
    await bucket.write('a/b', Buffer.from('one'));
    for (const name of ['a/c', 'a/b/c', 'd']) {
      expect(await bucket.read(name)).toBeNull();
      expect(await bucket.size(name)).toBeNull();
      expect(await bucket.stream(name)).toBeNull();
    }
    expect(await bucket.size('a')).toBeNull();
  });

  it('keeps the first of many blobs that must be new', async () => {
    const bucket = make();
    const texts = Array.from({ length: 10 }, (_, i) => `text ${i}`);
    const won = await Promise.all(texts.map((text) => bucket.writeNew('a/b', Buffer.from(text))));
    expect(won.filter(Boolean)).toHaveLength(1);
    expect((await bucket.read('a/b'))?.toString()).toBe(texts[won.indexOf(true)]);
  });

  it('stores a file under a name made of its digest', async () => {
    const bucket = make();
    const path = join(folder(), 'data');
    await writeFile(path, 'content');
    const digest = sha256('content');
    expect(await bucket.upload(path, (found) => `a/${found}.raw`)).toEqual({ sha256: digest, bytes: 7 });
    expect((await bucket.read(`a/${digest}.raw`))?.toString()).toBe('content');
  });

  it('quarantines a blob only if its content, at that moment, is damaged', async () => {
    const bucket = make();
    await bucket.write('a/b', Buffer.from('intact'));
    await bucket.quarantine('a/b', (digest) => digest !== sha256('intact'));
    expect((await bucket.read('a/b'))?.toString()).toBe('intact');
    await bucket.quarantine('a/b', (digest) => digest === sha256('intact'));
    expect(await bucket.read('a/b')).toBeNull();
    await bucket.quarantine('a/b', () => true);
  });

  it.each(['../a', 'a/../../b', '/a', 'a//b', 'a/', '', '.', '.a', 'a/.b', 'a\\b', 'a\0b', 'a\n'])(
    'refuses the name %j',
    async (name) => {
      const bucket = make();
      await expect(bucket.read(name)).rejects.toThrow('is not the name of a blob');
      await expect(bucket.write(name, Buffer.from('x'))).rejects.toThrow('is not the name of a blob');
    },
  );
});

describe('a bucket in a folder', () => {
  it('keeps what it quarantines', async () => {
    const bucket = folderBucket();
    await bucket.write('a/b', Buffer.from('damaged'));
    await bucket.quarantine('a/b', () => true);
    const [kept, ...others] = await readdir(join(folder(), 'root/damaged'));
    expect(await readFile(join(folder(), 'root/damaged', kept!), 'utf8')).toBe('damaged');
    expect(others).toEqual([]);
  });

  it('returns a blob that was replaced while it was quarantined', async () => {
    const bucket = folderBucket();
    await bucket.write('a/b', Buffer.from('intact'));
    // As if the writer came between the first check, which found the damaged blob, and the rename.
    let checks = 0;
    await bucket.quarantine('a/b', (digest) => checks++ === 0 || digest !== sha256('intact'));
    expect(checks).toBe(2);
    expect((await bucket.read('a/b'))?.toString()).toBe('intact');
    expect(await readdir(join(folder(), 'root/damaged'))).toEqual([]);
  });

  it('leaves nothing behind when a file cannot be read', async () => {
    const bucket = folderBucket();
    await expect(bucket.upload(join(folder(), 'none'), (digest) => digest)).rejects.toThrow('ENOENT');
    expect(await readdir(join(folder(), 'root/tmp'))).toEqual([]);
    expect(await readFile(join(folder(), 'root/none')).catch(() => null)).toBeNull();
  });
});
