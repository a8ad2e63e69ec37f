/**
 * The run spec: what one run sets. It names engines and trainers that the deployment defines; it can carry no command
 * line, and paths in it are only read by the client that starts the run (data) or below the configured model roots.
 * `srlm schema` prints it as JSON Schema.
 *
 * A spec travels in two parts: its texts (prompts, names of files and fields) are one object of the store, up to 200 KB
 * each; all the rest, RunSettings, is what workflow code decides by, and stays below 3 KB.
 */
import { z } from 'zod';
import { CURVE_FIELDS } from './curve-settings.js';
import { jsonBytes } from './refs.js';
import { Training } from './training.js';

export const Name = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'lower-case letters, digits, dot, dash, underscore; at most 64');

const MAX_TEXT_CHARS = 200_000;
/** A spec is stored as canonical JSON, which has no lone surrogates. */
const encodable = z.string().refine((value) => !/\p{Surrogate}/u.test(value), 'must hold no lone surrogate');
const text = () => encodable.max(MAX_TEXT_CHARS);
const FieldName = encodable.min(1).max(200);

/**
 * Which field of the user's file holds what. Left out: found by the names in method/formats/recognise.ts. A path
 * (`question.stem`, `choices.text`, `answers.text.0`) leads into a field, and in a list to each of its items.
 */
export const Fields = z
  .strictObject({
    id: FieldName.optional(),
    instruction: FieldName.optional(),
    input: z
      .union([FieldName, z.array(FieldName).min(1).max(8)])
      .optional()
      .describe('appended to the instruction after a blank line; may be a list of fields'),
    rationale: FieldName.optional(),
    answer: FieldName.optional(),
    enriched: FieldName.optional(),
    skills: FieldName.optional(),
    choices: FieldName.optional(),
  })
  .describe('names of the fields in your file; a path such as question.stem leads into a field');
export type Fields = z.infer<typeof Fields>;

const Source = z.strictObject({
  path: encodable
    .min(1)
    .max(4096)
    .describe('JSONL, a JSON list, CSV, TSV or Parquet, also as .gz or .zst; relative to the spec'),
  fields: Fields.default({}),
  limit: z.int().min(1).optional().describe('use only the first rows'),
  skipInvalid: z
    .boolean()
    .default(false)
    .describe('leave out rows that cannot be used, and count them; otherwise the first one is an error'),
});
/** What of a source is part of the texts of a spec: workflow code decides nothing by it. */
const IN_TEXTS = { path: true, fields: true, skipInvalid: true } as const;

export const DEFAULT_ENRICH_PROMPT = `Below are a question and a short piece of reasoning about it. Rewrite the reasoning so that it is more comprehensive. Use whichever of these help: reflection, decomposition into steps, more detail, a summary, alternative thinking, backward thinking, an analogy, checking the result. Write the reasoning only, not the final answer.

Question: {instruction}
Short reasoning: {rationale}`;

export const DEFAULT_RATIONALIZE_PROMPT = `Question: {instruction}

Answer: {answer}

In one or two short sentences, say how one gets to this answer.`;

const template = (...holes: string[]) =>
  text().refine(
    (value) => holes.every((hole) => value.includes(`{${hole}}`)),
    `must hold ${holes.map((h) => `{${h}}`).join(' and ')}`,
  );

export const PromptTemplates = z.strictObject({
  answer: template('instruction').default('{instruction}').describe('the user turn when a question is answered'),
  reply: template('rationale', 'answer')
    .refine(
      (value) => value.indexOf('{rationale}') < value.indexOf('{answer}'),
      'the rationale comes before the answer',
    )
    .refine((value) => value.endsWith('{answer}'), 'must end with {answer}')
    .default('{rationale}\nAnswer: {answer}')
    .describe('the reply a model is trained to give'),
  enrich: template('instruction', 'rationale')
    .refine((value) => !value.includes('{answer}'), 'must not show {answer}: it would leak into the rationale')
    .default(DEFAULT_ENRICH_PROMPT)
    .describe('the user turn when a rationale is enriched'),
  rationalize: template('instruction', 'answer')
    .default(DEFAULT_RATIONALIZE_PROMPT)
    .describe('the user turn when a missing first rationale is written'),
});
export type PromptTemplates = z.infer<typeof PromptTemplates>;

export const Sampling = z.strictObject({
  k: z.int().min(1).max(64).default(4).describe('candidates per example'),
  temperature: z.number().min(0).max(2).default(0.7),
  topP: z.number().gt(0).max(1).default(1),
  topK: z.int().min(0).default(0).describe('0: all tokens'),
  maxTokens: z.int().min(1).max(32768).default(512),
  maxFailedShare: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe('a step parks when a larger share of its texts was refused, filtered, or cut before they began'),
  chunkSize: z.int().min(1).max(1024).default(32).describe('examples in a chunk, the durable unit'),
});
export type Sampling = z.infer<typeof Sampling>;

/** Values that selectors compare, by name. docs/method.md has the formula and the source of each. */
export const MEASURES = [
  'length',
  'off-policy',
  'on-policy',
  'verifree',
  'rlpr',
  'r3',
  'likelihood-rank',
  'efficiency',
] as const;
export const MeasureName = z.enum(MEASURES);
export type MeasureName = z.infer<typeof MeasureName>;

/** A value made of the log-probabilities of the answer's tokens: three choices. */
export const AnswerScore = z.strictObject({
  model: z.enum(['reference', 'current']).describe('reference: the starting model; current: that of the round before'),
  reduce: z
    .enum(['mean-logprob', 'mean-prob', 'sequence-prob', 'weighted-logprob'])
    .default('mean-logprob')
    .describe('one number of the tokens; weighted-logprob weighs those most that vary with the rationale'),
  minus: z
    .enum(['nothing', 'no-rationale'])
    .default('nothing')
    .describe('no-rationale: minus the same without a rationale'),
});
export type AnswerScore = z.infer<typeof AnswerScore>;

export const Measure = z.union([MeasureName, AnswerScore]);
export type Measure = z.infer<typeof Measure>;

/** Several measures, each with the same say, or by weights. */
export const Combination = z
  .strictObject({
    combine: z.enum(['vote', 'rank-sum', 'weights']),
    of: z.array(Measure).min(2).max(8),
    weights: z.array(z.number()).min(2).max(8).optional().describe('of each measure; for weights only'),
  })
  .refine(
    ({ combine, of, weights }) => (combine === 'weights') === (weights?.length === of.length),
    'must hold one weight for each measure, and for combine: weights only',
  );
export type Combination = z.infer<typeof Combination>;

export const SELECTORS = [
  'length',
  'off-policy',
  'on-policy',
  'vote',
  'rank-sum',
  'verifree',
  'rlpr',
  'r3',
  'nover',
  'random',
] as const;
export const SelectorName = z.enum(SELECTORS);
export type SelectorName = z.infer<typeof SelectorName>;
const hasValue = (selector: string | AnswerScore | Combination): boolean =>
  !['vote', 'rank-sum', 'random'].includes(
    typeof selector === 'object' && 'combine' in selector ? selector.combine : String(selector),
  );

export const Selection = z
  .strictObject({
    selector: z
      .union([SelectorName, AnswerScore, Combination])
      .default('off-policy')
      .describe('a name of docs/method.md, a score, or a combination; random is a control arm, not part of the method'),
    minChars: z.int().min(0).default(1).describe('the length selector takes no shorter rationale'),
    maxChars: z.int().min(1).default(8000).describe('the length selector takes no longer one'),
    minGain: z
      .number()
      .min(0)
      .default(0)
      .describe(
        'a rationale is replaced only by one whose value is higher by more than this; not for vote and rank-sum',
      ),
    scores: z
      .enum(['all', 'needed'])
      .optional()
      .describe(
        'log-probabilities to keep. all: both models, with and without a rationale, so that every selector can be tried later; needed: what the selector reads; left out: all if it reads any',
      ),
  })
  .superRefine(({ selector, minGain }, { addIssue }) => {
    const message = 'must be 0 for vote, rank-sum and random, which compare no values';
    if (minGain > 0 && !hasValue(selector)) addIssue({ code: 'custom', path: ['minGain'], message, input: minGain });
  });
export type Selection = z.infer<typeof Selection>;

export const Evaluation = Source.extend({
  maxTokens: z.int().min(1).max(32768).default(512),
  chunkSize: z.int().min(1).max(1024).default(64),
  ...CURVE_FIELDS,
});
export type Evaluation = z.infer<typeof Evaluation>;

export const Gate = z.strictObject({
  tolerance: z
    .number()
    .min(0)
    .max(1)
    .default(0.02)
    .describe('a round is rolled back when its score is surely below the best by more than this'),
  confidence: z.number().gt(0.5).lt(1).default(0.95),
  patience: z.int().min(1).default(2).describe('rounds rolled back in a row before the run stops'),
});
export type Gate = z.infer<typeof Gate>;

/** Where a run waits for somebody's approval. */
export const APPROVALS = ['catalysts', 'before-train', 'after-round'] as const;
export const Approval = z.enum(APPROVALS);
export type Approval = z.infer<typeof Approval>;

export const Budget = z
  .strictObject({
    tokens: z.int().min(1).optional().describe('generated, read for log-probabilities, and trained on'),
    gpuSeconds: z.number().gt(0).optional().describe('as engines and trainers measure them'),
    hours: z.number().gt(0).max(1_000_000).optional().describe('wall time since the run began'),
    money: z.number().gt(0).optional().describe('by the prices in temporal.config.ts'),
  })
  .describe('when one is used up, the run parks with everything kept');
export type Budget = z.infer<typeof Budget>;

const Seed = z
  .int()
  .min(0)
  .max(2 ** 31 - 1);
const ModelFolder = z.strictObject({
  path: encodable.min(1).max(1024).describe('a Hugging Face model folder below a model root'),
});

const CatalystUse = {
  copies: z.int().min(1).max(1000).default(1).describe('times each catalyst occurs in the mixture'),
  use: z
    .enum(['enrich', 'answer'])
    .default('enrich')
    .describe('enrich: the method. answer: a control arm, catalysts as plain answers'),
};

export const RunSpec = z.strictObject({
  name: Name.default('run'),
  seed: Seed.default(0),
  deterministic: z.boolean().default(false).describe('byte-identical results whatever happens; slower'),
  strict: z
    .boolean()
    .default(false)
    .describe('refuse what would otherwise be a warning: fields that are not used, questions that are in the data'),
  engine: Name.default('local').describe('an engine of temporal.config.ts that can load weights'),
  trainer: Name.default('local').describe('a trainer of temporal.config.ts'),
  model: ModelFolder,
  data: Source,
  catalysts: z.union([z.literal('none'), Source.extend(CatalystUse)]),
  rationalizeEngine: Name.optional().describe('engine that writes missing first rationales; default: engine'),
  prompts: PromptTemplates.prefault({}),
  rounds: z.int().min(0).max(100).default(2).describe('self-improvement rounds after round 0'),
  enrichFrom: z
    .enum(['original', 'current'])
    .default('original')
    .describe('which rationale a round enriches: the first one, or the one that the round before chose'),
  sampling: Sampling.prefault({}),
  selection: Selection.prefault({}),
  training: Training.prefault({}),
  evaluation: z.union([z.literal('none'), Evaluation]).default('none'),
  gate: Gate.prefault({}),
  approvals: z.array(Approval).max(3).default([]).describe('the run waits there for `srlm approve`'),
  budget: Budget.default({}),
});
export type RunSpec = z.infer<typeof RunSpec>;

const Stop = z
  .array(encodable.min(1).max(100))
  .max(4)
  .refine((texts) => jsonBytes(texts) <= 500, 'at most 500 bytes together');
const SampleSampling = Sampling.extend({ stop: Stop.default([]) });

/** `srlm sample`: durable sampling of a data set, a run of its own. */
export const SampleSpec = z.strictObject({
  name: Name.default('sample'),
  seed: Seed.default(0),
  deterministic: z.boolean().default(false),
  engine: Name.default('local'),
  model: ModelFolder.optional().describe('for an engine that loads weights'),
  data: Source,
  system: text().optional(),
  prompt: template('instruction').default('{instruction}'),
  sampling: SampleSampling.prefault({}),
  budget: Budget.default({}),
});
export type SampleSpec = z.infer<typeof SampleSpec>;

// --- the two parts of a spec ------------------------------------------------------------------------------------------
const SourceTexts = Source.pick(IN_TEXTS);
type SourceTexts = z.infer<typeof SourceTexts>;
const SourceSettings = Source.pick({ limit: true });

/** The texts of a spec, one object of the store. `null`: the spec has no such source. */
export const SpecTexts = z.strictObject({
  prompts: PromptTemplates,
  /** The system message and the user turn of a sample spec. */
  system: text().nullable(),
  prompt: text().nullable(),
  model: z.string().nullable(),
  data: SourceTexts,
  catalysts: SourceTexts.nullable(),
  evaluation: SourceTexts.nullable(),
});
export type SpecTexts = z.infer<typeof SpecTexts>;

/** A run spec without its texts: what the workflow decides by, and what operators may change (contracts/settings.ts). */
export const RunSettings = RunSpec.omit({ model: true, prompts: true }).extend({
  data: SourceSettings,
  catalysts: z.union([z.literal('none'), SourceSettings.extend(CatalystUse)]),
  evaluation: z.union([z.literal('none'), Evaluation.omit(IN_TEXTS)]),
});
export type RunSettings = z.infer<typeof RunSettings>;

export const SampleSettings = SampleSpec.omit({ model: true, system: true, prompt: true }).extend({
  data: SourceSettings,
});
export type SampleSettings = z.infer<typeof SampleSettings>;

export function splitRunSpec(spec: RunSpec): { settings: RunSettings; texts: SpecTexts } {
  const { model, prompts, data, catalysts, evaluation, ...rest } = spec;
  const source = (of: 'none' | SourceTexts) => (of === 'none' ? null : textsOf(of));
  return {
    settings: RunSettings.parse({
      ...rest,
      data: without(data),
      catalysts: catalysts === 'none' ? 'none' : without(catalysts),
      evaluation: evaluation === 'none' ? 'none' : without(evaluation),
    }),
    texts: {
      ...{ prompts, system: null, prompt: null, model: model.path },
      ...{ data: source(data)!, catalysts: source(catalysts), evaluation: source(evaluation) },
    },
  };
}

export function splitSampleSpec(spec: SampleSpec): { settings: SampleSettings; texts: SpecTexts } {
  const { model, system = null, prompt, data, ...rest } = spec;
  return {
    settings: SampleSettings.parse({ ...rest, data: without(data) }),
    texts: {
      ...{ prompts: PromptTemplates.parse({}), system, prompt, model: model?.path ?? null },
      ...{ data: textsOf(data), catalysts: null, evaluation: null },
    },
  };
}

const textsOf = ({ path, fields, skipInvalid }: SourceTexts): SourceTexts => ({ path, fields, skipInvalid });

function without<T extends SourceTexts>({ path: _, fields: __, skipInvalid: ___, ...rest }: T) {
  return rest;
}

/** The whole spec again, for the audit trail. */
export function joinRunSpec(settings: RunSettings, texts: SpecTexts): RunSpec {
  const { data, catalysts, evaluation } = settings;
  return RunSpec.parse({
    ...settings,
    model: { path: texts.model },
    prompts: texts.prompts,
    data: { ...data, ...texts.data },
    catalysts: catalysts === 'none' ? 'none' : { ...catalysts, ...texts.catalysts },
    evaluation: evaluation === 'none' ? 'none' : { ...evaluation, ...texts.evaluation },
  });
}

export function joinSampleSpec(settings: SampleSettings, texts: SpecTexts): SampleSpec {
  const { model, system, prompt, data } = texts;
  return SampleSpec.parse({
    ...settings,
    ...(model === null ? {} : { model: { path: model } }),
    ...(system === null ? {} : { system }),
    prompt,
    data: { ...settings.data, ...data },
  });
}
