/** What `srlm gc` frees, and above all what it keeps. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Execution } from '../../audit/events.js';
import { findGarbage, type GcOptions, removeGarbage } from '../../client/gc.js';
import type { RunListing } from '../../client/status.js';
import type { DatasetRef, ModelRef, StoredRef } from '../../contracts/refs.js';
import { keyOf } from '../../storage/records.js';
import { openStore, type Store } from '../../storage/store.js';
import { meta } from '../storage/support.js';

const HOUR = 3_600_000;
const NOW = Date.now();
const OPTIONS: GcOptions = { forget: [], forgetDeleted: false, hours: 24 };

let folder: string;
let store: Store;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'srlm-test-gc-'));
  store = openStore({ artifactRoot: folder, modelRoots: [] });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const dataset = async (...texts: string[]): Promise<DatasetRef> =>
  store.datasets.put(await Promise.all(texts.map((text) => store.objects.putRows([{ text }]))));
const made = (run: string, step: string, inputs: object, ...holds: StoredRef[]) =>
  store.records.add(step, inputs, { holds, output: {}, meta: { ...meta, run } });
const held = (ref: DatasetRef): StoredRef => ({ kind: 'dataset', ref });

/** Everything that is there now was used last at this time. */
function aged(atMs: number): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true }))
    utimesSync(join(entry.parentPath, entry.name), new Date(atMs), new Date(atMs));
}

function model(digit: string): ModelRef {
  const sha256 = digit.repeat(64);
  mkdirSync(join(folder, 'models', sha256), { recursive: true });
  writeFileSync(join(folder, 'models', sha256, 'model.safetensors'), 'x'.repeat(1000));
  return { sha256, bytes: 1000, path: null };
}

const listing = (runId: string, more: Partial<RunListing> = {}): RunListing => ({
  ...{ runId, kind: 'run', state: 'done', round: 1, lastRound: 1, step: null, codeFailure: null },
  ...{ startedAt: '2026-01-01T00:00:00Z', endedAt: '2026-01-02T00:00:00Z', ...more },
});

/** The history of a run whose payloads hold this. */
const history = (workflowId: string, ...values: unknown[]): Execution => {
  const payloads = values.map((value) => ({ data: Buffer.from(JSON.stringify(value)).toString('base64') }));
  const event = { workflowExecutionStartedEventAttributes: { input: { payloads } } };
  return { workflowId, runId: `${workflowId}-1`, history: { events: [event as never] } };
};

async function* stream(executions: Execution[]): AsyncGenerator<Execution> {
  yield* executions;
}

const garbage = (listed: RunListing[], executions: Execution[], options: Partial<GcOptions> = {}) =>
  findGarbage(folder, { listed, executions: stream(executions) }, { ...OPTIONS, ...options }, NOW);
const digests = (items: { digest: string }[]) => items.map(({ digest }) => digest).sort();
const isThere = async (ref: DatasetRef) => store.datasets.has(ref);

it('frees by itself what no run has made and none names, and nothing else', async () => {
  const kept = await dataset('kept');
  await made('a', 'mix', { n: 1 }, held(kept));
  const uploaded = await dataset('of a start that came to nothing');
  aged(NOW - 100 * HOUR);
  const found = await garbage([listing('a')], []);
  expect(found.items.map(({ kind }) => kind).sort()).toEqual(['json', 'json', 'rows']);
  expect(await removeGarbage(folder, found)).toBe(found.bytes);
  expect([await isThere(kept), await isThere(uploaded)]).toEqual([true, false]);
  // A second look finds the store as it should be.
  expect((await garbage([listing('a')], [])).items).toEqual([]);
});

it('frees what a forgotten run alone needs, and keeps what a fork has reused of it', async () => {
  const [shared, alone] = [await dataset('s1', 's2'), await dataset('alone')];
  const sharedRecord = await made('parent', 'sample', { n: 1 }, held(shared));
  const weights = model('a');
  await made('parent', 'fineTune', { n: 2 }, { kind: 'model', ref: weights }, held(alone));
  const own = await dataset('own');
  await made('fork', 'select', { data: shared.sha256 }, held(own));
  aged(NOW - 100 * HOUR);
  // The fork's history has the key of the step that it found.
  const fork = history('fork', { meta: { key: sharedRecord.key, reused: true } });
  const listed = [listing('parent'), listing('fork')];
  expect((await garbage(listed, [fork])).items).toEqual([]);
  const found = await garbage(listed, [fork], { forget: ['parent'] });
  expect(found.items.map(({ kind }) => kind).sort()).toEqual(['json', 'json', 'model', 'record', 'rows']);
  expect(found.runs).toMatchObject([
    { runId: 'fork', forgotten: false, freedBytes: 0 },
    { runId: 'parent', forgotten: true, modelBytes: 1000 },
  ]);
  await removeGarbage(folder, found);
  expect([await isThere(shared), await isThere(own), await isThere(alone)]).toEqual([true, true, false]);
  expect(await store.records.find('sample', sharedRecord.key)).not.toBe(null);
  expect(existsSync(join(folder, 'models', weights.sha256))).toBe(false);
});

it('keeps what a history names: files, tables, and what they lead to', async () => {
  const file = join(folder, 'upload');
  writeFileSync(file, 'bytes of the user');
  const upload = await store.objects.putFile(file);
  const rows = await dataset('in a table');
  const table = await store.objects.putJson({ rounds: [{ set: rows }] });
  aged(NOW - 100 * HOUR);
  const run = history('a', { data: upload }, { table });
  expect((await garbage([listing('a')], [run])).items).toEqual([]);
  const without = await garbage([listing('a')], []);
  expect(digests(without.items)).toEqual(expect.arrayContaining([upload.sha256, table.sha256, rows.sha256]));
});

it('keeps what was used lately, and all that was used since a run began that is running', async () => {
  await made('old', 'mix', { n: 1 }, held(await dataset('x')));
  aged(NOW - 100 * HOUR);
  const options = { forget: ['old'] };
  const ended = listing('old');
  expect((await garbage([ended], [], options)).items).toHaveLength(4);
  // Found under its key by a run that has just begun; it stays with all that it holds.
  await store.records.find('mix', keyOf('mix', { n: 1 }));
  expect((await garbage([ended], [], { ...options, hours: 24 })).items).toHaveLength(0);
  aged(NOW - 100 * HOUR);
  const running = listing('b', { endedAt: null, startedAt: new Date(NOW - 90 * HOUR).toISOString() });
  expect((await garbage([ended, running], [], options)).items).toHaveLength(0);
});

it('removes nothing that a record was used for between the look and the removal', async () => {
  const rows = await dataset('x');
  await made('old', 'mix', { n: 1 }, held(rows));
  aged(NOW - 100 * HOUR);
  const found = await garbage([listing('old')], [], { forget: ['old'] });
  expect(await store.records.find('mix', keyOf('mix', { n: 1 }))).not.toBe(null);
  expect(await removeGarbage(folder, found)).toBe(0);
  expect(await isThere(rows)).toBe(true);
});

it('an object that is stored again counts as used', async () => {
  const { sha256 } = await store.objects.putRows([{ text: 'x' }]);
  aged(NOW - 100 * HOUR);
  await store.objects.putRows([{ text: 'x' }]);
  const path = join(folder, 'objects', sha256.slice(0, 2), `${sha256}.jsonl`);
  expect(statSync(path).mtimeMs).toBeGreaterThan(NOW - 100 * HOUR);
});

it('keeps the training of a run that is kept, and forgets runs that Temporal has deleted only if asked', async () => {
  const job = join(folder, 'jobs', 'c'.repeat(64));
  mkdirSync(job, { recursive: true });
  writeFileSync(join(job, 'owner.json'), JSON.stringify({ workflowId: 'gone', runId: '1' }));
  await made('gone', 'mix', { n: 1 });
  aged(NOW - 100 * HOUR);
  expect((await garbage([], [])).items).toEqual([]);
  const found = await garbage([], [], { forgetDeleted: true });
  expect(found.items.map(({ kind }) => kind).sort()).toEqual(['job', 'record']);
  // The sum of the runs is all that is freed: a training's checkpoints are most of it.
  expect(found.runs).toMatchObject([{ runId: 'gone', state: null, forgotten: true, freedBytes: found.bytes }]);
});

it('refuses to forget a run that has not ended or is not there, and to guess what a run needs', async () => {
  const running = listing('a', { endedAt: null });
  await expect(garbage([running], [], { forget: ['a'] })).rejects.toThrow('it has not ended. See `srlm status a`.');
  await expect(garbage([], [], { forget: ['nobody'] })).rejects.toThrow('[run.unknown]');
  const unreadable = { ...history('a'), undecoded: 'A payload cannot be decoded.' };
  await expect(garbage([listing('a')], [unreadable])).rejects.toThrow(
    'what it needs is not known (A payload cannot be decoded); --forget a gives it up',
  );
  const lost = { ...history('a'), history: null };
  await expect(garbage([listing('a')], [lost])).rejects.toThrow('a history of it is lost');
});
