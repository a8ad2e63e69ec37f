/**
 * One CPU step of a round on a generated table, in a process of its own, so that its peak memory is that of this step.
 *   node bench/select/work.mjs make|select|mix ROWS FOLDER     K = 8 candidates a row, an answer of 6 tokens
 * Prints {seconds, cpuSeconds, candidates, peakBytes}; the CPU's seconds are those of all threads.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { srlmMix } from '../../dist/activities/mix.js';
import { srlmSelect } from '../../dist/activities/select.js';
import { PromptTemplates, Selection } from '../../dist/contracts/spec.js';
import { openStore } from '../../dist/storage/store.js';

const K = 8;
const TOKENS = 6;
const ROWS_PER_CHUNK = 32;
const [what, size, folder] = process.argv.slice(2);
const rows = Number(size);
const store = openStore({ artifactRoot: join(folder, 'store'), modelRoots: [] });
const inputFile = join(folder, 'input.json');

const WORK = { make, select: () => step(srlmSelect), mix: () => step(srlmMix) };
const begun = performance.now();
const cpu = process.cpuUsage();
await WORK[what]();
const seconds = (performance.now() - begun) / 1000;
const used = process.cpuUsage(cpu);
const cpuSeconds = (used.user + used.system) / 1e6;
process.stdout.write(
  `${JSON.stringify({ seconds, cpuSeconds, candidates: rows * K, peakBytes: process.resourceUsage().maxRSS * 1024 })}\n`,
);

async function step(activity) {
  const input = JSON.parse(readFileSync(inputFile, 'utf8'));
  const environment = new MockActivityEnvironment({ workflowExecution: { workflowId: 'bench', runId: 'one' } });
  const run = activity({ store, draining: new AbortController().signal });
  if (activity === srlmSelect) {
    const { set } = (await environment.run(run, input.select)).output;
    writeFileSync(inputFile, JSON.stringify({ ...input, mix: { ...input.mix, data: set.dataset } }));
  } else await environment.run(run, input.mix);
}

/** Stores the rows, the candidates and the scores, as sampling and scoring leave them. */
async function make() {
  if (existsSync(inputFile)) return;
  const chunks = { data: [], candidates: [], 'off-policy': [], 'on-policy': [], alone: [] };
  for (let from = 0; from < rows; from += ROWS_PER_CHUNK) {
    const ids = Array.from({ length: Math.min(ROWS_PER_CHUNK, rows - from) }, (_, i) => `r${from + i}`);
    chunks.data.push(await store.objects.putRows(ids.map(exampleOf)));
    chunks.candidates.push(await store.objects.putRows(ids.flatMap(candidatesOf)));
    for (const model of ['off-policy', 'on-policy'])
      chunks[model].push(await store.objects.putRows(ids.flatMap((id) => scoresOf(id, model, -1, K))));
    chunks.alone.push(await store.objects.putRows(ids.flatMap((id) => scoresOf(id, 'alone', -2, -1))));
  }
  const put = (name) => store.datasets.put(chunks[name]);
  const prompts = PromptTemplates.parse({});
  const source = { path: 'a.jsonl', fields: {}, skipInvalid: false };
  const texts = await store.objects.putJson({
    ...{ prompts, system: null, prompt: null, model: 'm', data: source, catalysts: null, evaluation: null },
  });
  const data = await put('data');
  const alone = await put('alone');
  const select = {
    data,
    candidates: await put('candidates'),
    scores: { 'off-policy': await put('off-policy'), 'on-policy': await put('on-policy') },
    withoutRationale: { 'off-policy': alone, 'on-policy': alone },
    ...{ texts, enrichFrom: 'original', selection: Selection.parse({ selector: 'rank-sum' }), seed: 0, round: 1 },
  };
  writeFileSync(inputFile, JSON.stringify({ select, mix: { data, catalysts: null, copies: 1, use: 'enrich', texts } }));
}

/** A number from 0 to 1 that depends on the words alone. */
function draw(...words) {
  return createHash('sha256').update(words.join(' ')).digest().readUInt32BE() / 2 ** 32;
}

function exampleOf(id) {
  const sum = Array.from({ length: 6 }, (_, i) => Math.floor(draw(id, i) * 9) + 1);
  const instruction = `What is ${sum.join(' + ')}?`;
  const answer = String(sum.reduce((total, one) => total + one, 0));
  return { id, instruction, turns: null, original: 'Add them up.', rationale: 'Add them up.', answer, origin: null };
}

function candidatesOf(id) {
  return Array.from({ length: K }, (_, k) => {
    const steps = Array.from({ length: 3 + Math.floor(draw(id, k) * 6) }, (_, i) => `step ${i}: ${draw(id, k, i)}`);
    return { id, k, rationale: `Step by step: ${steps.join(', ')}.`, truncated: draw(id, k, 'cut') < 0.02 };
  });
}

function scoresOf(id, model, from, to) {
  return Array.from({ length: to - from }, (_, i) => {
    const logprobs = Array.from({ length: TOKENS }, (_, t) => -Math.round(draw(id, model, i, t) * 300) / 100);
    return { id, k: from + i, score: logprobs.reduce((sum, one) => sum + one, 0) / TOKENS, logprobs };
  });
}
