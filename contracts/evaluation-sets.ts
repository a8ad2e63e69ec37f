/**
 * The evaluation sets of a spec: the gate's set, and up to MAX_OTHER_SETS named ones beside it. The named ones are part of
 * the spec's texts: an activity reports them to the workflow, and they are settled when the run begins. A set's name is a word of the spec: steps, memos and search attributes number the
 * sets instead, in alphabetical order.
 */
import { z } from 'zod';

export const MAX_OTHER_SETS = 5;

/** How a set is graded. Left out: by the rows, `choice` for those that have choices and `exact` for the others. */
export const EVALUATION_KINDS = ['exact', 'choice', 'choice-likelihood', 'likelihood'] as const;
export const EvaluationKind = z.enum(EVALUATION_KINDS);
export type EvaluationKind = z.infer<typeof EvaluationKind>;

/** The gate compares shares of right answers. */
export const GateKind = EvaluationKind.exclude(['likelihood']);
export type GateKind = z.infer<typeof GateKind>;

/** Kinds that are shares of right answers; `likelihood` is in nats a token. */
export const isShare = (kind: EvaluationKind | null | undefined): boolean => kind !== 'likelihood';

export const SetName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,19}$/, 'lower-case letters, digits and dashes, a letter first; at most 20');
export type SetName = z.infer<typeof SetName>;

export const SET_FIELDS = {
  maxTokens: z.int().min(1).max(32768).default(512),
  chunkSize: z.int().min(1).max(1024).default(64),
};

/** Further sets, each of them `source` and the same fields. */
export const otherSets = <Shape extends z.ZodRawShape>(source: z.ZodObject<Shape>) =>
  z
    .record(
      SetName,
      source.extend({
        ...SET_FIELDS,
        kind: EvaluationKind.optional().describe('how replies are graded; left out: by the rows'),
        watch: z.boolean().default(false).describe('another domain: does the model forget it?'),
      }),
    )
    .refine((sets) => Object.keys(sets).length <= MAX_OTHER_SETS, `at most ${MAX_OTHER_SETS} sets`)
    .default({})
    .describe('further sets by name, which the gate does not compare');
