import { execFile, spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Problem } from '../../contracts/errors.js';
import { packageRoot, pythonProgram } from '../../engine/python-environment.js';
import { sha256, sweep, writeWhole } from '../../storage/files.js';
import { modelDigest } from '../../storage/model-folder.js';
import { ArtifactStore, canonical, stepKey } from '../../storage/store.js';
import { python, tinyModel } from '../support/python.js';

const Text = z.strictObject({ text: z.string() });
const rows = (...texts: string[]) => texts.map((text) => ({ text }));

let folder: string;
let store: ArtifactStore;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'srlm-test-store-'));
  store = ArtifactStore.open(join(folder, 'store'));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const problemOf = (work: Promise<unknown>): Promise<Problem> =>
  work.then(
    () => expect.unreachable('it should have failed'),
    (error) => error,
  );

describe('rows in the store', () => {
  it('come back as they went in, whatever they hold', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: 'binary' })), async (texts) => {
        const manifest = await store.putRows(rows(...texts));
        expect(manifest.rows).toBe(texts.length);
        expect(await store.readRows(manifest, Text)).toEqual(rows(...texts));
      }),
      { numRuns: 25 },
    );
  });

  it('are one file when they are equal, named by their digest', async () => {
    const one = await store.putRows(rows('a', 'b'));
    expect(await store.putRows(rows('a', 'b'))).toEqual(one);
    expect(one.uri).toBe(`objects/${one.sha256.slice(0, 2)}/${one.sha256}.jsonl`);
    expect(sha256(await readFile(store.path(one.uri)))).toBe(one.sha256);
    expect(await readdir(join(store.root, 'objects'))).toHaveLength(1);
  });

  it.each([
    ['cut short', (path: string) => truncate(path, 5), /: expected 26 bytes with digest \w{12}, found 5 with \w{12}\./],
    [
      'altered',
      (path: string) => writeFile(path, '{"text":"a"}\n{"text":"c"}\n'),
      /: expected 26 bytes with digest \w{12}, found 26 with \w{12}\./,
    ],
  ])('are refused and set aside when they were %s', async (_how, harm, says) => {
    const manifest = await store.putRows(rows('a', 'b'));
    await harm(store.path(manifest.uri));
    const problem = await problemOf(store.read(manifest));
    expect(problem.type).toBe('artifact.damaged');
    expect(problem.message).toMatch(says);
    expect(problem.message).toContain(manifest.uri);
    expect(await readdir(join(store.root, 'damaged'))).toHaveLength(1);
    // Made again, they can be read again.
    expect(await store.putRows(rows('a', 'b'))).toEqual(manifest);
    expect(await store.readRows(manifest, Text)).toEqual(rows('a', 'b'));
  });

  it('are refused when they are gone', async () => {
    const manifest = await store.putRows(rows('a'));
    await rm(store.path(manifest.uri));
    expect((await problemOf(store.read(manifest))).message).toBe(
      `${manifest.uri}: the file is gone. It was set aside and is made again. [artifact.damaged]`,
    );
  });

  it('of a dataset are told one chunk after the other', async () => {
    const chunks = [await store.putRows(rows('a', 'b')), await store.putRows([]), await store.putRows(rows('c'))];
    const dataset = await store.putDataset(chunks);
    expect(dataset).toMatchObject({ rows: 3, chunks: 3 });
    const found: unknown[] = [];
    for await (const row of store.rowsOf(dataset, Text)) found.push(row);
    expect(found).toEqual(rows('a', 'b', 'c'));
  });
});

describe('a file of the user', () => {
  it('is taken byte for byte, under the name of its digest', async () => {
    const path = join(folder, 'data.jsonl');
    await writeFile(path, Buffer.from([0xef, 0xbb, 0xbf, 0x7b, 0x7d, 0x0d, 0x0a, 0xff]));
    const manifest = await store.putFile(path);
    expect(await store.read(manifest)).toEqual(await readFile(path));
    expect(await store.putFile(path)).toEqual(manifest);
  });

  it('that cannot be read leaves nothing behind', async () => {
    await expect(store.putFile(join(folder, 'none'))).rejects.toThrow('ENOENT');
    expect(await readdir(join(store.root, 'tmp'))).toEqual([]);
  });
});

describe('the key of a step', () => {
  it('does not depend on the order of fields', () => {
    expect(stepKey('sample', { a: 1, b: { c: 2, d: 3 } })).toBe(stepKey('sample', { b: { d: 3, c: 2 }, a: 1 }));
  });

  it('differs for another name and for any other value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (one, other) => {
        expect(stepKey('sample', one) === stepKey('sample', other)).toBe(canonical(one) === canonical(other));
        expect(stepKey('sample', one)).not.toBe(stepKey('score', one));
      }),
    );
  });
});

describe('the record of a step', () => {
  const inputs = { version: 1, data: 'x' };
  const measured = { seconds: 1, host: 'here', endedAt: '2026-01-01T00:00:00.000Z' };
  const key = stepKey('mix', inputs);

  async function recorded() {
    const chunk = await store.putRows(rows('a', 'b'));
    const dataset = await store.putDataset([chunk]);
    await store.recordStep('mix', inputs, { files: [dataset], output: dataset, measured });
    return { chunk, dataset };
  }

  it('is found under its key, and under no other', async () => {
    const { dataset } = await recorded();
    expect((await store.findStep('mix', key))?.output).toEqual(dataset);
    expect(await store.findStep('mix', stepKey('mix', { ...inputs, data: 'y' }))).toBeNull();
    expect(await store.findStep('select', key)).toBeNull();
  });

  it.each([
    ['a chunk of its dataset is gone', (found: Found) => rm(store.path(found.chunk.uri))],
    ['a chunk of its dataset is cut short', (found: Found) => truncate(store.path(found.chunk.uri), 3)],
    ['its dataset is gone', (found: Found) => rm(store.path(found.dataset.uri))],
    [
      'its dataset is altered',
      (found: Found) => writeFile(store.path(found.dataset.uri), 'x'.repeat(found.dataset.bytes)),
    ],
    ['it is half a record', () => truncate(join(store.root, 'steps/mix', key.slice(0, 2), `${key}.json`), 20)],
  ])('does not count when %s', async (_what, harm) => {
    await harm(await recorded());
    expect(await store.findStep('mix', key)).toBeNull();
    await recorded();
    expect(await store.findStep('mix', key)).not.toBeNull();
  });

  type Found = Awaited<ReturnType<typeof recorded>>;
});

describe('a whole file', () => {
  it('replaces the one that was there, or leaves it as it was', async () => {
    const path = join(folder, 'state.json');
    await writeWhole(path, 'one', folder);
    await writeWhole(path, 'two', folder);
    expect(await readFile(path, 'utf8')).toBe('two');
    await mkdir(join(folder, 'taken'));
    await expect(writeWhole(join(folder, 'taken'), 'three', folder)).rejects.toThrow();
    expect((await readdir(folder)).filter((name) => name.includes('~'))).toEqual([]);
  });

  it('is whole even when its writers are killed', async () => {
    const script = `import { ArtifactStore } from '${packageRoot}/dist/storage/store.js';
      const store = ArtifactStore.open(${JSON.stringify(store.root)});
      for (let i = 0; ; i++) { await store.putRows([{ text: i % 50 + 'z'.repeat(1_000_000) }]); process.stdout.write('.'); }`;
    const writers = Array.from({ length: 3 }, () =>
      spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    for (const writer of writers) await new Promise((resolve) => writer.stdout.once('data', resolve));
    for (const writer of writers) {
      const gone = new Promise((resolve) => writer.once('exit', resolve));
      writer.kill('SIGKILL');
      await gone;
    }
    const objects = join(store.root, 'objects');
    const files = (await readdir(objects, { recursive: true })).filter((name) => name.endsWith('.jsonl'));
    expect(files.length).toBeGreaterThan(0);
    for (const name of files) expect(sha256(await readFile(join(objects, name)))).toBe(name.slice(3, -6));
    ArtifactStore.open(store.root);
    expect(await readdir(join(store.root, 'tmp'))).toEqual([]);
  });

  it('that is being written by a live process, or by one of another host, is not swept away', async () => {
    const [mine, dead, elsewhere] = [`${hostname()}~${process.pid}~1`, `${hostname()}~999999999~2`, 'elsewhere~1~3'];
    for (const name of [mine, dead, elsewhere]) await writeFile(join(folder, name), '');
    sweep(folder);
    expect((await readdir(folder)).sort()).toEqual([mine, elsewhere, 'store'].sort());
  });
});

describe('an artifact root that cannot be written', () => {
  it('is refused by name', async () => {
    await writeFile(join(folder, 'file'), '');
    expect(() => ArtifactStore.open(join(folder, 'file', 'store'))).toThrow(
      `${join(folder, 'file', 'store')}: the artifact root cannot be written (ENOTDIR). Set artifactRoot in temporal.config.ts to a folder you can write; nothing was started. [storage.not-writable]`,
    );
  });
});

describe('a model folder', () => {
  async function copyOfTiny(name: string) {
    await cp(join(tinyModel(), 'tiny'), join(folder, name), { recursive: true });
    return join(folder, name);
  }

  it('has the same digest in TypeScript and in Python, links, hidden and odd names included', async () => {
    const path = await copyOfTiny('odd');
    await mkdir(join(path, 'sub/deeper'), { recursive: true });
    await mkdir(join(path, '.cache'));
    for (const name of ['sub/deeper/B', 'sub/a', 'sub.txt', '.hidden', '.cache/x', 'Z é', 'ﬀ', '😀']) {
      await writeFile(join(path, name), name);
    }
    await symlink('config.json', join(path, 'linked.json'));
    await symlink('sub', join(path, 'linked-folder'));
    await symlink('nowhere', join(path, 'dangling'));
    const script =
      'import sys; sys.path.insert(0, sys.argv[1]); import folder; print(folder.model_digest(sys.argv[2]))';
    const { stdout } = await promisify(execFile)(python, ['-c', script, join(pythonProgram('folder.py'), '..'), path]);
    expect((await modelDigest(path)).sha256).toBe(stdout.trim());
  });

  it('is adopted under its digest, and found whole', async () => {
    const path = await copyOfTiny('trained');
    const { sha256: digest, bytes } = await modelDigest(path);
    const model = await store.adoptModel(path, digest);
    expect(model).toEqual({ sha256: digest, bytes, uri: `models/${digest}` });
    expect(await store.findModel(digest)).toEqual(model);
    expect(await store.verifiedModel(model)).toBe(join(store.root, 'models', digest));
  });

  it('is not taken away by the second of two attempts that adopt it at the same moment', async () => {
    const path = await copyOfTiny('trained');
    const { sha256: digest, bytes } = await modelDigest(path);
    const other = ArtifactStore.open(store.root);
    const adopted = await Promise.all([store, other].map((one) => one.adoptModel(path, digest)));
    expect(adopted).toEqual([1, 2].map(() => ({ sha256: digest, bytes, uri: `models/${digest}` })));
    expect(await readdir(store.root)).not.toContain('damaged');
  });

  it('that was altered is set aside, named, and replaced by one that is sound', async () => {
    const { sha256: digest } = await modelDigest(join(tinyModel(), 'tiny'));
    const model = await store.adoptModel(await copyOfTiny('one'), digest);
    await writeFile(join(store.modelPath(model), 'config.json'), '{}');
    expect(await store.findModel(digest)).toBeNull();
    expect((await problemOf(store.verifiedModel(model))).message).toBe(
      `models/${digest}: its weights are not those that were trained. It was set aside and is made again. [artifact.damaged]`,
    );
    expect((await problemOf(store.verifiedModel(model))).message).toContain('the model folder is gone.');
    await store.adoptModel(await copyOfTiny('two'), digest);
    expect(await store.verifiedModel(model)).toBe(store.modelPath(model));
  });
});
