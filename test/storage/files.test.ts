import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readJson, sha256, sweep, writeWhole, writeWholeNew } from '../../storage/files.js';
import { openStore } from '../../storage/store.js';
import { temporaryFolder } from './support.js';

const folder = temporaryFolder();

const temporaries = async () => (await readdir(folder())).filter((name) => name.includes('~'));

describe('a whole file', () => {
  it('replaces the one that was there, or leaves it as it was', async () => {
    const path = join(folder(), 'state.json');
    await writeWhole(path, 'one', folder());
    await writeWhole(path, 'two', folder());
    expect(await readFile(path, 'utf8')).toBe('two');
    await mkdir(join(folder(), 'taken'));
    await expect(writeWhole(join(folder(), 'taken'), 'three', folder())).rejects.toThrow();
    expect(await temporaries()).toEqual([]);
  });

  it('is created with the folders above it', async () => {
    const path = join(folder(), 'a/b/c/state.json');
    await writeWhole(path, 'one', folder());
    expect(await readFile(path, 'utf8')).toBe('one');
  });

  it("is in folders of its owner's, whatever the umask", async () => {
    const before = process.umask(0);
    const store = openStore({ artifactRoot: join(folder(), 'private'), modelRoots: [] });
    await store.objects.putRows([{ text: 'a' }]);
    process.umask(before);
    const modes = await Promise.all(
      ['', 'tmp', 'objects'].map(async (name) => (await stat(join(folder(), 'private', name))).mode & 0o777),
    );
    expect(modes).toEqual([0o700, 0o700, 0o700]);
  });

  it('that must be new is written by one of many writers, and not replaced by the others', async () => {
    const path = join(folder(), 'new/state.json');
    const writers = Array.from({ length: 20 }, (_, i) => `writer ${i} `.repeat(1000));
    const won = await Promise.all(writers.map((content) => writeWholeNew(path, content, folder())));
    expect(won.filter(Boolean)).toHaveLength(1);
    expect(await readFile(path, 'utf8')).toBe(writers[won.indexOf(true)]);
    expect(await temporaries()).toEqual([]);
  });

  it('is whole even when its writers are killed', async () => {
    const store = join(folder(), 'store');
    // Node runs no TypeScript by itself, and the compiled code may be older than the source: jiti runs the source.
    const at = (path: string) => JSON.stringify(pathToFileURL(join(import.meta.dirname, '../..', path)).href);
    const script = `import { createJiti } from ${at('node_modules/jiti/lib/jiti.mjs')};
      const { openStore } = await createJiti(import.meta.url).import(${at('storage/store.ts')});
      const { objects } = openStore({ artifactRoot: ${JSON.stringify(store)}, modelRoots: [] });
      for (let i = 0; ; i++) { await objects.putRows([{ text: i % 50 + 'z'.repeat(1_000_000) }]); process.stdout.write('.'); }`;
    const writers = Array.from({ length: 3 }, () =>
      spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    for (const writer of writers) await new Promise((resolve) => writer.stdout.once('data', resolve));
    for (const writer of writers) {
      const gone = new Promise((resolve) => writer.once('exit', resolve));
      writer.kill('SIGKILL');
      await gone;
    }
    const objects = join(store, 'objects');
    const files = (await readdir(objects, { recursive: true })).filter((name) => name.endsWith('.jsonl'));
    expect(files.length).toBeGreaterThan(0);
    for (const name of files) expect(sha256(await readFile(join(objects, name)))).toBe(name.slice(3, -6));
    openStore({ artifactRoot: store, modelRoots: [] });
    expect(await readdir(join(store, 'tmp'))).toEqual([]);
  });

  it('of a live process, or of another host, or one that is not ours, is not removed by a sweep', async () => {
    const random = '0123456789ab';
    const here = (pid: number) => `${hostname()}~${pid}~${random}`;
    const foreign = ['Budget~2024~final.xlsx', 'my~old~thesis', `${hostname()}~notes~today.txt`];
    const kept = [here(process.pid), `elsewhere~1~${random}`, ...foreign];
    for (const name of [...kept, here(999_999_999)]) await writeFile(join(folder(), name), '');
    for (const name of [...foreign, here(process.pid)]) await utimes(join(folder(), name), 0, 0);
    sweep(folder());
    expect((await readdir(folder())).sort()).toEqual(kept.sort());
  });
});

describe('JSON of another process', () => {
  it('is null when it is missing, torn, or something else', async () => {
    const path = join(folder(), 'state.json');
    const State = z.strictObject({ step: z.int() });
    expect(await readJson(path, State)).toBeNull();
    for (const text of ['{"step":', '{"step":"one"}', '']) {
      await writeFile(path, text);
      expect(await readJson(path, State)).toBeNull();
    }
    await writeFile(path, '{"step":1}');
    expect(await readJson(path, State)).toEqual({ step: 1 });
  });
});
