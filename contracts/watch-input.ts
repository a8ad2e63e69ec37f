/** The input of the step that measures the numbers of the collapse watch. */
import { z } from 'zod';
import { DatasetRef, ObjectRef } from './refs.js';
import { Selection } from './spec.js';
import { EvalResult, TrainingSet } from './steps.js';

/** The part of a report of evaluation sets that the watch reads. */
export const WatchedSets = z.object({
  evaluations: z.record(z.string(), z.object({ watch: z.boolean() })),
  comparisons: z.array(z.object({ set: z.string().nullable(), against: z.array(z.string()), difference: z.number() })),
});
/** The part of curves over samples that the watch reads. */
export const WatchedCurves = z.object({
  depths: z.array(z.object({ majority: z.object({ mean_N: z.array(z.number()) }) })),
});

/** The numbers by which a round is watched. `table`: the rounds before it. */
export const WatchInput = z.strictObject({
  round: z.int().min(0).max(1000),
  decisions: DatasetRef.nullable(),
  evaluation: EvalResult.nullable(),
  set: TrainingSet.omit({ dataset: true }),
  selection: Selection,
  table: ObjectRef.nullable(),
  /** What other steps have measured: a WatchedSets, and a WatchedCurves. */
  report: ObjectRef.optional(),
  curves: ObjectRef.optional(),
});
export type WatchInput = z.infer<typeof WatchInput>;
