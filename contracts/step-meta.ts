/** What every step's input and output are made with: rounds, seeds, and where a result comes from. */
import { z } from 'zod';
import { Sha256, Usage } from './refs.js';

export const Round = z.int().min(0).max(1000);
export const Seed = z
  .int()
  .min(0)
  .max(2 ** 31 - 1);

/** Where the result of a step comes from: worked out now, or found under its key, and by which run it was made. */
export const StepMeta = z.strictObject({
  key: Sha256,
  reused: z.boolean(),
  run: z.string(),
  /** Cost that counts against this run's budget; null: none. */
  usage: Usage.nullable(),
});
export type StepMeta = z.infer<typeof StepMeta>;
/** A step's output, and where it comes from. */
export const done = <T extends z.ZodType>(output: T) => z.strictObject({ output, meta: StepMeta });
export interface StepDone<T> {
  output: T;
  meta: StepMeta;
}
