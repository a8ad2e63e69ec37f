/**
 * Records what a release leaves to the tests, in test/histories/VERSION (the version in package.json):
 *   npm run build && node scripts/record-histories.mjs
 * Histories, which test/replay replays against the code of every later commit, and the workflow bundle, on which
 * test/versions begins a run that later code has to end. Once for each release (docs/releasing.md): the folder of one
 * that is out stays as it is, because runs that began on it may still be under way.
 * It takes about two minutes: real runs of a tiny model, one left alone, one parked and retried, one aborted, one
 * repaired, one operated and its fork, and one that only samples. Names of this machine, its user and its folders are taken out.
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir, hostname, tmpdir, userInfo } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { createJiti } from 'jiti';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
const histories = join(root, 'test/histories', version);
const support = (name) => createJiti(import.meta.url).import(join(root, 'test/support', name));
const { Lab, labSpec } = await support('lab.ts');
const { startTeacher } = await support('teacher.ts');
const { freePorts } = await support('temporal-server.ts');

const [port] = await freePorts(1);
const lab = await Lab.open('record', {
  temporal: 'own',
  config: {
    heartbeatSeconds: 30,
    engines: {
      local: { kind: 'builtin', device: 'cpu', threads: 1 },
      teacher: { kind: 'openai', baseUrl: `http://127.0.0.1:${port}/v1`, model: 'teacher' },
    },
  },
});
try {
  await mkdir(histories, { recursive: true });
  const bundle = await bundleToKeep();
  await writeFile(join(histories, 'workflow-bundle.js.gz'), bundle);
  console.log(`${version}/workflow-bundle.js.gz: ${bundle.length} bytes`);
  const small = { sampling: { k: 2, maxTokens: 24, chunkSize: 8 } };
  const parked = (runId, step) => lab.status(runId, `${step} is parked`, (status) => status.parked?.step === step);
  const away = (path) => rename(path, `${path}-away`);
  const back = (path) => rename(`${path}-away`, path);

  // All steps there are: some rationales are missing, and the selector wants both scores.
  const data = join(lab.folder, 'train.jsonl');
  const rows = (await readFile(data, 'utf8'))
    .trim()
    .split('\n')
    .map((row) => JSON.parse(row));
  const some = rows.map(({ rationale, ...row }, i) => (i % 8 === 0 ? row : { ...row, rationale }));
  await writeFile(data, some.map((row) => `${JSON.stringify(row)}\n`).join(''));
  await lab.finish(await lab.start(labSpec({ ...small, selection: { selector: 'vote' } }), 'whole'));
  await record('run', 'whole');
  await record('round-0', 'whole.round-0');
  await record('round-1', 'whole.round-1');

  // The same again, with a chunk of its candidates altered and the step that reads them undone.
  const [decisions] = (await lab.records('select')).map(({ output }) => output.decisions);
  await rm((await lab.chunkPaths(decisions))[0]);
  const candidates = (await lab.records('sample')).find(({ inputs }) => inputs.purpose === 'enrich').output;
  const [chunk] = await lab.chunkPaths(candidates);
  await writeFile(chunk, (await readFile(chunk, 'utf8')).replace('"k":0', '"k":1'));
  await lab.finish(await lab.start(labSpec({ ...small, selection: { selector: 'vote' } }), 'repaired'));
  await record('run-repaired', 'repaired');

  const bare = (seed) => labSpec({ ...small, rounds: 0, evaluation: 'none', seed });
  await lab.killWorker();
  await lab.start(bare(1), 'parked');
  await away(join(lab.folder, 'models/tiny'));
  await lab.startWorker();
  await parked('parked', 'prepare');
  await back(join(lab.folder, 'models/tiny'));
  await away(lab.python);
  await lab.client.retry('parked', 'the model is back');
  await parked('parked', 'fineTune');
  await back(lab.python);
  await lab.client.retry('parked', 'python is back');
  await lab.finish('parked');
  await record('run-parked', 'parked');
  await record('round-parked', 'parked.round-0');

  await away(lab.python);
  await lab.start(bare(2), 'aborted');
  await parked('aborted', 'fineTune');
  await lab.client.abort('aborted', 'not wanted');
  await back(lab.python);
  await record('run-aborted', 'aborted');
  await record('round-aborted', 'aborted.round-0');

  // What operators do to a run under way: approvals, other settings, a pause, a round rejected; and a fork of it.
  const waits = (approval, round) =>
    lab.status(
      'operated',
      `it waits for ${approval} of round ${round}`,
      ({ waiting }) => waiting?.approval === approval && waiting.round === round,
    );
  await lab.start(labSpec({ ...small, seed: 3, approvals: ['before-train', 'after-round'] }), 'operated');
  await waits('before-train', 0);
  await lab.client.approve('operated', 'as it should be');
  await waits('after-round', 0);
  await lab.client.set('operated', { 'training.epochs': 2 }, { fromRound: 1, why: 'it learns quickly' });
  await lab.client.approve('operated');
  await waits('before-train', 1);
  await lab.client.pause('operated', 'the machine is wanted');
  await lab.client.approve('operated');
  await lab.status('operated', 'it is paused', ({ state }) => state === 'paused');
  await lab.client.resume('operated');
  await waits('after-round', 1);
  await lab.client.reject('operated', 'it rambles');
  await lab.finish('operated');
  await record('run-operated', 'operated');
  await record('round-operated', 'operated.round-1');
  const forked = { fromRound: 1, set: { 'selection.selector': 'length', approvals: [] }, id: 'forked' };
  await lab.client.fork('operated', forked);
  for (const approval of ['before-train', 'after-round']) {
    await lab.status(
      'forked',
      `it waits for ${approval}, as its parent did`,
      ({ waiting }) => waiting?.approval === approval,
    );
    await lab.client.approve('forked');
  }
  await lab.finish('forked');
  await record('run-forked', 'forked');

  const teacher = await startTeacher(port);
  const sample = { engine: 'teacher', data: { path: 'questions.jsonl' }, sampling: { k: 2, chunkSize: 2 } };
  await lab.client.startSample(sample, { folder: lab.folder, id: 'sample' });
  await lab.status('sample', 'sampling has ended', ({ endedAt }) => endedAt);
  teacher.close();
  await record('sample', 'sample');
} finally {
  await lab.close();
}
process.exit(0);

/** Without its source map, which is most of it; a worker wants one, so it gets an empty one. */
async function bundleToKeep() {
  const code = await readFile(join(root, 'dist/workflow-bundle.js'), 'utf8');
  const map = Buffer.from(JSON.stringify({ version: 3, sources: [], names: [], mappings: '' })).toString('base64');
  const comment = `//# sourceMappingURL=data:application/json;base64,${map}\n`;
  return gzipSync(code.slice(0, code.lastIndexOf('//# sourceMappingURL=')) + comment, { level: 9 });
}

async function record(name, workflowId) {
  const history = JSON.parse(historyToJSON(await lab.client.temporal.workflow.getHandle(workflowId).fetchHistory()));
  const scrubbed = scrub(history);
  const text = JSON.stringify({ workflowId, history: scrubbed });
  for (const [secret] of secrets()) {
    if ([text, ...decoded(scrubbed)].some((part) => secret.test(part))) {
      throw new Error(`${name} still holds ${secret}`);
    }
  }
  await writeFile(join(histories, `${name}.json`), `${text}\n`);
  console.log(`${version}/${name}.json: ${scrubbed.events.length} events, ${text.length} bytes`);
}

/** What this machine is called here, longest first, and what it is called there. Whole names only: `vm` is one. */
function secrets() {
  const whole = (name) => new RegExp(`(?<!\\w)${name.replace(/[^\w/]/g, '\\$&')}(?!\\w)`, 'g');
  return [
    [whole(lab.folder), '/srlm-lab'],
    [whole(basename(lab.folder)), 'srlm-lab'],
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
