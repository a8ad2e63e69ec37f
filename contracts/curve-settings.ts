/** What an evaluation draws beside its score, for curves: fields of the spec, and the step that they ask for. */
import { z } from 'zod';
import { DatasetRef, ModelRef, ObjectRef } from './refs.js';

export const MAX_SAMPLES = 64;
export const MAX_DEPTH = 2;

export const CURVE_FIELDS = {
  samples: z
    .int()
    .min(1)
    .max(MAX_SAMPLES)
    .default(1)
    .describe('replies a question for the curves of majority vote and best-of-N; the score is that of a greedy reply'),
  enrich: z
    .int()
    .min(0)
    .max(MAX_DEPTH)
    .default(0)
    .describe('how often the model enriches the rationale of each reply and answers again, for the curves'),
  temperature: z.number().gt(0).max(2).default(0.7).describe('of the samples; a single one is greedy'),
};

/** Each reply to a question, with its rationale enriched once more and the answer that the model gives after it. */
export const DeepenStep = z.strictObject({
  step: z.literal('deepen'),
  engine: z.string().min(1).max(64),
  model: ModelRef,
  /** The questions. */
  data: DatasetRef,
  /** Chunk by chunk beside `data`. */
  replies: DatasetRef,
  texts: ObjectRef,
  /** How the rationale is sampled; the answer after it is greedy. */
  sampling: z.strictObject({
    temperature: z.number().min(0).max(2),
    maxTokens: z.int().min(1).max(32768),
  }),
  seed: z
    .int()
    .min(0)
    .max(2 ** 31 - 1),
  /** How often the rationales of the output are enriched. */
  depth: z.int().min(1).max(MAX_DEPTH),
  deterministic: z.boolean(),
});
export type DeepenStep = z.infer<typeof DeepenStep>;
