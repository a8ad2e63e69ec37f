/**
 * Catalysts that a teacher writes: the spec of `srlm catalyst build`, in its two parts (contracts/spec.ts), what its
 * workflow is started with, and what its own two activities take and give. References and numbers only: no value is
 * above MAX_PAYLOAD_BYTES.
 */
import { z } from 'zod';
import { CatalystCounts } from './counts.js';
import { DatasetRef, ObjectRef } from './refs.js';
import {
  Budget,
  ModelFolder,
  Name,
  PromptTemplates,
  SampleSampling,
  Seed,
  Source,
  SourceSettings,
  type SpecTexts,
  textsOf,
  without,
} from './spec.js';
import { template, text } from './text.js';
import { WorkflowConfig } from './workflow-config.js';

/** A set of more is no longer a small set of demonstrations, and near-duplicates are looked for in memory. */
const MAX_COUNT = 20_000;
/** Requests for one catalyst, on average, after which building ends with what there is. */
const REQUESTS_PER_CATALYST = 4;

export const DEFAULT_CATALYST_PROMPT = `Below are a question and a short piece of reasoning that leads to its answer. Rewrite the reasoning so that it becomes longer and more comprehensive, as somebody thinks who is careful and says why. Keep what the short reasoning says; add to it by these skills:

{skills}

Write running text in the language of the question, without headings and without the names of the skills. Reason towards the answer, but do not write the final answer itself unless the short reasoning does.

Question: {instruction}

Short reasoning: {rationale}

{format}`;

const Sampling = SampleSampling.omit({ k: true }).extend({
  maxTokens: z.int().min(1).max(32768).default(1024),
  maxFailedShare: z
    .number()
    .min(0)
    .max(1)
    .default(0.9)
    .describe('the run parks when a larger share of the first replies was refused, filtered, or cut before they began'),
  chunkSize: z.int().min(1).max(1024).default(8).describe('rows in a chunk, the durable unit'),
});

export const CatalystSpec = z.strictObject({
  name: Name.default('catalysts'),
  seed: Seed.default(0),
  deterministic: z.boolean().default(false),
  engine: Name.default('local').describe('the teacher: an engine of temporal.config.ts'),
  model: ModelFolder.optional().describe('for a teacher that loads weights'),
  data: Source,
  count: z.int().min(1).max(MAX_COUNT).default(1000).describe('catalysts wanted'),
  tries: z
    .int()
    .min(1)
    .max(10)
    .default(3)
    .describe('a row whose reply was refused, cut, of another form or stopped by a guard is asked so often at most'),
  maxRequests: z
    .int()
    .min(1)
    .max(1_000_000)
    .optional()
    .describe(`to the teacher, in all; left out: ${REQUESTS_PER_CATALYST} for each catalyst wanted`),
  maxSkillShare: z
    .number()
    .gt(0)
    .max(1)
    .default(0.5)
    .describe('no skill is shown by a larger share of the catalysts wanted'),
  system: text().optional(),
  prompt: template('instruction', 'rationale', 'skills', 'format')
    .refine((value) => !value.includes('{answer}'), 'must not show {answer}: it would leak into the rationale')
    .default(DEFAULT_CATALYST_PROMPT)
    .describe('{skills}: the eight skills, a line each; {format}: the form of the reply, which is fixed'),
  sampling: Sampling.prefault({}),
  budget: Budget.default({}),
});
export type CatalystSpec = z.infer<typeof CatalystSpec>;

/** What the workflow decides by, and what operators may change (contracts/settings.ts). */
export const CatalystSettings = CatalystSpec.omit({ model: true, system: true, prompt: true }).extend({
  data: SourceSettings,
});
export type CatalystSettings = z.infer<typeof CatalystSettings>;

export const requestsOf = ({ count, maxRequests }: Pick<CatalystSpec, 'count' | 'maxRequests'>): number =>
  maxRequests ?? REQUESTS_PER_CATALYST * count;

export function splitCatalystSpec(spec: CatalystSpec): { settings: CatalystSettings; texts: SpecTexts } {
  const { model, system = null, prompt, data, ...rest } = spec;
  return {
    settings: CatalystSettings.parse({ ...rest, data: without(data) }),
    texts: {
      ...{ prompts: PromptTemplates.parse({}), system, prompt, model: model?.path ?? null },
      ...{ data: textsOf(data), catalysts: null, evaluation: null },
    },
  };
}

/** The whole spec again, for the audit trail. */
export function joinCatalystSpec(settings: CatalystSettings, texts: SpecTexts): CatalystSpec {
  const { model, system, prompt, data } = texts;
  return CatalystSpec.parse({
    ...settings,
    ...(model === null ? {} : { model: { path: model } }),
    ...(system === null ? {} : { system }),
    prompt,
    data: { ...settings.data, ...data },
  });
}

// --- the workflow -----------------------------------------------------------------------------------------------------
export const CatalystInput = z.strictObject({
  version: z.literal(2),
  kind: z.literal('catalysts'),
  settings: CatalystSettings,
  texts: ObjectRef,
  data: ObjectRef,
  /** The spec names a model: the teacher loads its weights. */
  loadsModel: z.boolean(),
  config: WorkflowConfig,
});
export type CatalystInput = z.infer<typeof CatalystInput>;

/** Why no more was asked: there are as many as wanted; no row or no request is left; the replies were of no use at all. */
export const BuildEnd = z.enum(['count', 'rows', 'requests', 'no-use']);
export type BuildEnd = z.infer<typeof BuildEnd>;

export const CatalystResult = z.strictObject({
  /** Catalyst rows; it may be empty. */
  catalysts: DatasetRef,
  /** RejectedReply rows: every reply that became no catalyst. */
  rejected: DatasetRef,
  counts: CatalystCounts,
  ended: BuildEnd,
});
export type CatalystResult = z.infer<typeof CatalystResult>;

// --- its activities ---------------------------------------------------------------------------------------------------
/** The rows of a wave: those that are asked again, then rows of the data, in an order that the seed decides. */
export const DrawInput = z.strictObject({
  data: DatasetRef,
  again: DatasetRef.nullable(),
  /** The first of them only. */
  againRows: z.int().min(0),
  /** Places in the order: from `from` on, at most `rows` of them. */
  from: z.int().min(0),
  rows: z.int().min(0),
  chunkSize: z.int().min(1).max(1024),
  seed: Seed,
});
export type DrawInput = z.infer<typeof DrawInput>;
export const DrawOutput = z.strictObject({
  dataset: DatasetRef,
  /** Rows of the data among them; fewer than asked for: no more are left. */
  drawn: z.int().min(0),
  missingRationales: z.int().min(0),
});
export type DrawOutput = z.infer<typeof DrawOutput>;

/** What the waves up to now have given. */
export const Picked = z.strictObject({
  catalysts: DatasetRef,
  rejected: DatasetRef,
  /** Example rows to ask again; null: there are none. */
  again: DatasetRef.nullable(),
  counts: CatalystCounts,
});
export type Picked = z.infer<typeof Picked>;

export const PickInput = z.strictObject({
  /** From 1. */
  wave: z.int().min(1),
  asked: DatasetRef,
  /** Chunk by chunk beside `asked`. */
  replies: DatasetRef,
  /** What the wave before picked; null: this is the first. */
  before: Picked.nullable(),
  texts: ObjectRef,
  count: z.int().min(1),
  tries: z.int().min(1),
  maxSkillShare: z.number().gt(0).max(1),
});
export type PickInput = z.infer<typeof PickInput>;
