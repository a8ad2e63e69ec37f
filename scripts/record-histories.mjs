/**
 * Records what a release leaves for the tests, in test/histories/VERSION (the version in package.json):
 *   npm run build && node scripts/record-histories.mjs      SRLM_HISTORIES_DIR=DIR: in DIR/VERSION instead
 * Histories, which test/replay replays against the code of every later commit, and the workflow bundle, with which
 * test/versions begins a run that later code has to end. Once for each release (docs/releasing.md): the folder of a
 * version that is out is never recorded again, because runs that began with it may still be running.
 * Real runs of a tiny model: one of all steps (whole), the same after damage (repaired), one that parks and is retried,
 * one aborted, one cancelled, one with the commands of operators, its fork, one that uses its budget up, and one that
 * only samples. RUN-N.json is execution N of a run. Names of this machine, its user and its folders are replaced.
 * Takes about four minutes.
 */
import { mkdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { homedir, hostname, tmpdir, userInfo } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { createJiti } from 'jiti';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
const histories = join(resolve(process.env.SRLM_HISTORIES_DIR ?? join(root, 'test/histories')), version);
const support = (name) => createJiti(import.meta.url).import(join(root, 'test/support', name));
const { Harness, harnessSpec } = await support('harness.ts');
const { executionsOf } = await support('executions.ts');
const { startTeacher } = await support('teacher.ts');
const { freePorts } = await support('temporal-server.ts');

const [port] = await freePorts(1);
const harness = await Harness.open('record', {
  temporal: 'own',
  config: {
    heartbeatSeconds: 30,
    engines: {
      local: { kind: 'builtin', device: 'cpu', threads: 1 },
      teacher: { kind: 'endpoint', baseUrl: `http://127.0.0.1:${port}/v1`, model: 'teacher' },
    },
  },
});
const { client, folder } = harness;
// Where stack traces say that packages are; it may be a link.
const packages = await realpath(join(root, 'node_modules'));
const small = { sampling: { k: 2, maxTokens: 24, chunkSize: 8 } };
const bare = (seed) => harnessSpec({ ...small, rounds: 0, evaluation: 'none', seed });
const bothScores = () => harnessSpec({ ...small, selection: { selector: 'rank-sum' } });
const parksAt = (runId, step) =>
  harness.status(runId, `${step} is parked`, ({ halt }) => halt?.kind === 'parked' && halt.step === step);
const away = (path) => rename(path, `${path}-away`);
const back = (path) => rename(`${path}-away`, path);

try {
  await rm(histories, { recursive: true, force: true });
  await mkdir(histories, { recursive: true });
  const bundle = await bundleToKeep();
  await writeFile(join(histories, 'workflow-bundle.js.gz'), bundle);
  console.log(`${version}/workflow-bundle.js.gz: ${bundle.length} bytes`);
  await whole();
  await repaired();
  await parked();
  await aborted();
  await cancelled();
  await operated();
  await forked();
  await budget();
  await sample();
} finally {
  await harness.close();
}
process.exit(0);

// --- the runs -------------------------------------------------------------------------------------------------------

/** All steps: some rationales are missing, and the selector needs both scores. */
async function whole() {
  const data = join(folder, 'train.jsonl');
  const rows = (await readFile(data, 'utf8')).trim().split('\n');
  const some = rows.map((row, i) => {
    const { rationale, ...rest } = JSON.parse(row);
    return JSON.stringify(i % 8 === 0 ? rest : { ...rest, rationale });
  });
  await writeFile(data, `${some.join('\n')}\n`);
  await harness.finish(await harness.start(bothScores(), 'whole'));
  await record('whole');
}

/** The same again, with a chunk of its candidates altered, and the step that reads them undone. */
async function repaired() {
  const [{ output: parsed }] = await harness.records('parse');
  await rm((await harness.chunkPaths(parsed))[0]);
  const samples = await harness.records('sample');
  const { output: candidates } = samples.find(({ inputs }) => inputs.recipe.purpose === 'enrich');
  const [chunk] = await harness.chunkPaths(candidates);
  await writeFile(chunk, (await readFile(chunk, 'utf8')).replace('"k":0', '"k":1'));
  await harness.finish(await harness.start(bothScores(), 'repaired'));
  await record('repaired');
}

async function parked() {
  await harness.killWorker();
  await harness.start(bare(1), 'parked');
  await away(join(folder, 'models/tiny'));
  await harness.startWorker();
  await parksAt('parked', 'prepare');
  await back(join(folder, 'models/tiny'));
  await away(harness.python);
  await client.send('parked', 'retry', { why: 'the model is back' });
  await parksAt('parked', 'fineTune');
  await back(harness.python);
  await client.send('parked', 'retry', { why: 'python is back' });
  await harness.finish('parked');
  await record('parked');
}

async function aborted() {
  await away(harness.python);
  await harness.start(bare(2), 'aborted');
  await parksAt('aborted', 'fineTune');
  await client.abort('aborted', 'not wanted');
  await back(harness.python);
  await record('aborted');
}

/** By Temporal itself, while it trains. */
async function cancelled() {
  await harness.start(bare(4), 'cancelled');
  await harness.trainerAt(1);
  await client.temporal.workflow.getHandle('cancelled').cancel();
  await harness.status('cancelled', 'it is cancelled', ({ endedAt }) => endedAt);
  await record('cancelled');
}

/** Approvals, other settings, a pause, a round rejected, another promoted. */
async function operated() {
  const waits = (approval, round) =>
    harness.status(
      'operated',
      `it waits for ${approval} of round ${round}`,
      ({ halt }) => halt?.kind === 'waiting' && halt.approval === approval && halt.round === round,
    );
  const approvals = ['before-train', 'after-round'];
  await harness.start(harnessSpec({ ...small, rounds: 2, seed: 3, approvals }), 'operated');
  await waits('before-train', 0);
  await client.send('operated', 'approve', { why: 'as it should be' });
  await waits('after-round', 0);
  await client.send('operated', 'set', { set: { 'training.epochs': 2 }, fromRound: 1, why: 'it learns quickly' });
  await client.send('operated', 'approve', {});
  await waits('before-train', 1);
  await client.send('operated', 'promote', { round: 0, why: 'the best one' });
  await client.send('operated', 'pause', { why: 'the machine is needed' });
  await client.send('operated', 'approve', {});
  await harness.status('operated', 'it is paused', ({ state }) => state === 'paused');
  await client.send('operated', 'resume', {});
  await waits('after-round', 1);
  await client.send('operated', 'reject', { why: 'it rambles' });
  await waits('before-train', 2);
  await client.send('operated', 'set', { set: { approvals: [] } });
  await client.send('operated', 'approve', {});
  await harness.finish('operated');
  await record('operated');
}

async function forked() {
  const set = { 'selection.selector': 'length', approvals: [] };
  await client.fork('operated', { fromRound: 1, set, id: 'forked' });
  await harness.finish('forked');
  await record('forked');
}

/** Used up in the first training; raised, and used up again while round 1 samples. */
async function budget() {
  await harness.start(harnessSpec({ ...small, seed: 5, budget: { tokens: 500 } }), 'budget');
  for (const add of [1000, 1_000_000_000]) {
    const { halt, usage } = await harness.status('budget', 'its budget is used up', ({ halt }) => halt);
    if (halt.type !== 'budget.spent') throw new Error(halt.message);
    await client.send('budget', 'set', { set: { 'budget.tokens': Math.ceil(usage.tokens) + add } });
  }
  await harness.finish('budget');
  await record('budget');
}

async function sample() {
  const teacher = await startTeacher(port);
  const spec = { engine: 'teacher', data: { path: 'questions.jsonl' }, sampling: { k: 2, chunkSize: 2 } };
  await client.startSample(spec, { folder, id: 'sample' });
  await harness.status('sample', 'sampling has ended', ({ endedAt }) => endedAt);
  teacher.close();
  await record('sample');
}

// --- what is kept ---------------------------------------------------------------------------------------------------

/** Without its source map, which is most of it; a worker needs one, so it gets an empty one. */
async function bundleToKeep() {
  const code = await readFile(join(root, 'dist/workflow-bundle.js'), 'utf8');
  const map = Buffer.from(JSON.stringify({ version: 3, sources: [], names: [], mappings: '' })).toString('base64');
  const comment = `//# sourceMappingURL=data:application/json;base64,${map}\n`;
  return gzipSync(code.slice(0, code.lastIndexOf('//# sourceMappingURL=')) + comment, { level: 9 });
}

/** Every execution of a run, which has ended. */
async function record(workflowId) {
  for (const [i, { history }] of (await executionsOf(client.temporal, workflowId)).entries()) {
    const name = `${workflowId}-${i + 1}`;
    const scrubbed = scrub(JSON.parse(historyToJSON(history)));
    const text = JSON.stringify({ workflowId, history: scrubbed });
    for (const [secret] of secrets()) {
      if ([text, ...decoded(scrubbed)].some((part) => secret.test(part)))
        throw new Error(`${name} still holds ${secret}`);
    }
    await writeFile(join(histories, `${name}.json`), `${text}\n`);
    console.log(`${version}/${name}.json: ${scrubbed.events.length} events, ${text.length} bytes`);
  }
}

/** What this machine is called, longest first, and what to write instead. Whole names only: `vm` may be one. */
function secrets() {
  const whole = (name) => new RegExp(`(?<!\\w)${name.replace(/[^\w/]/g, '\\$&')}(?!\\w)`, 'g');
  return [
    [whole(folder), '/srlm-harness'],
    [whole(basename(folder)), 'srlm-harness'],
    [whole(packages), '/srlm/node_modules'],
    [whole(root), '/srlm'],
    [whole(homedir()), '/home/recorder'],
    [whole(hostname()), 'recorder'],
    [whole(tmpdir()), '/scratch'],
  ];
}

function scrub(value) {
  if (typeof value === 'string') {
    let text = value;
    for (const [word, neutral] of secrets()) text = text.replace(word, neutral);
    return text.replace(/\b\d+@recorder/g, '1@recorder');
  }
  if (Array.isArray(value)) return value.map(scrub);
  if (value === null || typeof value !== 'object') return value;
  if (isPayload(value)) {
    const text = scrub(Buffer.from(value.data, 'base64').toString()).replaceAll(
      `"who":"${userInfo().username}@recorder"`,
      '"who":"recorder"',
    );
    return { ...value, data: Buffer.from(text).toString('base64') };
  }
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [scrub(key), scrub(inner)]));
}

function decoded(value) {
  if (value === null || typeof value !== 'object') return [];
  if (isPayload(value)) return [Buffer.from(value.data, 'base64').toString()];
  return Object.values(value).flatMap(decoded);
}

/** JSON: nothing of ours is binary. */
function isPayload(value) {
  return typeof value.data === 'string' && typeof value.metadata?.encoding === 'string';
}
