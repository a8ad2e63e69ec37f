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
import { GateKind, otherSets, SET_FIELDS } from './evaluation-sets.js';
import { PromptTemplates } from './prompts.js';
import { jsonBytes } from './refs.js';
import { Selection } from './selection.js';
import { encodable, Name, template, text } from './text.js';
import { Training } from './training.js';
import { WatchLimits } from './watch.js';

export * from './prompts.js';
export * from './selection.js';
export { Name };

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
    source: FieldName.optional().describe('where a row is from: catalysts are drawn from each source in proportion'),
  })
  .describe('names of the fields in your file; a path such as question.stem leads into a field');
export type Fields = z.infer<typeof Fields>;

export const Source = z.strictObject({
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
export const IN_TEXTS = { path: true, fields: true, skipInvalid: true } as const;

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

export const Evaluation = Source.extend({
  ...SET_FIELDS,
  ...CURVE_FIELDS,
  kind: GateKind.optional().describe('how replies are graded; left out: by the rows'),
  others: otherSets(Source),
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
  watch: WatchLimits.default({}).describe(
    'limits on numbers of the collapse watch (docs/method.md), such as distinct2: { drop: 0.5 }; a round beyond one is rolled back',
  ),
});
export type Gate = z.infer<typeof Gate>;

export const FinalModel = z.enum(['best', 'last']);
export type FinalModel = z.infer<typeof FinalModel>;

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

export const Seed = z
  .int()
  .min(0)
  .max(2 ** 31 - 1);
export const ModelFolder = z.strictObject({
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
  final: FinalModel.default('best').describe(
    'the model that export, ask, serve and eval take: of the best round, or of the last one (where that was rolled back, of the best)',
  ),
  approvals: z.array(Approval).max(3).default([]).describe('the run waits there for `srlm approve`'),
  budget: Budget.default({}),
});
export type RunSpec = z.infer<typeof RunSpec>;

const Stop = z
  .array(encodable.min(1).max(100))
  .max(4)
  .refine((texts) => jsonBytes(texts) <= 500, 'at most 500 bytes together');
export const SampleSampling = Sampling.extend({ stop: Stop.default([]) });

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
export const SourceSettings = Source.pick({ limit: true });

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
  /** Files and fields of further evaluation sets; absent: there are none. */
  others: otherSets(Source).optional(),
});
export type SpecTexts = z.infer<typeof SpecTexts>;

/** A run spec without its texts: what the workflow decides by, and what operators may change (contracts/settings.ts). */
export const RunSettings = RunSpec.omit({ model: true, prompts: true }).extend({
  data: SourceSettings,
  catalysts: z.union([z.literal('none'), SourceSettings.extend(CatalystUse)]),
  evaluation: z.union([z.literal('none'), Evaluation.omit({ ...IN_TEXTS, others: true })]),
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
      evaluation: evaluation === 'none' ? 'none' : withoutOthers(without(evaluation)),
    }),
    texts: {
      ...{ prompts, system: null, prompt: null, model: model.path },
      ...{ data: source(data)!, catalysts: source(catalysts), evaluation: source(evaluation) },
      ...(evaluation === 'none' || Object.keys(evaluation.others).length === 0 ? {} : { others: evaluation.others }),
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

export const textsOf = ({ path, fields, skipInvalid }: SourceTexts): SourceTexts => ({ path, fields, skipInvalid });

export function without<T extends SourceTexts>({ path: _, fields: __, skipInvalid: ___, ...rest }: T) {
  return rest;
}

const withoutOthers = <T extends { others: unknown }>({ others: _, ...rest }: T) => rest;

/** The whole spec again, for the audit trail. */
export function joinRunSpec(settings: RunSettings, texts: SpecTexts): RunSpec {
  const { data, catalysts, evaluation } = settings;
  return RunSpec.parse({
    ...settings,
    model: { path: texts.model },
    prompts: texts.prompts,
    data: { ...data, ...texts.data },
    catalysts: catalysts === 'none' ? 'none' : { ...catalysts, ...texts.catalysts },
    evaluation: evaluation === 'none' ? 'none' : { ...evaluation, ...texts.evaluation, others: texts.others },
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
