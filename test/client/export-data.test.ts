/** The folder that `srlm export` writes. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type Exported, exportData } from '../../client/export-data.js';
import type { Example } from '../../contracts/rows.js';
import type { RoundSummary } from '../../contracts/steps.js';
import { folderDigest } from '../../storage/model-folder.js';
import { openStore } from '../../storage/store.js';

const folder = mkdtempSync(join(tmpdir(), 'srlm-test-export-'));
const store = openStore({ artifactRoot: join(folder, 'store'), modelRoots: [join(folder, 'models')] });
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const example = (id: string, more: Partial<Example> = {}): Example => ({
  ...{ id, instruction: 'q', turns: null, original: null, rationale: 'r', answer: 'a', origin: null, ...more },
});

async function exported(more: Partial<RoundSummary> = {}, withModel = false): Promise<Exported> {
  const turns = [
    { role: 'system' as const, content: 's' },
    { role: 'user' as const, content: 'u' },
  ];
  const chunks = await Promise.all([
    store.objects.putRows([example('1'), example('2', { original: 'r0', origin: { round: 1, k: 3 } })]),
    store.objects.putRows([example('3', { turns, instruction: 'a\u2028b' })]),
  ]);
  const dataset = await store.datasets.put(chunks);
  const set = { dataset, rows: 3, enriched: 1, meanRationaleChars: 1 };
  const round = { round: 1, set, evaluation: null, gate: null, candidates: null, decisions: null, changed: 1, ...more };
  const spec = { name: 'x: "y"\n---\n', data: { path: '/secret/d.jsonl' }, model: { path: 'a/`m`' } };
  return { runId: 'r', round, spec, interventions: [], withModel } as unknown as Exported;
}

it('has a row a line, and a card that names file, columns and types', async () => {
  const out = join(folder, 'data');
  mkdirSync(out); // An empty folder may be there.
  expect(await exportData(store, await exported(), out)).toEqual(['train.jsonl', 'provenance.json', 'README.md']);
  const rows = readFileSync(join(out, 'train.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(rows.map(({ id, enriched, round, candidate }) => [id, enriched, round, candidate])).toEqual([
    ['1', false, null, null],
    ['2', true, 1, 3],
    ['3', false, null, null],
  ]);
  expect(rows[2]).toMatchObject({ instruction: 'a\u2028b', turns: [{ role: 'system' }, { role: 'user' }] });
  const [, front, ...text] = readFileSync(join(out, 'README.md'), 'utf8').split(/^---\n/m);
  const card = parse(front!);
  expect(card.configs).toEqual([{ config_name: 'default', data_files: [{ split: 'train', path: 'train.jsonl' }] }]);
  expect(card.dataset_info.features.map(({ name }: { name: string }) => name)).toEqual(Object.keys(rows[0]));
  expect(card.pretty_name).toBe('x: "y" ---');
  expect(text.join()).toContain('3 rows, of which 1 have');
  // Not the folders of whoever made it.
  expect(text.join()).not.toContain('secret');
  expect(JSON.parse(readFileSync(join(out, 'provenance.json'), 'utf8'))).toMatchObject({ run: 'r', round: 1, rows: 3 });
});

it('touches no folder with files in it, and leaves nothing of an export that fails', async () => {
  const out = join(folder, 'taken');
  mkdirSync(out);
  writeFileSync(join(out, 'mine'), 'x');
  await expect(exportData(store, await exported(), out)).rejects.toThrow(
    `${out}: the folder is not empty. Name another folder with --out. [file.not-writable]`,
  );
  expect(readdirSync(out)).toEqual(['mine']);
  const gone = await exported();
  gone.round.set.dataset = { ...gone.round.set.dataset, sha256: '0'.repeat(64) };
  await expect(exportData(store, gone, join(folder, 'other'))).rejects.toThrow('[artifact.damaged]');
  expect(existsSync(join(folder, 'other'))).toBe(false);
  expect(readdirSync(folder).filter((name) => name.startsWith('.srlm-export'))).toEqual([]);
});

it('copies what the model consists of, a link as the file that it leads to', async () => {
  const from = join(folder, 'models', 'm');
  mkdirSync(join(from, 'sub'), { recursive: true });
  for (const name of ['config.json', 'sub/model.safetensors']) writeFileSync(join(from, name), name);
  symlinkSync('config.json', join(from, 'link.json'));
  const model = { sha256: await folderDigest(from), bytes: 43, path: 'm' };
  const out = join(folder, 'with-model');
  await exportData(store, await exported({ model }, true), out);
  expect(readdirSync(join(out, 'model'))).toEqual(['config.json', 'link.json', 'sub']);
  expect(await folderDigest(join(out, 'model'))).toBe(model.sha256);
});
