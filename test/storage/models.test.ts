import { cp, mkdir, readdir, readFile, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { ModelRef } from '../../contracts/refs.js';
import * as files from '../../storage/files.js';
import type { Models } from '../../storage/models.js';
import { openStore } from '../../storage/store.js';
import { claimOf, makeModel, problemOf, temporaryFolder } from './support.js';

// Counts the files that are read for a digest.
vi.mock('../../storage/files.js', async (original) => {
  const real = await original<typeof files>();
  return { ...real, sha256File: vi.fn(real.sha256File) };
});

const folder = temporaryFolder();
const at = (path: string) => join(folder(), path);

/** A host: its own process, so its own knowledge of digests. */
const host = (...roots: string[]): Models => openStore({ artifactRoot: at('store'), modelRoots: roots.map(at) }).models;

const damaged = () => readdir(at('store/damaged')).catch(() => []);

async function filesReadBy<T>(work: () => Promise<T>): Promise<number> {
  vi.mocked(files.sha256File).mockClear();
  await work();
  return vi.mocked(files.sha256File).mock.calls.length;
}

let models: Models;

beforeEach(async () => {
  await mkdir(at('models'));
  await mkdir(at('more'));
  models = host('models', 'more');
});

describe('the starting model', () => {
  it('is found below a root, by an absolute path or one relative to the root or to the working directory', async () => {
    const real = await makeModel(at('more/qwen/small'));
    const claim = await claimOf(real);
    for (const path of [real, 'qwen/small', './qwen/small/', relative(process.cwd(), real)])
      expect(await models.prepare(path)).toEqual({ ...claim, path: 'qwen/small' });
    expect(await models.inspect('qwen/small')).toEqual({ folder: real, bytes: claim.bytes });
  });

  it('is named by where it really is, not by a link to it', async () => {
    await makeModel(at('models/v1'));
    await symlink('v1', at('models/latest'));
    expect(await models.prepare('latest')).toMatchObject({ path: 'v1' });
  });

  it('may be one that the store owns, which has no path', async () => {
    const claim = await claimOf(await makeModel(at('trained')));
    await models.adopt(at('trained'), claim);
    for (const path of [at(`store/models/${claim.sha256}`), claim.sha256])
      expect(await models.prepare(path)).toEqual({ ...claim, path: null });
    // Even where a model root contains the store.
    expect(await host('store').prepare(claim.sha256)).toEqual({ ...claim, path: null });
    await writeFile(at(`store/models/${claim.sha256}/config.json`), '{"other":1}');
    expect((await problemOf(models.prepare(claim.sha256))).message).toBe(
      `${at(`store/models/${claim.sha256}`)}: its files are not the ones that were trained. Use another model. [model.unusable]`,
    );
  });

  it('may be a folder that somebody has put beside those that the store owns', async () => {
    await makeModel(at('store/models/mine'));
    const ref = await models.prepare('mine');
    expect(ref).toMatchObject({ path: 'mine' });
    expect(await models.local(ref)).toBe(at('store/models/mine'));
  });

  it.each([
    ['a folder elsewhere', 'elsewhere'],
    ['a way up', 'models/../elsewhere'],
    ['a link in a root that leads out of it', 'models/link'],
    ['a folder below a link that leads out', 'models/up/elsewhere'],
    ['a root itself', 'models'],
    ['a folder whose name begins like a root', 'models-other'],
  ])('is refused outside the roots: %s', async (_what, path) => {
    await makeModel(at('elsewhere'));
    await makeModel(at('models-other'));
    await symlink(at('elsewhere'), at('models/link'));
    await symlink(folder(), at('models/up'));
    await makeModel(at('models/x'));
    for (const given of [at(path), relative(at('models'), at(path)) || '.'])
      expect((await problemOf(models.prepare(given))).message).toBe(
        `${given}: the model folder is not below a model root (${at('models')}, ${at('more')}). Move it there, or add its parent to modelRoots in temporal.config.ts. [model.outside-roots]`,
      );
  });

  it('may be reached by a link from one root into another', async () => {
    await makeModel(at('more/qwen'));
    await symlink(at('more/qwen'), at('models/link'));
    expect(await models.prepare('link')).toMatchObject({ path: 'qwen' });
  });

  it('is refused where there is none, or none that is usable, or its path has a hidden part', async () => {
    for (const path of ['none', at('models/none'), 'a\0b', 'x'.repeat(5000)])
      expect((await problemOf(models.prepare(path))).message).toMatch(
        /there is no such model folder\. The model roots are .*\[model\.unusable\]$/,
      );
    await mkdir(at('models/empty'));
    expect((await problemOf(models.prepare('empty'))).message).toBe(
      `${at('models/empty')}: it holds no config.json, so it is not a model folder. [model.unusable]`,
    );
    await makeModel(at('models/.cache/x'));
    expect((await problemOf(models.prepare('.cache/x'))).message).toContain('has a part that begins with a dot');
    // Below a root of its own it is fine.
    expect(await host('models', 'models/.cache').prepare('x')).toMatchObject({ path: 'x' });
  });
});

describe('a model below a root', () => {
  it('is found on a host that mounts the root at another place, by its digest where several have its path', async () => {
    await makeModel(at('models/qwen'));
    const ref = await models.prepare('qwen');
    await makeModel(at('elsewhere/qwen'), 'other weights');
    await mkdir(at('mounted'));
    await cp(at('models/qwen'), at('mounted/qwen'), { recursive: true });
    expect(await host('mounted').local(ref)).toBe(at('mounted/qwen'));
    expect(await host('elsewhere', 'mounted').local(ref)).toBe(at('mounted/qwen'));
    expect(await host('elsewhere', 'mounted').has(ref)).toBe(true);
    expect((await problemOf(host('elsewhere').local(ref))).message).toBe(
      `${at('elsewhere/qwen')}: the model is not the one this run began with (digest ${ref.sha256.slice(0, 12)}). Restore its files, then \`srlm retry\`; or continue with it as it is: \`srlm retry --accept-model\`. [model.changed]`,
    );
  });

  it('that was changed or removed is refused, and left where it is', async () => {
    await makeModel(at('models/qwen'));
    const ref = await models.prepare('qwen');
    await writeFile(at('models/qwen/model.safetensors'), 'altered');
    expect((await problemOf(models.local(ref))).type).toBe('model.changed');
    await rm(at('models/qwen'), { recursive: true });
    expect((await problemOf(models.local(ref))).message).toMatch(/^qwen: the model is not the one/);
    expect(await models.has(ref)).toBe(false);
    expect(await damaged()).toEqual([]);
  });

  it.each(['../elsewhere', 'link', '/etc', '', '.', 'a/../../elsewhere', '.hidden'])(
    'is not looked for outside the roots: %j',
    async (path) => {
      const claim = await claimOf(await makeModel(at('elsewhere')));
      await symlink(at('elsewhere'), at('models/link'));
      const ref = { ...claim, path };
      expect((await problemOf(models.local(ref))).type).toBe('model.outside-roots');
      expect(await models.has(ref)).toBe(false);
    },
  );

  it('is read once for each state of its files, also where many ask at once', async () => {
    await makeModel(at('models/qwen'));
    const other = host('models');
    let ref = {} as ModelRef;
    expect(await filesReadBy(async () => (ref = await models.prepare('qwen')))).toBe(4);
    expect(await filesReadBy(() => Promise.all([1, 2, 3].map(() => models.local(ref))))).toBe(0);
    expect(await filesReadBy(() => Promise.all([1, 2, 3].map(() => other.local(ref))))).toBe(4);
    await utimes(at('models/qwen/config.json'), 1, 1);
    expect(await filesReadBy(() => models.local(ref))).toBe(4);
  });
});

describe('a trained model', () => {
  const claimAt = async (name: string, weights?: string) => claimOf(await makeModel(at(name), weights));

  it('is adopted under its digest, and found whole', async () => {
    const claim = await claimAt('trained');
    const ref = await models.adopt(at('trained'), claim);
    expect(ref).toEqual({ ...claim, path: null });
    expect(await models.find(claim.sha256)).toEqual(ref);
    expect(await models.has(ref)).toBe(true);
    expect(await models.local(ref)).toBe(at(`store/models/${claim.sha256}`));
    expect(await readdir(folder())).not.toContain('trained');
  });

  it('is read once by the worker that adopts it', async () => {
    const claim = await claimAt('trained');
    const read = await filesReadBy(async () => models.local(await models.adopt(at('trained'), claim)));
    expect(read).toBe(4);
    const ref = { ...claim, path: null };
    const other = host();
    expect(await filesReadBy(() => other.local(ref))).toBe(4);
    expect(await filesReadBy(() => other.local(ref))).toBe(0);
    // Altered, it is read by the first one too.
    await writeFile(at(`store/models/${claim.sha256}/config.json`), '[]');
    expect((await problemOf(models.local(ref))).type).toBe('artifact.damaged');
  });

  it('is not taken away by the second of two attempts that adopt one folder at the same moment', async () => {
    const claim = await claimAt('trained');
    const adopted = await Promise.all([models, host()].map((one) => one.adopt(at('trained'), claim)));
    expect(adopted).toEqual([1, 2].map(() => ({ ...claim, path: null })));
    expect(await damaged()).toEqual([]);
  });

  it('is there after many attempts, each with a folder of its own, over a damaged one', async () => {
    for (let i = 0; i < 10; i++) {
      const claim = await claimAt('a');
      for (const name of ['b', 'c', 'd']) await makeModel(at(name));
      await makeModel(at(`store/models/${claim.sha256}`), 'damaged');
      const attempts = ['a', 'b', 'c', 'd'].map((name) => host().adopt(at(name), claim));
      expect(await Promise.all(attempts)).toEqual(attempts.map(() => ({ ...claim, path: null })));
      expect(await host().local({ ...claim, path: null })).toBe(at(`store/models/${claim.sha256}`));
      const weights = (await damaged()).map((name) => readFile(at(`store/damaged/${name}/model.safetensors`), 'utf8'));
      expect(await Promise.all(weights)).toContain('damaged');
      for (const name of ['a', 'b', 'c', 'd', 'store']) await rm(at(name), { recursive: true, force: true });
    }
  });

  it('that the store has already stays where it is', async () => {
    const claim = await claimAt('one');
    await makeModel(at('two'));
    await models.adopt(at('one'), claim);
    expect(await models.adopt(at('two'), claim)).toEqual({ ...claim, path: null });
    expect(await readdir(at('two'))).toHaveLength(4);
  });

  it('that was altered is quarantined, named, and replaced by one that is intact', async () => {
    const claim = await claimAt('one');
    const ref = await models.adopt(at('one'), claim);
    await writeFile(at(`store/models/${claim.sha256}/config.json`), '[]');
    expect(await models.has(ref)).toBe(true);
    expect(await models.find(claim.sha256)).toBeNull();
    expect((await problemOf(models.local(ref))).message).toBe(
      `models/${claim.sha256}: its weights are not those that were trained. [artifact.damaged]`,
    );
    expect(await damaged()).toHaveLength(1);
    expect((await problemOf(models.local(ref))).message).toContain('the model folder is gone.');
    expect(await models.has(ref)).toBe(false);
    await claimAt('two');
    await models.adopt(at('two'), claim);
    expect(await models.local(ref)).toBe(at(`store/models/${claim.sha256}`));
  });

  it.each([
    ['of another size', () => 'cut'],
    ['of the same size', (weights: Buffer) => Buffer.alloc(weights.length)],
  ])('%s that is not what its trainer wrote is quarantined, so that a retry trains again', async (_, harm) => {
    const other = await claimAt('two', 'other weights');
    const weights = at('two/model.safetensors');
    await writeFile(weights, harm(await readFile(weights)));
    expect((await problemOf(models.adopt(at('two'), other))).message).toContain(
      'it is not what its trainer has written.',
    );
    expect(await models.find(other.sha256)).toBeNull();
    expect(await damaged()).toHaveLength(1);
    expect(await readdir(folder())).not.toContain('two');
  });

  it('that is gone before it was adopted is an error, not a model', async () => {
    const claim = await claimAt('one');
    await rename(at('one'), at('moved'));
    await expect(models.adopt(at('one'), claim)).rejects.toThrow('ENOENT');
    expect(await models.find(claim.sha256)).toBeNull();
  });
});

describe('a wrong reference to a model', () => {
  it('is refused, and moves nothing', async () => {
    const claim = await claimOf(await makeModel(at('one')));
    const ref = await models.adopt(at('one'), claim);
    await makeModel(at('models/qwen'));
    const below = await models.prepare('qwen');
    expect((await problemOf(models.local({ ...ref, bytes: 1 }))).message).toBe(
      `models/${claim.sha256}: the reference says 1 bytes, the folder has ${claim.bytes}. [artifact.damaged]`,
    );
    for (const wrong of [
      { ...below, bytes: 1 },
      { ...below, sha256: 'a'.repeat(64) },
      { ...ref, sha256: 'a'.repeat(64) },
      { ...ref, sha256: '../../models/qwen' },
      { ...ref, sha256: `${claim.sha256}/` },
    ])
      await problemOf(models.local(wrong));
    expect(await damaged()).toEqual([]);
    expect(await models.local(ref)).toBe(at(`store/models/${claim.sha256}`));
    expect(await models.local(below)).toBe(at('models/qwen'));
  });
});
