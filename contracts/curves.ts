/**
 * Curves of a round: accuracy against the number of samples and the depth, an object of the store. Axes: N = 1 ... S
 * samples, D depths; at depth d the rationale of each reply was enriched d times.
 */
import { z } from 'zod';
import { MAX_DEPTH, MAX_SAMPLES } from './curve-settings.js';
import { DatasetRef, ObjectRef } from './refs.js';
import { EvalResult } from './steps.js';

/** `replies_D`: samples of each question, not enriched first; one dataset for each depth, chunk by chunk beside `questions`. */
export const CurvesInput = z.strictObject({
  questions: DatasetRef,
  replies_D: z
    .array(DatasetRef)
    .min(1)
    .max(MAX_DEPTH + 1),
  texts: ObjectRef,
  /** 0: the one sample is the greedy reply. */
  temperature: z.number().min(0).max(2),
  /** The score of the round, and which questions count for it. */
  evaluation: EvalResult,
});
export type CurvesInput = z.infer<typeof CurvesInput>;

const Share = z.number().min(0).max(1);
const Count = z.int().min(0);

/** How one answer is made of N samples: the one that most give, or that of the sample with the longest rationale. */
export const WAYS = ['majority', 'longest'] as const;
/** `any`: whether any of the samples is right (pass@N): no way to answer, but the most that choosing can reach. */
export const CURVES = [...WAYS, 'any'] as const;
export type CurveName = (typeof CURVES)[number];

/** The mean over the questions for N = 1 ... S, and its standard error over the questions. */
export const Curve = z.strictObject({
  mean_N: z.array(Share).min(1).max(MAX_SAMPLES),
  error_N: z.array(z.number().min(0)).min(1).max(MAX_SAMPLES),
});
export type Curve = z.infer<typeof Curve>;

export const DepthCurves = z.strictObject({
  depth: z.int().min(0).max(MAX_DEPTH),
  /** Replies; those that the enrichment at this depth has changed; and those in which no answer was found. */
  replies: Count,
  changed: Count,
  silent: Count,
  majority: Curve,
  longest: Curve,
  any: Curve,
});
export type DepthCurves = z.infer<typeof DepthCurves>;

export const CurvesReport = z.strictObject({
  version: z.literal(1),
  questions: z.int().min(1),
  samples: z.int().min(1).max(MAX_SAMPLES),
  /** 0: the one sample is the greedy reply. */
  temperature: z.number().min(0).max(2),
  /** Accuracy of the greedy reply, not enriched: the score of the round. */
  greedy: Share,
  depths: z
    .array(DepthCurves)
    .min(1)
    .max(MAX_DEPTH + 1),
});
export type CurvesReport = z.infer<typeof CurvesReport>;
