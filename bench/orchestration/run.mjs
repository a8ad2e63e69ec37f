/**
 * What does durability cost? 2,000 prompts x 4 samples from a stub of an OpenAI server with 20 ms latency, 64 in flight:
 * the product (Temporal's dev server, a worker, chunks in the store) against the bare `openai` client, which writes the
 * same rows to a JSONL file. The two take turns, several times; the rows of both must be the same.
 *   node bench/orchestration/run.mjs [--runs 5] [--prompts 2000] [--latency-ms 20] [--cpu-prof FOLDER]
 * requests/s: from the first request to the last answer, as the stub saw them. `whole`: from the call to the result,
 * which for the product adds ingest, assembly and export. Prints a table, then one JSON line; asserts no time.
 */
import { fork, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { rowSeed } from '../../dist/method/random.js';
import { start } from './durable.mjs';

const CONCURRENCY = 64;
const here = (name) => fileURLToPath(new URL(name, import.meta.url));

export async function orchestration({ runs = 5, count = 2000, latencyMs = 20, profile = null } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'srlm-orchestration-'));
  const stub = spawn(process.execPath, [here('stub-server.mjs'), '--latency-ms', String(latencyMs)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const bare = fork(here('bare.mjs'));
  const origin = `http://127.0.0.1:${String((await once(stub.stdout, 'data'))[0]).trim()}`;
  const baseUrl = `${origin}/v1`;
  const data = join(folder, 'prompts.jsonl');
  const prompts = Array.from({ length: count }, (_, i) => ({ id: `p${i}`, instruction: promptOf(i) }));
  writeFileSync(data, prompts.map((prompt) => `${JSON.stringify(prompt)}\n`).join(''));
  const sampling = { k: 4, temperature: 0.7, topP: 1, maxTokens: 128 };
  const nodeArgs = profile ? ['--cpu-prof', '--cpu-prof-dir', profile] : [];
  let durable = null;
  const counted = async ({ seconds, files }) => {
    const seen = await (await fetch(`${origin}/count`)).json();
    if (seen.requests !== count) throw new Error(`${seen.requests} requests instead of ${count}`);
    return { perSecond: count / seen.seconds, whole: count / seconds, rows: digestOf(files) };
  };
  const ours = [];
  const yardstick = [];
  try {
    durable = await start({ folder: join(folder, 'durable'), baseUrl, concurrency: CONCURRENCY, nodeArgs });
    for (let seed = 0; seed < runs; seed++) {
      const out = join(folder, `bare-${seed}.jsonl`);
      const seeded = prompts.map((prompt) => ({ ...prompt, seed: rowSeed(seed, 0, 'prompt', prompt.id) }));
      bare.send({ baseUrl, prompts: seeded, sampling, concurrency: CONCURRENCY, out });
      const [{ seconds }] = await once(bare, 'message');
      yardstick.push(await counted({ seconds, files: [out] }));
      ours.push(await counted(await durable.sample({ data: { path: data }, sampling, seed })));
      if (ours.at(-1).rows !== yardstick.at(-1).rows) throw new Error('the rows differ from those of the bare client');
    }
    return {
      prompts: count,
      runs,
      ours: summary(ours.map(({ perSecond }) => perSecond)),
      bare: summary(yardstick.map(({ perSecond }) => perSecond)),
      oursWhole: summary(ours.map(({ whole }) => whole)),
      bareWhole: summary(yardstick.map(({ whole }) => whole)),
      ratio: median(ours.map(({ perSecond }, i) => perSecond / yardstick[i].perSecond)),
      ratioWhole: median(ours.map(({ whole }, i) => whole / yardstick[i].whole)),
      workerPeakBytes: durable.peakBytes(),
    };
  } finally {
    bare.kill();
    await durable?.close();
    stub.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

const promptOf = (i) =>
  `Question ${i}: a baker makes ${i % 97} loaves a day and sells ${i % 13} of them for ${i % 7} each. How much is that in a week?`;

/** Digest of all rows, whatever their order. */
function digestOf(files) {
  const rows = files
    .flatMap((file) => readFileSync(file, 'utf8').trimEnd().split('\n'))
    .map((line) => JSON.stringify(Object.entries(JSON.parse(line)).sort()));
  return `${rows.length} ${createHash('sha256').update(rows.sort().join('\n')).digest('hex')}`;
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const summary = (values) => ({ median: median(values), min: Math.min(...values), max: Math.max(...values) });

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '5' },
      prompts: { type: 'string', default: '2000' },
      'latency-ms': { type: 'string', default: '20' },
      'cpu-prof': { type: 'string' },
    },
  });
  const result = await orchestration({
    runs: Number(values.runs),
    count: Number(values.prompts),
    latencyMs: Number(values['latency-ms']),
    profile: values['cpu-prof'] ?? null,
  });
  const line = (name, { median, min, max }) =>
    console.log(`${name.padEnd(28)} ${median.toFixed(0).padStart(6)}   ${min.toFixed(0)}-${max.toFixed(0)}`);
  console.log(`${result.prompts} prompts x 4, ${result.runs} runs        median   range, requests/s`);
  line('bare openai client', result.bare);
  line('durable', result.ours);
  line('bare, whole', result.bareWhole);
  line('durable, whole', result.oursWhole);
  const memory = result.workerPeakBytes === null ? 'unknown' : `${(result.workerPeakBytes / 2 ** 20).toFixed(0)} MB`;
  console.log(
    `ratio ${result.ratio.toFixed(2)} (whole ${result.ratioWhole.toFixed(2)}), worker's peak memory ${memory}`,
  );
  console.log(JSON.stringify(result));
}
