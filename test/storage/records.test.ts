import { mkdirSync } from 'node:fs';
import { readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { StoredRef } from '../../contracts/refs.js';
import { writeWhole } from '../../storage/files.js';
import { canonical, objectName } from '../../storage/objects.js';
import { keyOf, recordName } from '../../storage/records.js';
import { openStore, type Store } from '../../storage/store.js';
import { claimOf, makeModel, meta, rows, temporaryFolder } from './support.js';

const folder = temporaryFolder();
let store: Store;

beforeEach(() => {
  store = openStore({ artifactRoot: join(folder(), 'store'), modelRoots: [] });
});

const inputs = { version: 1, data: 'x' };
const key = keyOf('mix', inputs);
const path = () => join(store.root, recordName('mix', key));
const damaged = () => readdir(join(store.root, 'damaged')).catch(() => []);

describe('the key of a step', () => {
  it('does not depend on the order of fields', () => {
    expect(keyOf('sample', { a: 1, b: { c: 2, d: 3 } })).toBe(keyOf('sample', { b: { d: 3, c: 2 }, a: 1 }));
  });

  it('differs for another name and for any other value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (one, other) => {
        expect(keyOf('sample', one) === keyOf('sample', other)).toBe(canonical(one) === canonical(other));
        expect(keyOf('sample', one)).not.toBe(keyOf('logprob', one));
      }),
    );
  });
});

async function recorded() {
  const chunk = await store.objects.putRows(rows('a', 'b'));
  const alone = await store.objects.putRows(rows('c'));
  const dataset = await store.datasets.put([chunk]);
  const holds: StoredRef[] = [
    { kind: 'dataset', ref: dataset },
    { kind: 'rows', ref: alone },
  ];
  const record = await store.records.add('mix', inputs, { holds, output: dataset, meta });
  return { chunk, alone, dataset, record };
}
type Recorded = Awaited<ReturnType<typeof recorded>>;

describe('the record of a step', () => {
  it('that was void when the work began is replaced by that of the work, which others get from then on', async () => {
    const { record, dataset } = await recorded();
    const own = { ...meta, run: 'another' };
    // The work has made whole again what the first record holds.
    const again = await store.records.add('mix', inputs, {
      holds: [],
      output: dataset,
      meta: own,
      voided: record.sha256,
    });
    expect(again.meta.run).toBe('another');
    expect((await store.records.find('mix', key))?.meta.run).toBe('another');
    const late = await store.records.add('mix', inputs, { holds: [], output: dataset, meta, voided: record.sha256 });
    expect(late.meta.run).toBe('another');
  });

  it('that exists and cannot be opened is an error, not an endless search', async () => {
    mkdirSync(dirname(path()), { recursive: true });
    await symlink('nowhere', path());
    await expect(recorded()).rejects.toThrow(
      `${recordName('mix', key)}: a file of this name exists, but cannot be opened.`,
    );
  });

  it('is found under its key, and under no other', async () => {
    const { dataset, record } = await recorded();
    expect(record).toMatchObject({ step: 'mix', key, inputs, output: dataset, meta });
    expect(await store.records.find('mix', key)).toEqual(record);
    expect(await store.records.read('mix', key)).toEqual(record);
    expect(await store.records.find('mix', keyOf('mix', { ...inputs, data: 'y' }))).toBeNull();
    expect(await store.records.find('select', key)).toBeNull();
  });

  it('leaves out what is undefined, in its key and in its inputs', async () => {
    const record = await store.records.add('mix', { ...inputs, more: undefined }, { holds: [], output: null, meta });
    expect(record).toMatchObject({ key, inputs });
    expect(await store.records.find('mix', key)).toEqual(record);
  });

  it.each([
    ['a chunk of its dataset is gone', ({ chunk }: Recorded) => rm(at('rows', chunk))],
    ['a chunk of its dataset is cut short', ({ chunk }: Recorded) => truncate(at('rows', chunk), 3)],
    ['its rows are gone', ({ alone }: Recorded) => rm(at('rows', alone))],
    ['its dataset is gone', ({ dataset }: Recorded) => rm(at('json', dataset))],
    ['its dataset is altered', ({ dataset }: Recorded) => writeFile(at('json', dataset), 'x'.repeat(dataset.bytes))],
    ['it is half a record', () => truncate(path(), 20)],
    ['it is empty', () => truncate(path(), 0)],
  ])('is void when %s, until the step is done again', async (_what, harm) => {
    await harm(await recorded());
    expect(await store.records.find('mix', key)).toBeNull();
    await recorded();
    expect(await store.records.find('mix', key)).not.toBeNull();
  });

  const at = (kind: 'rows' | 'json', { sha256 }: { sha256: string }) => join(store.root, objectName(kind, sha256));

  it('is void when the model it holds is gone or of another size', async () => {
    const brought = await makeModel(join(folder(), 'trained'));
    const model = await store.models.adopt(brought, await claimOf(brought));
    await store.records.add('fineTune', inputs, { holds: [{ kind: 'model', ref: model }], output: model, meta });
    const find = () => store.records.find('fineTune', keyOf('fineTune', inputs));
    expect(await find()).not.toBeNull();
    await truncate(join(store.root, 'models', model.sha256, 'model.safetensors'), 3);
    expect(await find()).toBeNull();
    await rm(join(store.root, 'models', model.sha256), { recursive: true });
    expect(await find()).toBeNull();
  });

  it.each([
    ['its step', { step: 'select' }],
    ['its key', { key: keyOf('mix', 'other') }],
    ['its inputs', { inputs: { version: 1, data: 'y' } }],
    ['its version', { version: 1 }],
    ['its output', { output: 'all of them are correct' }],
    ['what it holds', { holds: [] }],
    ['who made it', { meta: { ...meta, run: 'another' } }],
    ['its digest', { sha256: '0'.repeat(64) }],
    ['its digest, which is gone,', { sha256: undefined }],
    ['a field that no record has', { more: 1 }],
  ])('is void when %s is not as it was written, and is replaced', async (_what, change) => {
    const { record } = await recorded();
    await writeFile(path(), JSON.stringify({ ...record, ...change }));
    expect(await store.records.find('mix', key)).toBeNull();
    expect(await store.records.read('mix', key)).toBeNull();
    await recorded();
    expect(await store.records.find('mix', key)).toEqual(record);
  });

  it('is void under the name of another record', async () => {
    await recorded();
    const other = keyOf('mix', 'other');
    const name = join(store.root, recordName('mix', other));
    mkdirSync(dirname(name), { recursive: true });
    await writeFile(name, JSON.stringify(await store.records.read('mix', key)));
    expect(await store.records.find('mix', other)).toBeNull();
  });

  it('is not written by reading it', async () => {
    await recorded();
    await truncate(path(), 20);
    await store.records.find('mix', key);
    await store.records.read('mix', key);
    expect(await damaged()).toEqual([]);
    expect(await readdir(dirname(path()))).toHaveLength(1);
  });

  it.each(['../objects', 'a/../../b', '.hidden', ''])('of a step named %j is refused', async (step) => {
    await expect(store.records.read(step, key)).rejects.toThrow('is not the name of a blob');
    await expect(store.records.add(step, inputs, { holds: [], output: null, meta })).rejects.toThrow();
  });
});

describe('of several records of one step', () => {
  const add = (n: number) => store.records.add('mix', inputs, { holds: [], output: n, meta: { ...meta, seconds: n } });

  it('the first one wins, and the others get it', async () => {
    const first = await add(1);
    expect(await add(2)).toEqual(first);
    expect(await store.records.find('mix', key)).toEqual(first);
  });

  it('one wins where many are written at once', async () => {
    const added = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(add));
    const [winner] = added;
    for (const one of added) expect(one).toEqual(winner);
    expect(await store.records.find('mix', key)).toEqual(winner);
  });

  it('one wins where two attempts replace a torn one at once', async () => {
    for (let i = 0; i < 30; i++) {
      await writeWhole(path(), `{"torn":${i}`, join(store.root, 'tmp'));
      const added = await Promise.all([1, 2].map(add));
      const found = await store.records.find('mix', key);
      expect(found).not.toBeNull();
      expect(added).toEqual([found, found]);
      await rm(path());
    }
  });

  it('one that is void does not win', async () => {
    const { alone } = await recorded();
    await rm(join(store.root, objectName('rows', alone.sha256)));
    const second = await add(2);
    expect(second.output).toBe(2);
    expect(await store.records.find('mix', key)).toEqual(second);
  });
});
