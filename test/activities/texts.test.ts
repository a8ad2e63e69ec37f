import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { textsOf } from '../../activities/texts.js';
import { RunSpec, SpecTexts, splitRunSpec } from '../../contracts/spec.js';
import { objectName } from '../../storage/objects.js';
import { openStore, type Store } from '../../storage/store.js';

let folder: string;
let store: Store;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'srlm-texts-'));
  store = openStore({ artifactRoot: join(folder, 'store'), modelRoots: [] });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('texts of a spec', () => {
  const spec = RunSpec.parse({ model: { path: 'm' }, data: { path: 'd.jsonl' }, catalysts: 'none' });
  const texts = SpecTexts.parse(splitRunSpec(spec).texts);

  it('are read from the store', async () => {
    expect(await textsOf(store, await store.objects.putJson(texts))).toEqual(texts);
  });

  it('are reported as something that only the user can bring back, not as something that the run makes again', async () => {
    const ref = await store.objects.putJson(texts);
    await rm(join(store.root, objectName('json', ref.sha256)));
    await expect(textsOf(store, ref)).rejects.toMatchObject({
      type: 'data.damaged',
      retry: false,
      message: `spec: the copy that was stored when the run was started (${ref.sha256.slice(0, 12)}) is missing or altered. Start a run with the same file, which stores it again, then \`srlm retry\` this one. If it is then missing again, the worker uses another artifactRoot than the one that you start runs from. [data.damaged]`,
    });
    await store.objects.putJson(texts);
    expect(await textsOf(store, ref)).toEqual(texts);
  });
});
