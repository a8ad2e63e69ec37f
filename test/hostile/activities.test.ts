/**
 * Whoever can start a workflow can give activities any input. 10,000 inputs, made from valid ones by one to three
 * changes, or of anything at all: nothing outside the roots is opened, and nothing that is in the store is moved,
 * overwritten or deleted. Every call of Node's file functions is watched.
 */
import fs from 'node:fs';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join, relative, resolve } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sha256File } from '../../storage/files.js';
import { type Hostile, hostileStore, MARK, quiet, WORKFLOW } from './store.js';

const RUNS = 10_000;
const CHECK_EVERY = 1000;

let root: string;
let hostile: Hostile;
let opened: string[];
let restore: () => void;

beforeAll(async () => {
  hostile = await hostileStore();
  ({ root } = hostile);
  ({ opened, restore } = watchFiles());
});

afterAll(async () => {
  restore?.();
  await rm(root, { recursive: true, force: true });
});

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

const values = () =>
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
  fc.record({ at: fc.nat(), kind: fc.constantFrom('set', 'set', 'set', 'delete', 'add'), value: values() }),
  { minLength: 1, maxLength: 3 },
) as fc.Arbitrary<Edit[]>;

/** A reference to something else in the store, or only its digest. */
function meant(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if ('pool' in value) return hostile.pool[(value.pool as number) % hostile.pool.length];
  if ('digest' in value)
    return (hostile.pool[(value.digest as number) % hostile.pool.length] as { sha256: string }).sha256;
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
  for (const [name, input] of Object.entries(hostile.valid))
    await hostile.run(name, input).catch(({ type }) => failed.push(`${name} ${type}`));
  // There is no Python here, no history, and no candidate of the sampling.
  expect(failed.sort()).toEqual([
    'srlmAssemble artifact.damaged',
    'srlmExport run.unknown',
    'srlmFineTune python.missing',
    'srlmPrepareModel python.missing',
    'srlmShard python.missing',
  ]);
});

it(`leaves everything where it is, and opens nothing else, whatever its input (${RUNS} inputs)`, async () => {
  const before = await filesOf(join(root, 'store'));
  const models = await filesOf(join(root, 'models'));
  const intact = async () => {
    const after = await filesOf(join(root, 'store'));
    // A job folder may be prepared again.
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
    fc.asyncProperty(fc.constantFrom(...Object.keys(hostile.valid)), input, async (name, { all, value }) => {
      opened.length = 0;
      const given = all ? edited(hostile.valid[name], all) : value;
      await hostile.run(name, given).catch((error: Error) => {
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
  for (const [name, input] of Object.entries(hostile.valid))
    await expect(alone.run(hostile.activities[name]!, input as never), name).rejects.toThrow(
      'no workflow has asked for it',
    );
});

it('exports the run that asks for it, and no other', async () => {
  const other = { workflowId: 'other', firstRunId: WORKFLOW.runId, runId: WORKFLOW.runId, last: true };
  await expect(hostile.run('srlmExport', other)).rejects.toThrow('"run" exports itself only, not "other"');
});
