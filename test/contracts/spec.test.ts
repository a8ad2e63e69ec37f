import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_OTHER_SETS } from '../../contracts/evaluation-sets.js';
import { jsonBytes, ModelPath } from '../../contracts/refs.js';
import {
  APPROVALS,
  joinRunSpec,
  joinSampleSpec,
  PromptTemplates,
  RunSettings,
  RunSpec,
  SampleSettings,
  SampleSpec,
  SELECTORS,
  SpecTexts,
  splitRunSpec,
  splitSampleSpec,
} from '../../contracts/spec.js';

/** Workflow code decides by settings, which are part of its input. */
const MAX_SETTINGS_BYTES = 2800;

const LONGEST_NAME = 'n'.repeat(64);
const MANY = Number.MAX_SAFE_INTEGER;
const LARGE = Number.MAX_VALUE;
const SMALL = 1.2345678901234568e-300;

const LARGEST = RunSpec.parse({
  ...{ name: LONGEST_NAME, engine: LONGEST_NAME, trainer: LONGEST_NAME, rationalizeEngine: LONGEST_NAME },
  ...{ seed: 2 ** 31 - 1, deterministic: false, strict: false, rounds: 100, enrichFrom: 'original' },
  model: { path: 'm'.repeat(1024) },
  data: { path: '"'.repeat(4096), limit: MANY, fields: { instruction: '語'.repeat(200) } },
  catalysts: { path: 'c', limit: MANY, copies: 1000, use: 'enrich' },
  evaluation: {
    ...{ path: 'e', limit: MANY, maxTokens: 32768, chunkSize: 1024, kind: 'choice' },
    others: Object.fromEntries(
      Array.from({ length: MAX_OTHER_SETS }, (_, i) => [
        `${'n'.repeat(19)}${i}`,
        { path: '語'.repeat(4096), limit: MANY, kind: 'choice-likelihood', watch: true, skipInvalid: true },
      ]),
    ),
  },
  prompts: { enrich: `{instruction}{rationale}${'x'.repeat(199_970)}` },
  sampling: { k: 64, temperature: SMALL, topP: SMALL, topK: MANY, maxTokens: 32768, chunkSize: 1024 },
  selection: { selector: 'off-policy', minChars: MANY, maxChars: MANY },
  training: {
    ...{ from: 'previous', method: 'full', epochs: SMALL, batchSize: 65536, microBatchSize: 65536 },
    lora: { r: 1024, alpha: LARGE, dropout: SMALL, targetModules: Array(16).fill('m'.repeat(40)) },
    ...{ learningRate: SMALL, schedule: 'constant', warmupRatio: SMALL, weightDecay: SMALL },
    ...{ adamBetas: [SMALL, SMALL], maxGradNorm: LARGE, maxLength: 1_000_000, precision: 'bf16-autocast' },
    checkpoint: { everySteps: MANY, everyMinutes: LARGE, keep: 20 },
  },
  gate: { tolerance: SMALL, confidence: 0.9999999999999999, patience: MANY },
  approvals: Array(3).fill('before-train'),
  budget: { tokens: MANY, gpuSeconds: LARGE, money: LARGE, hours: 999_999.1234567891 },
});

// --- any legal spec ---------------------------------------------------------------------------------------------------
const name = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,63}$/);
const share = fc.double({ min: 0, max: 0.89, noNaN: true });
const positive = fc.double({ min: 1e-9, max: LARGE, noNaN: true });
const count = fc.integer({ min: 1, max: MANY });
const anyText = fc.string({ unit: 'binary', maxLength: 30 });
const some = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) => fc.record(model, { requiredKeys: [] });
const source = {
  path: fc.string({ unit: 'binary', minLength: 1 }),
  fields: some({ id: name, instruction: name, input: name, rationale: name, answer: name, choices: name }),
  limit: fc.option(count, { nil: undefined }),
};
const sampling = {
  k: fc.integer({ min: 1, max: 64 }),
  temperature: fc.double({ min: 0, max: 2, noNaN: true }),
  topP: fc.double({ min: 0.001, max: 1, noNaN: true }),
  topK: fc.nat(),
  maxTokens: fc.integer({ min: 1, max: 32768 }),
  chunkSize: fc.integer({ min: 1, max: 1024 }),
};
const evaluation = { maxTokens: sampling.maxTokens, chunkSize: sampling.chunkSize };
const budget = some({
  tokens: count,
  gpuSeconds: positive,
  hours: fc.double({ min: SMALL, max: 1e6, noNaN: true }),
  money: positive,
});
const common = { name, seed: fc.nat(), deterministic: fc.boolean(), engine: name, budget };
const model = fc.record({ path: fc.string({ minLength: 1 }) });

const runSpecs = fc
  .tuple(
    fc.record({
      model,
      data: fc.record(source),
      catalysts: fc.oneof(
        fc.constant('none'),
        fc.record({ ...source, copies: fc.integer({ min: 1, max: 1000 }), use: fc.constantFrom('enrich', 'answer') }),
      ),
    }),
    some({
      ...common,
      strict: fc.boolean(),
      trainer: name,
      rationalizeEngine: name,
      prompts: some({
        answer: anyText.map((text) => `${text}{instruction}`),
        enrich: anyText.map((text) => `{rationale}{instruction}${text.replaceAll('{answer}', '')}`),
      }),
      rounds: fc.integer({ min: 0, max: 100 }),
      enrichFrom: fc.constantFrom('original', 'current'),
      sampling: some(sampling),
      selection: some({
        selector: fc.constantFrom(...SELECTORS, { own: 'mine' }),
        minChars: fc.nat(),
        maxChars: count,
      }).map((one) => ({ ...one, ...(one.selector === 'judge' ? { judge: { engine: 'teacher' } } : {}) })),
      training: some({
        from: fc.constantFrom('start', 'previous'),
        method: fc.constantFrom('full', 'lora'),
        lora: some({ r: fc.integer({ min: 1, max: 1024 }), alpha: positive, dropout: share }),
        batchSize: fc.integer({ min: 1, max: 65536 }),
        microBatchSize: fc.integer({ min: 1, max: 65536 }),
        warmupRatio: share,
        adamBetas: fc.tuple(share, share),
        checkpoint: some({ everySteps: count, keep: fc.integer({ min: 1, max: 20 }) }),
      }),
      evaluation: fc.oneof(fc.constant('none'), fc.record({ ...source, ...evaluation })),
      gate: some({ tolerance: share, patience: count }),
      approvals: fc.array(fc.constantFrom(...APPROVALS), { maxLength: 3 }),
    }),
  )
  .map(([needed, optional]) => RunSpec.parse({ ...optional, ...needed }));

const sampleSpecs = fc
  .tuple(
    fc.record({ data: fc.record(source) }),
    some({
      ...common,
      model,
      system: anyText,
      prompt: anyText.map((text) => `${text}{instruction}`),
      sampling: some({ ...sampling, stop: fc.array(fc.string({ minLength: 1, maxLength: 100 }), { maxLength: 4 }) }),
    }),
  )
  .map(([needed, optional]) => SampleSpec.parse({ ...optional, ...needed }));

/** As it travels in histories and in the store. */
const asJson = (value: unknown) => JSON.parse(JSON.stringify(value));

describe('a spec in two parts', () => {
  it('has settings of at most 2.8 KB, also the largest one', () => {
    const { settings, texts } = splitRunSpec(LARGEST);
    expect(jsonBytes(settings)).toBeLessThan(MAX_SETTINGS_BYTES);
    expect(jsonBytes(texts)).toBeGreaterThan(200_000);
    expect(joinRunSpec(settings, texts)).toEqual(LARGEST);
  });

  it('is the same spec again when the parts are joined', () =>
    fc.assert(
      fc.property(runSpecs, (spec) => {
        const { settings, texts } = splitRunSpec(spec);
        expect(jsonBytes(settings)).toBeLessThan(MAX_SETTINGS_BYTES);
        expect(joinRunSpec(RunSettings.parse(asJson(settings)), SpecTexts.parse(asJson(texts)))).toEqual(spec);
      }),
    ));

  it('is the same sample spec again when the parts are joined', () =>
    fc.assert(
      fc.property(sampleSpecs, (spec) => {
        const { settings, texts } = splitSampleSpec(spec);
        expect(jsonBytes(settings)).toBeLessThan(MAX_SETTINGS_BYTES);
        expect(joinSampleSpec(SampleSettings.parse(asJson(settings)), SpecTexts.parse(asJson(texts)))).toEqual(spec);
      }),
    ));

  it('has no text among its settings: names, numbers and choices only', () =>
    fc.assert(
      fc.property(runSpecs, anyText, (spec, text) => {
        const marked = `${text}{instruction}<mark>`;
        const prompts = PromptTemplates.parse({ answer: marked });
        const data = { ...spec.data, path: marked, fields: { id: marked } };
        const { settings } = splitRunSpec({ ...spec, prompts, data, model: { path: marked } });
        expect(JSON.stringify(settings)).not.toContain('<mark>');
      }),
    ));
});

it('the path of a model stays below its root', () => {
  const isPath = (path: string) => ModelPath.safeParse(path).success;
  expect(['qwen', 'org/model-1.5', 'a b/c'].map(isPath)).toEqual([true, true, true]);
  const outside = ['', '/etc', '../x', 'a/../b', 'a//b', 'a/', '.hidden', 'a/.git', 'a\\b', 'a\nb', 'x'.repeat(201)];
  expect(outside.filter(isPath)).toEqual([]);
});
