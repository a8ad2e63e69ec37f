import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { ObjectRef } from '../../contracts/refs.js';
import { sha256 } from '../../storage/files.js';
import { canonical, type ObjectKind, Objects, objectName } from '../../storage/objects.js';
import { openStore, type Store } from '../../storage/store.js';
import { MemoryBucket, problemOf, rows, Text, temporaryFolder } from './support.js';

const folder = temporaryFolder();
let store: Store;

beforeEach(() => {
  store = openStore({ artifactRoot: join(folder(), 'store'), modelRoots: [] });
});

const nameOf = (ref: ObjectRef, kind: ObjectKind = 'rows') => objectName(kind, ref.sha256);
const pathOf = (ref: ObjectRef, kind: ObjectKind = 'rows') => join(store.root, nameOf(ref, kind));
const damaged = () => readdir(join(store.root, 'damaged')).catch(() => []);

async function streamed(ref: ObjectRef): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of store.objects.streamFile(ref)) parts.push(part);
  return Buffer.concat(parts);
}

describe('rows', () => {
  it('come back as they went in, whatever they hold', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: 'binary' })), async (texts) => {
        const ref = await store.objects.putRows(rows(...texts));
        expect(ref.rows).toBe(texts.length);
        expect(await store.objects.readRows(ref, Text)).toEqual(rows(...texts));
      }),
      { numRuns: 25 },
    );
  });

  it('are one object when they are equal, named by their digest', async () => {
    const one = await store.objects.putRows(rows('a', 'b'));
    expect(await store.objects.putRows(rows('a', 'b'))).toEqual(one);
    expect(nameOf(one)).toBe(`objects/${one.sha256.slice(0, 2)}/${one.sha256}.jsonl`);
    expect(sha256(await readFile(pathOf(one)))).toBe(one.sha256);
    expect(await readdir(join(store.root, 'objects'))).toHaveLength(1);
  });

  it.each([
    ['cut short', (path: string) => truncate(path, 5), 'found 5'],
    ['altered', (path: string) => writeFile(path, '{"text":"a"}\n{"text":"c"}\n'), 'found 26'],
  ])('are refused and quarantined when they were %s', async (_how, harm, found) => {
    const ref = await store.objects.putRows(rows('a', 'b'));
    await harm(pathOf(ref));
    const problem = await problemOf(store.objects.read('rows', ref));
    expect(problem.message).toMatch(
      new RegExp(
        `^${nameOf(ref)}: expected 26 bytes with digest \\w{12}, ${found} with \\w{12}\\. \\[artifact\\.damaged\\]$`,
      ),
    );
    expect(await damaged()).toHaveLength(1);
    // Made again, they can be read again.
    expect(await store.objects.putRows(rows('a', 'b'))).toEqual(ref);
    expect(await store.objects.readRows(ref, Text)).toEqual(rows('a', 'b'));
  });

  it('are written again when the object that exists is short', async () => {
    const ref = await store.objects.putRows(rows('a', 'b'));
    await truncate(pathOf(ref), 5);
    expect(await store.objects.has('rows', ref)).toBe(false);
    await store.objects.putRows(rows('a', 'b'));
    expect(await store.objects.readRows(ref, Text)).toEqual(rows('a', 'b'));
    expect(await damaged()).toEqual([]);
  });

  it('are refused when they are gone', async () => {
    const ref = await store.objects.putRows(rows('a'));
    await rm(pathOf(ref));
    expect((await problemOf(store.objects.read('rows', ref))).message).toBe(
      `${nameOf(ref)}: the file is gone. [artifact.damaged]`,
    );
  });
});

describe('a JSON value', () => {
  // zod leaves out a field of this name.
  const plainJson = fc.jsonValue().filter((value) => !JSON.stringify(value).includes('__proto__'));

  it('is one object when it is equal, whatever the order of its fields', async () => {
    await fc.assert(
      fc.asyncProperty(plainJson, async (value) => {
        const ref = await store.objects.putJson({ a: 1, value });
        expect(await store.objects.putJson({ value, a: 1 })).toEqual(ref);
        expect(canonical(await store.objects.readJson(ref, z.json()))).toBe(canonical({ a: 1, value }));
      }),
      { numRuns: 25 },
    );
  });

  it('of another schema is refused, and not moved', async () => {
    const ref = await store.objects.putJson({ text: 1 });
    expect((await problemOf(store.objects.readJson(ref, Text))).message).toMatch(
      /: it holds something else \(text: .+\)\. \[artifact\.damaged\]$/,
    );
    expect(await store.objects.has('json', ref)).toBe(true);
  });
});

describe('a file of the user', () => {
  it('is stored byte for byte, under the name of its digest', async () => {
    const path = join(folder(), 'data.jsonl');
    await writeFile(path, Buffer.from([0xef, 0xbb, 0xbf, 0x7b, 0x7d, 0x0d, 0x0a, 0xff]));
    const ref = await store.objects.putFile(path);
    expect(ref).toEqual({ sha256: sha256(await readFile(path)), rows: 0, bytes: 8 });
    expect(await store.objects.read('file', ref)).toEqual(await readFile(path));
    expect(await streamed(ref)).toEqual(await readFile(path));
    await store.objects.verifyFile(ref);
    expect(await store.objects.putFile(path)).toEqual(ref);
  });

  it('that cannot be read leaves nothing behind', async () => {
    await expect(store.objects.putFile(join(folder(), 'none'))).rejects.toThrow('ENOENT');
    expect(await readdir(join(store.root, 'tmp'))).toEqual([]);
  });

  it('that was altered is reported when all of it was read, and quarantined', async () => {
    const path = join(folder(), 'data');
    await writeFile(path, 'x'.repeat(1_000_000));
    const ref = await store.objects.putFile(path);
    await writeFile(pathOf(ref, 'file'), `${'x'.repeat(999_999)}y`);
    const parts = store.objects.streamFile(ref);
    expect((await parts.next()).value).toBeInstanceOf(Uint8Array);
    await parts.return(undefined);
    expect(await damaged()).toEqual([]);
    expect((await problemOf(store.objects.verifyFile(ref))).type).toBe('artifact.damaged');
    expect(await damaged()).toHaveLength(1);
    expect((await problemOf(streamed(ref))).message).toContain('the file is gone.');
  });
});

describe('a wrong reference', () => {
  it('is refused, and moves nothing', async () => {
    const ref = await store.objects.putRows(rows('a', 'b'));
    const path = join(folder(), 'data');
    await writeFile(path, 'content');
    const file = await store.objects.putFile(path);
    await fc.assert(
      fc.asyncProperty(fc.nat(100), fc.nat(100), async (bytes, count) => {
        fc.pre(bytes !== ref.bytes && count !== ref.rows && bytes !== file.bytes);
        for (const wrong of [
          () => store.objects.readRows({ ...ref, bytes }, Text),
          () => store.objects.readRows({ ...ref, rows: count }, Text),
          () => store.objects.read('rows', { ...ref, bytes }),
          () => streamed({ ...file, bytes }),
        ])
          expect((await problemOf(wrong())).message).toMatch(
            /: the reference says \d+ (bytes|rows), the object has \d+\./,
          );
        expect(await store.objects.has('rows', { ...ref, bytes })).toBe(false);
      }),
      { numRuns: 20 },
    );
    expect(await damaged()).toEqual([]);
    expect(await store.objects.readRows(ref, Text)).toEqual(rows('a', 'b'));
    expect((await streamed(file)).toString()).toBe('content');
  });

  it.each(['../../etc/passwd', '', 'A'.repeat(64), `${'a'.repeat(63)}/`, `${'a'.repeat(64)}\n`, 'a'.repeat(65)])(
    'with the digest %j reaches no file',
    async (digest) => {
      const bucket = new MemoryBucket();
      const objects = new Objects(bucket);
      const ref = { sha256: digest, rows: 0, bytes: 0 };
      for (const work of [
        () => objects.read('json', ref),
        () => objects.has('rows', ref),
        () => objects.streamFile(ref).next(),
      ])
        expect((await problemOf(work())).message).toContain('is not a digest');
      expect(bucket.reads).toEqual([]);
    },
  );
});

describe('an object that is damaged', () => {
  it('is reported by many readers at once, while a writer makes it again', async () => {
    const texts = rows('a'.repeat(100_000), 'b');
    for (let i = 0; i < 10; i++) {
      const ref = await store.objects.putRows(texts);
      await truncate(pathOf(ref), 5);
      const readers = Array.from({ length: 8 }, () => store.objects.read('rows', ref).catch((error) => error.type));
      const [, ...found] = await Promise.all([store.objects.putRows(texts), ...readers]);
      for (const one of found) expect(one === 'artifact.damaged' || one.length === ref.bytes).toBe(true);
      // The writer may have been late: the object is intact, or it is gone.
      await store.objects.putRows(texts);
      expect(await store.objects.readRows(ref, Text)).toEqual(texts);
    }
  });
});
