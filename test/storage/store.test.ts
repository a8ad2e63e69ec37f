import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openStore } from '../../storage/store.js';
import { problemOf, temporaryFolder } from './support.js';

const folder = temporaryFolder();

describe('a store', () => {
  it('is opened in a folder that does not exist yet, and knows how much is free', async () => {
    const store = openStore({ artifactRoot: join(folder(), 'a/store'), modelRoots: [] });
    expect(store.root).toBe(join(folder(), 'a/store'));
    expect(await store.freeBytes()).toBeGreaterThan(0);
  });

  it('is refused by name where it cannot be written', async () => {
    await writeFile(join(folder(), 'file'), '');
    const root = join(folder(), 'file', 'store');
    expect((await problemOf((async () => openStore({ artifactRoot: root, modelRoots: [] }))())).message).toBe(
      `${root}: the artifact root cannot be written (ENOTDIR). Set artifactRoot in temporal.config.ts to a folder you can write. [storage.not-writable]`,
    );
  });

  it('has a folder for each job, named by a key and by nothing else', () => {
    const { jobs } = openStore({ artifactRoot: join(folder(), 'store'), modelRoots: [] });
    const key = 'a'.repeat(64);
    expect(jobs.folder(key)).toBe(join(folder(), 'store/jobs', key));
    expect(jobs.root).toBe(join(folder(), 'store/jobs'));
    for (const name of ['../models', '', 'a', key.toUpperCase()]) expect(() => jobs.folder(name)).toThrow();
  });
});
