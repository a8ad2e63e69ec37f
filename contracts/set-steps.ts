/** Inputs and outputs of the activities of evaluation sets: references and numbers only, as in steps.ts. */
import { z } from 'zod';
import { EvaluationKind, SetName } from './evaluation-sets.js';
import { DatasetRef, ObjectRef } from './refs.js';
import { Interval } from './report.js';

/**
 * What the client has found of a run's evaluation sets, an object of the store: the uploaded files, and the ids of
 * questions that are in the training data, too. The gate's set has the name ''.
 */
export const EvaluationSets = z.strictObject({
  version: z.literal(1),
  files: z.record(SetName, ObjectRef),
  leftOut: z.record(z.union([SetName, z.literal('')]), z.array(z.string())),
});
export type EvaluationSets = z.infer<typeof EvaluationSets>;

/** Questions of a set that do not count: `set` null is the gate's. */
export const LeftOut = z.strictObject({ sets: ObjectRef, set: SetName.nullable() });
export type LeftOut = z.infer<typeof LeftOut>;

/** The sets beside the gate's, with their questions, which are ingested if they are not yet. */
export const OpenSetsInput = z.strictObject({ texts: ObjectRef, sets: ObjectRef });
export type OpenSetsInput = z.infer<typeof OpenSetsInput>;
export const OpenedSet = z.strictObject({
  questions: DatasetRef,
  /** null: by the rows. */
  kind: EvaluationKind.nullable(),
  watch: z.boolean(),
  maxTokens: z.int(),
});
export type OpenedSet = z.infer<typeof OpenedSet>;
export const OpenSetsOutput = z.strictObject({ sets: z.record(SetName, OpenedSet) });
export type OpenSetsOutput = z.infer<typeof OpenSetsOutput>;

const LikelihoodKind = EvaluationKind.extract(['choice-likelihood', 'likelihood']);

/**
 * Questions as rows whose answers have a log-probability: one a choice, or one a question with the rationale of its
 * reply as the candidate.
 */
export const AnswerRowsInput = z.strictObject({
  kind: LikelihoodKind,
  questions: DatasetRef,
  replies: DatasetRef.nullable(),
  texts: ObjectRef,
});
export type AnswerRowsInput = z.infer<typeof AnswerRowsInput>;
export const AnswerRowsOutput = z.strictObject({ data: DatasetRef, candidates: DatasetRef.nullable() });
export type AnswerRowsOutput = z.infer<typeof AnswerRowsOutput>;

export const GradeLogprobsInput = AnswerRowsInput.extend({
  scores: DatasetRef,
  confidence: z.number().gt(0).lt(1),
  seed: z.int().min(0),
  leftOut: LeftOut.optional(),
});
export type GradeLogprobsInput = z.infer<typeof GradeLogprobsInput>;
/** As in SetResult. */
export const GradeLogprobsOutput = Interval.extend({
  grades: DatasetRef,
  total: z.int().min(0),
  correct: z.int().min(0),
  leftOut: z.int().min(0),
  gain: Interval.nullable(),
});
export type GradeLogprobsOutput = z.infer<typeof GradeLogprobsOutput>;
