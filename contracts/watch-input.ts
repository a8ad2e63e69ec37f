/** The input of the step that measures the numbers of the collapse watch. */
import { z } from 'zod';
import { DatasetRef, ObjectRef } from './refs.js';
import { Selection } from './spec.js';
import { EvalResult, TrainingSet } from './steps.js';

/** The numbers by which a round is watched. `table`: the rounds before it. */
export const WatchInput = z.strictObject({
  round: z.int().min(0).max(1000),
  decisions: DatasetRef.nullable(),
  evaluation: EvalResult.nullable(),
  set: TrainingSet.omit({ dataset: true }),
  selection: Selection,
  table: ObjectRef.nullable(),
});
export type WatchInput = z.infer<typeof WatchInput>;
