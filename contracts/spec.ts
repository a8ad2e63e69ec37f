/**
 * The run spec: what one run sets. It names engines and trainers that the deployment defines; it can carry no command
 * line, and paths in it are only read by the client that starts the run (data) or below the configured model roots.
 * `srlm schema` prints it as JSON Schema.
 */
import { z } from 'zod';

const Name = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'lower-case letters, digits, dot, dash, underscore; at most 64');

/** Which field of the user's file holds what. Left out: found by the names in method/formats.ts. */
export const Fields = z
  .strictObject({
    id: z.string().optional(),
    instruction: z.string().optional(),
    input: z.string().optional().describe('appended to the instruction after a blank line'),
    rationale: z.string().optional(),
    answer: z.string().optional(),
    enriched: z.string().optional(),
    skills: z.string().optional(),
    choices: z.string().optional(),
  })
  .describe('names of the fields in your file');
export type Fields = z.infer<typeof Fields>;

const Source = z.strictObject({
  path: z.string().min(1).describe('JSONL or JSON array, plain or .gz, relative to the spec'),
  fields: Fields.default({}),
  limit: z.int().min(1).optional().describe('use only the first rows'),
});

export const DEFAULT_ENRICH_PROMPT = `Below are a question and a short piece of reasoning about it. Rewrite the reasoning so that it is more comprehensive. Use whichever of these help: reflection, decomposition into steps, more detail, a summary, alternative thinking, backward thinking, an analogy, checking the result. Write the reasoning only, not the final answer.

Question: {instruction}
Short reasoning: {rationale}`;

export const DEFAULT_RATIONALIZE_PROMPT = `Question: {instruction}

Answer: {answer}

In one or two short sentences, say how one gets to this answer.`;

const template = (...holes: string[]) =>
  z
    .string()
    .refine(
      (text) => holes.every((hole) => text.includes(`{${hole}}`)),
      `must hold ${holes.map((h) => `{${h}}`).join(' and ')}`,
    );

export const Prompts = z.strictObject({
  answer: template('instruction').default('{instruction}').describe('the user turn when a question is answered'),
  reply: template('rationale', 'answer')
    .refine((text) => text.indexOf('{rationale}') < text.indexOf('{answer}'), 'the rationale comes before the answer')
    .refine((text) => text.endsWith('{answer}'), 'must end with {answer}')
    .default('{rationale}\nAnswer: {answer}')
    .describe('the reply a model is trained to give'),
  enrich: template('instruction', 'rationale')
    .refine((text) => !text.includes('{answer}'), 'must not show {answer}: it would leak into the rationale')
    .default(DEFAULT_ENRICH_PROMPT)
    .describe('the user turn when a rationale is enriched'),
  rationalize: template('instruction', 'answer')
    .default(DEFAULT_RATIONALIZE_PROMPT)
    .describe('the user turn when a missing first rationale is written'),
});
export type Prompts = z.infer<typeof Prompts>;

export const Sampling = z.strictObject({
  k: z.int().min(1).max(64).default(4).describe('candidates per example'),
  temperature: z.number().min(0).max(2).default(0.7),
  topP: z.number().gt(0).max(1).default(1),
  topK: z.int().min(0).default(0).describe('0: all tokens'),
  maxTokens: z.int().min(1).max(32768).default(512),
  chunkSize: z.int().min(1).max(1024).default(32).describe('examples in a chunk, the durable unit'),
});
export type Sampling = z.infer<typeof Sampling>;

export const SELECTORS = ['length', 'off-policy', 'on-policy', 'vote', 'rank-sum', 'random'] as const;
export const Selection = z.strictObject({
  selector: z.enum(SELECTORS).default('off-policy').describe('random is a control arm, not part of the method'),
  minChars: z.int().min(0).default(1),
  maxChars: z.int().min(1).default(8000).describe('bounds of the length selector'),
});
export type Selection = z.infer<typeof Selection>;

export const Training = z.strictObject({
  from: z.enum(['start', 'previous']).default('start').describe('weights each round is trained from'),
  method: z.enum(['full', 'lora']).default('full'),
  lora: z
    .strictObject({
      r: z.int().min(1).max(1024).default(16),
      alpha: z.number().gt(0).default(32),
      dropout: z.number().min(0).max(0.9).default(0),
      targetModules: z.union([z.literal('all-linear'), z.array(z.string().min(1)).min(1)]).default('all-linear'),
    })
    .prefault({}),
  epochs: z.number().gt(0).max(100).default(3),
  batchSize: z.int().min(1).default(16).describe('examples per optimizer step, over all devices'),
  microBatchSize: z.int().min(1).optional().describe('examples per forward pass and device; default: batchSize'),
  learningRate: z.number().gt(0).max(1).default(2e-5),
  schedule: z.enum(['linear', 'cosine', 'constant']).default('linear'),
  warmupRatio: z.number().min(0).max(1).default(0.1),
  weightDecay: z.number().min(0).max(1).default(0),
  adamBetas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]).default([0.9, 0.999]),
  maxGradNorm: z.number().gt(0).default(1),
  maxLength: z.int().min(16).default(2048).describe('tokens'),
  precision: z.enum(['auto', 'bf16', 'fp32', 'bf16-autocast']).default('auto'),
  gradientCheckpointing: z.boolean().default(false),
  checkpoint: z
    .strictObject({
      everySteps: z.int().min(1).optional(),
      everyMinutes: z.number().gt(0).default(10),
      keep: z.int().min(1).max(20).default(2),
    })
    .prefault({}),
});
export type Training = z.infer<typeof Training>;

export const Evaluation = Source.extend({
  maxTokens: z.int().min(1).max(32768).default(512),
  chunkSize: z.int().min(1).max(1024).default(64),
});

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

export const Budget = z
  .strictObject({
    tokens: z.int().min(1).optional().describe('generated, read for scores, and trained on'),
    gpuSeconds: z.number().gt(0).optional().describe('as engines and trainers measure them'),
    hours: z.number().gt(0).optional().describe('wall time since the run began'),
    money: z.number().gt(0).optional().describe('by the prices in temporal.config.ts'),
  })
  .describe('when one is spent, the run parks with everything kept');
export type Budget = z.infer<typeof Budget>;

export const RunSpec = z.strictObject({
  name: Name.default('run'),
  seed: z
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .default(0),
  deterministic: z.boolean().default(false).describe('byte-identical results whatever happens; slower'),
  strict: z.boolean().default(false).describe('refuse what would otherwise be a warning'),
  engine: Name.default('local').describe('an engine of temporal.config.ts that can load weights'),
  trainer: Name.default('local').describe('a trainer of temporal.config.ts'),
  model: z.strictObject({ path: z.string().min(1).describe('a Hugging Face model folder below a model root') }),
  data: Source,
  catalysts: z.union([
    z.literal('none'),
    Source.extend({
      copies: z.int().min(1).max(1000).default(1).describe('times each catalyst stands in the mixture'),
      use: z
        .enum(['enrich', 'answer'])
        .default('enrich')
        .describe('enrich: the method. answer: a control arm, catalysts as plain answers'),
    }),
  ]),
  rationalizeEngine: Name.optional().describe('engine that writes missing first rationales; default: engine'),
  prompts: Prompts.prefault({}),
  // Every round's summary stands in the run's result, which stays below 32 KB.
  rounds: z.int().min(0).max(20).default(2).describe('self-improvement rounds after round 0'),
  enrichFrom: z.enum(['original', 'current']).default('original'),
  sampling: Sampling.prefault({}),
  selection: Selection.prefault({}),
  training: Training.prefault({}),
  evaluation: z.union([z.literal('none'), Evaluation]).default('none'),
  gate: Gate.prefault({}),
  approvals: z.array(z.enum(APPROVALS)).default([]).describe('the run waits there for `srlm approve`'),
  budget: Budget.default({}),
});
export type RunSpec = z.infer<typeof RunSpec>;

/** `srlm sample`: durable sampling of a data set, a run of its own. */
export const SampleSpec = z.strictObject({
  name: Name.default('sample'),
  seed: z
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .default(0),
  deterministic: z.boolean().default(false),
  engine: Name.default('local'),
  model: z
    .strictObject({ path: z.string().min(1) })
    .optional()
    .describe('for an engine that loads weights'),
  data: Source,
  system: z.string().optional(),
  prompt: template('instruction').default('{instruction}'),
  sampling: Sampling.extend({ stop: z.array(z.string().min(1)).max(4).default([]) }).prefault({}),
  budget: Budget.default({}),
});
export type SampleSpec = z.infer<typeof SampleSpec>;
