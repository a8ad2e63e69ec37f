/**
 * Whoever can start a workflow can give activities any input. 10,000 inputs, made from valid ones by one to three
 * changes, or of anything at all: nothing outside the roots is opened, and nothing that is in the store is moved,
 * overwritten or deleted. Every call of Node's file functions is watched.
 */
import fs from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { cpuActivities, gpuActivities } from '../../activities/index.js';
import { Deployment } from '../../contracts/deployment.js';
import { RunSpec, splitRunSpec } from '../../contracts/spec.js';
import { EngineHost } from '../../engines/index.js';
import { sha256File } from '../../storage/files.js';
import { openStore } from '../../storage/store.js';
import { makeModel } from '../storage/support.js';

const RUNS = 10_000;
const CHECK_EVERY = 1000;
const WORKFLOW = { workflowId: 'run', runId: '01a21eb4-b04b-7ac4-9fca-8c1e042dd8f0' };
const MARK = 'PRIVATE-KEY-OF-THE-USER';

type Activities = Record<string, (input: never) => Promise<unknown>>;
let root: string;
let activities: Activities;
let valid: Record<string, unknown>;
let opened: string[];
let restore: () => void;
let pool: unknown[];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'srlm-test-hostile-'));
  await mkdir(join(root, 'outside'));
  await writeFile(join(root, 'outside/secret.txt'), MARK);
  await makeModel(join(root, 'models/base'));
  await makeModel(join(root, 'outside/model'));
  await symlink(join(root, 'outside/model'), join(root, 'models/link'));
  const deployment = Deployment.parse({
    artifactRoot: join(root, 'store'),
    modelRoots: [join(root, 'models')],
    workRoot: join(root, 'work'),
    python: '/nonexistent/python',
  });
  const store = openStore(deployment);
  const deps = { store, deployment, engines: new EngineHost(deployment, store) };
  activities = { ...cpuActivities(deps), ...gpuActivities(deps) } as unknown as Activities;
  valid = await validInputs(store);
  await store.objects.putJson({ model: '../outside/model' });
  ({ opened, restore } = watchFiles());
});

afterAll(async () => {
  restore?.();
  await rm(root, { recursive: true, force: true });
});

const run = (name: string, input: unknown) =>
  // biome-ignore lint/suspicious/noExplicitAny: the mock's own types know no Client
  new MockActivityEnvironment({ workflowExecution: WORKFLOW }, { client: noTemporal as any, logger: quiet }).run(
    activities[name]!,
    input as never,
  );

/** Failures are what is wanted here. */
const quiet = new DefaultLogger('ERROR');

/** Temporal knows of nothing. */
const unknown = () => Promise.reject(Object.assign(new Error('not found'), { code: 5 }));
const noTemporal = {
  withAbortSignal: (_signal: AbortSignal, work: () => unknown) => work(),
  options: { namespace: 'default' },
  workflowService: { getWorkflowExecutionHistory: unknown, describeWorkflowExecution: unknown },
};

async function validInputs(store: ReturnType<typeof openStore>): Promise<Record<string, unknown>> {
  const example = { instruction: 'What is 1+1?', rationale: 'Add.', answer: '2' };
  const file = join(root, 'rows.jsonl');
  await writeFile(file, `${JSON.stringify(example)}\n${JSON.stringify({ ...example, instruction: 'And 2+2?' })}\n`);
  const spec = RunSpec.parse({
    ...{ model: { path: 'base' }, data: { path: 'rows.jsonl' }, catalysts: 'none' },
    prompts: { reply: '{rationale} Answer: {answer}' },
  });
  const { settings, texts: content } = splitRunSpec(spec);
  const texts = await store.objects.putJson(content);
  const outside = await Promise.all(
    ['../outside/model', join(root, 'outside/model'), 'link', '/', '.', 'base/../../outside/model', ''].map((path) =>
      store.objects.putJson({ ...content, model: path }),
    ),
  );
  const raw = await store.objects.putFile(file);
  const ingest = { kind: 'examples', source: 'data', texts, file: raw, limit: null, chunkSize: 1 };
  const { output } = (await run('srlmIngest', ingest)) as { output: { dataset: { chunks: number } } };
  const data = output.dataset;
  const ids: string[] = [];
  // biome-ignore lint/suspicious/noExplicitAny: rows of an example
  for await (const row of store.datasets.rows(data as any, (await import('../../contracts/rows.js')).Example))
    ids.push(row.id);
  const chunk = (make: (id: string) => object) => Promise.all(ids.map((id) => store.objects.putRows([make(id)])));
  const dataset = async (make: (id: string) => object) => store.datasets.put(await chunk(make));
  const raws = await dataset((id) => ({ id, k: 0, text: 'Add 1 and 1.', finish: 'stop', tokens: 3, seed: 1 }));
  const candidates = await dataset((id) => ({ id, k: 0, rationale: 'Add 1 and 1.', truncated: false }));
  const scores = await store.datasets.put(
    await Promise.all(ids.map((id) => store.objects.putRows([-1, 0].map((k) => ({ id, k, score: -k }))))),
  );
  const grades = await dataset((id) => ({ id, correct: true, given: '2', expected: '2' }));
  const questions = await dataset((id) => ({ id, question: 'What is 1+1?', choices: null, answer: '2' }));
  const base = (await run('srlmPrepareModel', { texts })) as object;
  const { chunkSize: _, ...sampling } = settings.sampling;
  const sample = {
    ...{ step: 'sample', purpose: 'enrich', engine: 'local', model: base, data, texts, enrichFrom: 'original' },
    ...{ sampling: { ...sampling, stop: [] }, seed: 0, round: 1, deterministic: false },
  };
  const step = await store.objects.putJson(sample);
  const summary = {
    ...{ round: 0, set: { dataset: data, rows: 2, enriched: 0, meanRationaleChars: 4 }, changed: null },
    ...{ candidates: null, decisions: null, model: base, trainLoss: 1, evaluation: null, gate: null, steps: [] },
  };
  const evaluation = { grades, correct: 1, total: 2, accuracy: 0.5, low: 0.1, high: 0.9 };
  const table = await store.objects.putJson({ version: 2, preparation: [], rounds: [summary] });
  pool = [texts, ...outside, raw, data, raws, candidates, scores, questions, base, step, table];
  return {
    srlmPrepareModel: { texts },
    srlmIngest: ingest,
    srlmAddRationales: { data, candidates: raws, texts },
    srlmOpenStep: sample,
    srlmShard: { step, from: 0, to: 1, share: null, countedUntil: 0 },
    srlmAssemble: { step },
    srlmParse: { candidates: raws, texts },
    srlmSelect: {
      ...{ data, candidates, scores: { 'off-policy': scores }, texts, enrichFrom: 'original' },
      ...{ selection: settings.selection, seed: 0, round: 1 },
    },
    srlmMix: { data, catalysts: null, copies: 1, use: 'enrich', texts },
    srlmFineTune: { trainer: 'local', base, data, training: settings.training, seed: 0, deterministic: true },
    srlmGrade: { questions, replies: raws, texts, confidence: 0.9 },
    srlmGate: { best: evaluation, current: evaluation, gate: settings.gate, rollbacksInARow: 0, seed: 0 },
    srlmKeepRound: { table, preparation: null, round: summary },
    srlmReadRound: { table, round: 0 },
    srlmExport: { workflowId: 'run', firstRunId: WORKFLOW.runId, runId: WORKFLOW.runId, last: false },
  };
}

/** The paths of every file that is opened, listed, written, moved or removed from now on. */
function watchFiles() {
  const seen: string[] = [];
  const originals: [Record<string, unknown>, string, unknown][] = [];
  const names = [
    'open',
    'openSync',
    'readFile',
    'readFileSync',
    'readdir',
    'readdirSync',
    'writeFile',
    'writeFileSync',
  ];
  names.push('createReadStream', 'createWriteStream', 'rename', 'renameSync', 'rm', 'rmSync', 'unlink', 'unlinkSync');
  names.push('link', 'linkSync', 'symlink', 'copyFile', 'copyFileSync', 'mkdir', 'mkdirSync', 'truncate', 'chmod');
  for (const module of [fs, fs.promises] as unknown as Record<string, unknown>[])
    for (const name of names) {
      const original = module[name];
      if (typeof original !== 'function') continue;
      originals.push([module, name, original]);
      module[name] = function (this: unknown, ...args: unknown[]) {
        for (const arg of args.slice(0, 2)) if (typeof arg === 'string' && arg.startsWith('/')) seen.push(arg);
        return original.apply(this, args);
      };
    }
  syncBuiltinESMExports();
  return {
    opened: seen,
    restore: () => {
      for (const [module, name, original] of originals) module[name] = original;
      syncBuiltinESMExports();
    },
  };
}

const ROOTS = ['store', 'models/base', 'work'];
const isInside = (path: string) =>
  ROOTS.some((inside) => !relative(join(root, inside), resolve(path)).startsWith('..')) ||
  path.startsWith('/proc/') ||
  // Node reads its own modules when one is used for the first time.
  path.includes('/node_modules/');

async function filesOf(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) found.set(path, `${(await stat(path)).ino} ${await sha256File(path)}`);
  }
  return found;
}

// --- inputs -----------------------------------------------------------------------------------------------------------
type Edit = { at: number; kind: 'set' | 'delete' | 'add'; value: unknown };

const hostile = () =>
  fc.oneof(
    fc.constantFrom<unknown>(
      ...['steps', 'objects', 'tmp', 'jobs', 'audit', '..', '../outside', '../../outside/secret.txt', '/etc/passwd'],
      ...[
        'models/base',
        'constructor',
        '__proto__',
        'toString',
        'hasOwnProperty',
        '',
        ' ',
        '\u0000',
        'a/../b',
        '.hidden',
      ],
      ...['\u001b[2J', '\u202e', 'x'.repeat(100_000), 'base', 'link', 'local', 'file:///etc/passwd', '%2e%2e%2f'],
      ...[-1, 0, 1, 2 ** 31, 2 ** 53, 1e308, -0, 0.5, Number.NaN, Number.POSITIVE_INFINITY],
      ...[null, true, [], {}, [[]], { uri: '../outside' }, { path: '/etc' }, 'a'.repeat(64), '0'.repeat(64)],
    ),
    fc.nat({ max: 1000 }).map((at) => ({ pool: at })),
    fc.nat({ max: 1000 }).map((at) => ({ digest: at })),
    fc.jsonValue(),
  );

const edits: fc.Arbitrary<Edit[]> = fc.array(
  fc.record({ at: fc.nat(), kind: fc.constantFrom('set', 'set', 'set', 'delete', 'add'), value: hostile() }),
  { minLength: 1, maxLength: 3 },
) as fc.Arbitrary<Edit[]>;

/** A reference to something else in the store, or only its digest. */
function meant(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if ('pool' in value) return pool[(value.pool as number) % pool.length];
  if ('digest' in value) return (pool[(value.digest as number) % pool.length] as { sha256: string }).sha256;
  return value;
}

function edited(input: unknown, all: readonly Edit[]): unknown {
  const copy = structuredClone(input) as Record<string, unknown>;
  for (const { at, kind, value } of all) {
    const places: [Record<string, unknown>, string][] = [];
    const visit = (node: unknown) => {
      if (typeof node !== 'object' || node === null) return;
      for (const [name, child] of Object.entries(node)) {
        places.push([node as Record<string, unknown>, name]);
        visit(child);
      }
    };
    visit(copy);
    const [node, name] = places[at % Math.max(1, places.length)] ?? [copy, 'input'];
    if (kind === 'delete') delete node[name];
    else if (kind === 'set') node[name] = structuredClone(meant(value));
    else node[['uri', 'path', 'folder', 'key', 'id', 'constructor'][at % 6]!] = structuredClone(meant(value));
  }
  return copy;
}

// --- what holds -------------------------------------------------------------------------------------------------------
it('is asked with inputs that are valid before they are changed', async () => {
  const failed: string[] = [];
  for (const [name, input] of Object.entries(valid))
    await run(name, input).catch(({ type }) => failed.push(`${name} ${type}`));
  // There is no Python here, no history, and no candidate of the sampling.
  expect(failed.sort()).toEqual([
    'srlmAssemble artifact.damaged',
    'srlmExport run.unknown',
    'srlmFineTune python.missing',
    'srlmShard python.missing',
  ]);
});

it(`leaves everything where it is, and opens nothing else, whatever its input (${RUNS} inputs)`, async () => {
  const before = await filesOf(join(root, 'store'));
  const models = await filesOf(join(root, 'models'));
  const intact = async () => {
    const after = await filesOf(join(root, 'store'));
    // A job folder may be prepared anew.
    const moved = [...before].filter(([path, state]) => !path.includes('/jobs/') && after.get(path) !== state);
    expect(moved.map(([path]) => path)).toEqual([]);
    expect(await filesOf(join(root, 'models'))).toEqual(models);
  };
  let count = 0;
  let refused = 0;
  const input = fc.oneof(
    { weight: 9, arbitrary: edits.map((all) => ({ all, value: undefined as unknown })) },
    { weight: 1, arbitrary: fc.jsonValue().map((value) => ({ all: null, value: value as unknown })) },
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...Object.keys(valid)), input, async (name, { all, value }) => {
      opened.length = 0;
      const given = all ? edited(valid[name], all) : value;
      await run(name, given).catch((error: Error) => {
        refused++;
        expect(error.message).not.toContain(MARK);
      });
      expect(opened.filter((path) => !isInside(path))).toEqual([]);
      if (++count % CHECK_EVERY === 0) await intact();
    }),
    { numRuns: RUNS, seed: 10, endOnFailure: true },
  );
  await intact();
  expect(count).toBe(RUNS);
  expect(refused).toBeGreaterThan(RUNS / 2);
  const stored = await filesOf(join(root, 'store'));
  for (const path of stored.keys()) expect((await readFile(path)).includes(MARK), path).toBe(false);
}, 300_000);

it('is refused where no workflow asks for it', async () => {
  const alone = new MockActivityEnvironment(
    { workflowExecution: undefined as never, inWorkflow: false },
    { logger: quiet },
  );
  for (const [name, input] of Object.entries(valid))
    await expect(alone.run(activities[name]!, input as never), name).rejects.toThrow('no workflow has asked for it');
});

it('exports the run that asks for it, and no other', async () => {
  const other = { workflowId: 'other', firstRunId: WORKFLOW.runId, runId: WORKFLOW.runId, last: true };
  await expect(run('srlmExport', other)).rejects.toThrow('"run" exports itself only, not "other"');
});
