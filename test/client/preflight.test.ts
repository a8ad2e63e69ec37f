/** Checks before a start: each file is read once, and what the run will need is in the store afterwards. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fileWriter } from '../../client/cli/output-file.js';
import { sampleLines } from '../../client/cli/start.js';
import { checkRun, checkSample } from '../../client/preflight.js';
import { resolveDeployment } from '../../config/load.js';
import type { Candidate } from '../../contracts/rows.js';
import { EvaluationSets } from '../../contracts/set-steps.js';
import { RunSpec, SampleSpec, SpecTexts } from '../../contracts/spec.js';
import { openStore } from '../../storage/store.js';
import { python } from '../support/python.js';

let folder: string;
const jsonl = (...rows: object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
/** The model of these tests is made up, and a client without Python leaves it to the worker to try it out. */
const deployment = (interpreter = '/no/such/python') =>
  resolveDeployment({ engines: ENGINES, python: interpreter }, folder);
const ENGINES = {
  local: { kind: 'builtin' },
  teacher: { kind: 'endpoint', baseUrl: 'http://127.0.0.1:1/v1', model: 'x' },
} as const;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'srlm-preflight-'));
  mkdirSync(join(folder, 'models/good'), { recursive: true });
  for (const name of ['config.json', 'model.safetensors', 'tokenizer.json', 'chat_template.jinja'])
    writeFileSync(join(folder, 'models/good', name), name.endsWith('.json') ? '{}' : 'x');
  writeFileSync(join(folder, 'data.jsonl'), jsonl({ instruction: 'One?', rationale: 'r', answer: '1' }));
  writeFileSync(
    join(folder, 'questions.jsonl'),
    jsonl({ question: ' one? ', answer: '1' }, { question: 'Two?', answer: '2' }),
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const LEAK = 'questions.jsonl: 1 of 2 evaluation questions is also in the training data, and not counted.';

const spec = (more: object = {}) =>
  RunSpec.parse({
    ...{ name: 'lab', model: { path: 'good' }, data: { path: 'data.jsonl' }, catalysts: 'none', rounds: 0 },
    evaluation: { path: 'questions.jsonl' },
    ...more,
  });

it('stores the files and their rows, and names them in the input of the run', async () => {
  const { runId, input, warnings } = await checkRun(spec(), deployment(), folder);
  expect(runId).toMatch(/^lab-\d{8}-\d{6}-[0-9a-f]{4}$/);
  expect(warnings).toEqual([LEAK]);
  const { objects } = openStore(deployment());
  expect(await objects.has('file', input.data)).toBe(true);
  expect(await objects.has('file', input.evaluation!)).toBe(true);
  expect(await objects.readJson(input.texts, SpecTexts)).toMatchObject({ model: 'good', data: { path: 'data.jsonl' } });
  expect(input).toMatchObject({ version: 2, catalysts: null, fork: null, settings: { name: 'lab', rounds: 0 } });
});

/** What an evaluation draws, unless the spec says more. */
const DRAWN = { samples: 1, enrich: 0, temperature: 0.7 };

it('says how many texts curves take', async () => {
  const evaluation = { path: 'questions.jsonl', samples: 64, enrich: 1 };
  const warningsOf = async (more: object) => (await checkRun(spec(more), deployment(), folder)).warnings;
  expect(await warningsOf({ evaluation, rounds: 2 })).toContain(
    'evaluation: samples 64 and enrich 1 take 384 more texts a round, 1,152 in all rounds; without them a round takes 2.',
  );
  expect(await warningsOf({ evaluation: { ...evaluation, samples: 1 } })).toContain(
    'evaluation: samples 1 and enrich 1 take 4 more texts a round; without them a round takes 2.',
  );
});

it('tries the model out', async () => {
  const refused =
    /models\/good: reading the headers of its weights fails|model\.safetensors is damaged: .*\[model\.unusable\]$/;
  await expect(checkRun(spec(), deployment(python), folder)).rejects.toThrow(refused);
  const sample = SampleSpec.parse({ data: { path: 'data.jsonl' }, model: { path: 'good' } });
  await expect(checkSample(sample, deployment(python), folder)).rejects.toThrow(refused);
}, 120_000);

it('finds what is wrong between two files also when both were stored before', async () => {
  await checkRun(spec(), deployment(), folder);
  await expect(checkRun(spec({ strict: true }), deployment(), folder)).rejects.toThrow(LEAK);
});

it('stores the files of further sets, and which of their questions are in the training data', async () => {
  const choices = jsonl({ question: 'Three?', choices: ['2', '3'], answer: '3' }, { question: 'ONE?', answer: '1' });
  writeFileSync(join(folder, 'mixed.jsonl'), choices);
  writeFileSync(join(folder, 'choices.jsonl'), choices.split('\n')[0]!);
  const sets = (others: object, more: object = {}) =>
    checkRun(spec({ evaluation: { path: 'questions.jsonl', others }, ...more }), deployment(), folder);
  const { input, warnings } = await sets({
    mixed: { path: 'mixed.jsonl', limit: 2 },
    mc: { path: 'choices.jsonl', kind: 'choice-likelihood', watch: true },
  });
  expect(warnings).toEqual([LEAK, LEAK.replace('questions.jsonl', 'mixed.jsonl')]);
  const { objects } = openStore(deployment());
  const stored = await objects.readJson(input.sets!, EvaluationSets);
  expect(input.sets!.others).toBe(2);
  expect(Object.keys(stored.files)).toEqual(['mc', 'mixed']);
  expect(Object.values(stored.leftOut).map((ids) => ids.length)).toEqual([1, 1]);
  expect(await objects.has('file', stored.files.mc!)).toBe(true);
  const { others } = await objects.readJson(input.texts, SpecTexts);
  expect(others).toMatchObject({ mixed: { limit: 2, chunkSize: 64 }, mc: { kind: 'choice-likelihood', watch: true } });
  // The settings stay small, whatever the sets are.
  expect(input.settings.evaluation).toEqual({ ...DRAWN, maxTokens: 512, chunkSize: 64 });
  await expect(sets({ mixed: { path: 'mixed.jsonl' } }, { strict: true })).rejects.toThrow(LEAK.slice(0, 15));
  for (const [kind, why] of [
    ['choice', 'has no choices, which evaluation.others.x.kind: choice needs'],
    ['exact', 'has choices, which evaluation.others.x.kind: exact does not grade'],
  ])
    await expect(sets({ x: { path: 'mixed.jsonl', kind } })).rejects.toThrow(why);
  writeFileSync(join(folder, 'wrong.jsonl'), jsonl({ question: 'Four?', choices: ['2', '3'], answer: '4' }));
  await expect(sets({ x: { path: 'wrong.jsonl' } })).rejects.toThrow(
    /^wrong\.jsonl:1 answer: expected one of the 2 choices.* evaluation\.others\.x\.skipInvalid: true\. \[data\.invalid\]$/,
  );
  writeFileSync(join(folder, 'known.jsonl'), jsonl({ question: 'One?', answer: '1' }));
  const known = await sets({ x: { path: 'known.jsonl' } });
  expect(known.warnings[1]).toBe(
    'known.jsonl: all 1 evaluation questions are also in the training data, and counted: the score says how well they were learned.',
  );
  expect((await objects.readJson(known.input.sets!, EvaluationSets)).leftOut).not.toHaveProperty('x');
});

it('says which fields are not used, and which rows are left out, each time', async () => {
  const more = { instruction: 'Two?', answer: '2', source: 'x', level: 1 };
  writeFileSync(join(folder, 'more.jsonl'), jsonl({ ...more, answer: '' }, more, { ...more, answer: ['2'] }));
  const only = { evaluation: 'none', data: { path: 'more.jsonl', skipInvalid: true } };
  for (let time = 0; time < 2; time++) {
    const { input, warnings } = await checkRun(spec(only), deployment(), folder);
    expect(warnings.slice(0, 2)).toEqual([
      'more.jsonl: 2 rows are left out: answer: expected text, found "" (1); answer: expected text (1).',
      'more.jsonl: the fields source, level are not used.',
    ]);
    // Workflow code decides nothing by it, and settings are small.
    expect(input.settings.data).toEqual({});
  }
  await expect(checkRun(spec({ ...only, strict: true }), deployment(), folder)).rejects.toThrow(
    'more.jsonl: the fields source, level are not used. Map them under fields, remove them, or set strict: false to get a warning only. [data.unusable]',
  );
  await expect(checkRun(spec({ ...only, data: { path: 'more.jsonl' } }), deployment(), folder)).rejects.toThrow(
    'more.jsonl:1 answer: expected text, found "". Fix the row. Or leave such rows out with data.skipInvalid: true. [data.invalid]',
  );
});

it.each([
  [{ engine: 'local' }, 'model: engine local loads weights, and no model is named. [model.unusable]'],
  [
    { engine: 'teacher', model: { path: 'good' } },
    'Engine "teacher" cannot load new weights, which model needs. Choose another engine in the spec or in temporal.config.ts. [engine.lacks]',
  ],
])('refuses a sampling by %j', async (more, message) => {
  const sample = SampleSpec.parse({ data: { path: 'data.jsonl' }, ...more });
  await expect(checkSample(sample, deployment(), folder)).rejects.toThrow(message);
});

it('says whether a sampling loads a model', async () => {
  const teacher = SampleSpec.parse({ data: { path: 'data.jsonl' }, engine: 'teacher' });
  expect((await checkSample(teacher, deployment(), folder, 'mine')).input.loadsModel).toBe(false);
  const local = SampleSpec.parse({ data: { path: 'data.jsonl' }, model: { path: 'good' } });
  expect(await checkSample(local, deployment(), folder, 'mine')).toMatchObject({
    ...{ runId: 'mine', input: { loadsModel: true } },
  });
});

it('writes each text, or each prompt with its texts, or no file', async () => {
  const store = openStore(deployment());
  const text = (id: string, k: number): Candidate => ({
    id,
    k,
    text: `${id}${k}`,
    finish: 'stop',
    reason: null,
    tokens: 1,
    seed: k,
  });
  const put = async (...chunks: object[][]) =>
    store.datasets.put(await Promise.all(chunks.map((rows) => store.objects.putRows(rows))));
  const result = {
    prompts: await put([{ id: 'a', instruction: 'A' }], [{ id: 'b', instruction: 'B' }]),
    candidates: await put([text('a', 0), text('a', 1)], [text('b', 0)]),
  };
  const file = join(folder, 'out.jsonl');
  expect(await (await fileWriter(file))(sampleLines(store, result))).toBe(3);
  const line = (id: string, k: number) => ({ id, k, text: `${id}${k}`, finish: 'stop', tokens: 1, seed: k });
  expect(readFileSync(file, 'utf8')).toBe(jsonl(line('a', 0), line('a', 1), line('b', 0)));
  expect(await (await fileWriter(file))(sampleLines(store, result, true))).toBe(2);
  expect(readFileSync(file, 'utf8')).toBe(
    jsonl({ id: 'a', instruction: 'A', texts: ['a0', 'a1'] }, { id: 'b', instruction: 'B', texts: ['b0'] }),
  );
  await expect(fileWriter(folder)).rejects.toThrow('it is a folder. Name another file with --out. [file.not-writable]');
});
