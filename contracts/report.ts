/**
 * What is measured of a round beside the gate's score: an object of the store, which the round's summary refers to,
 * since it is too big for a payload. A release adds fields as optional ones: reports of older runs still parse.
 */
import { z } from 'zod';
import { EvaluationKind, SetName } from './evaluation-sets.js';
import { DatasetRef, ObjectRef } from './refs.js';
import { EvalResult } from './steps.js';

const Count = z.int().min(0);
const Round = z.int().min(0).max(1000);
const Seed = z
  .int()
  .min(0)
  .max(2 ** 31 - 1);

/** A number with its interval, at the gate's confidence. */
export const Interval = z.strictObject({ value: z.number(), low: z.number(), high: z.number() });
export type Interval = z.infer<typeof Interval>;

/**
 * One evaluation set. `value`: the share of right answers (with Wilson's interval), or for `likelihood` the mean
 * log-probability of the answers after the model's own rationales, in nats a token (with its bootstrap interval).
 */
export const SetResult = Interval.extend({
  /** null: by the rows. */
  kind: EvaluationKind.nullable(),
  watch: z.boolean(),
  /** A line a question: Grade, or LikelihoodGrade. */
  grades: DatasetRef,
  /** Questions that count. */
  total: Count,
  /** Questions that do not, because they are in the training data. */
  leftOut: Count,
  /** Questions without a reply, or without a log-probability: longer than the model's context, or refused. */
  unanswered: Count,
  /** `likelihood`: minus the same without a rationale. */
  gain: Interval.nullable(),
});
export type SetResult = z.infer<typeof SetResult>;

/** `first`: round 0. */
export const Against = z.enum(['before', 'best', 'first']);
export type Against = z.infer<typeof Against>;

/**
 * This round against another one, on the same questions. `difference`: this round minus the other one, with its paired
 * bootstrap interval. `test`: McNemar's exact test, two-sided; null where answers are not right or wrong.
 */
export const Comparison = z.strictObject({
  /** null: the gate's set. */
  set: SetName.nullable(),
  against: z.array(Against).min(1).max(3),
  round: Round,
  difference: z.number(),
  low: z.number(),
  high: z.number(),
  /** Questions that only the other round, or only this one, got right. */
  test: z.strictObject({ onlyOther: Count, onlyThis: Count, p: z.number() }).nullable(),
});
export type Comparison = z.infer<typeof Comparison>;

export const RoundReport = z.strictObject({
  version: z.literal(1),
  /** Sets other than the gate's. */
  evaluations: z.record(SetName, SetResult),
  comparisons: z.array(Comparison),
});
export type RoundReport = z.infer<typeof RoundReport>;

export const ReportInput = z.strictObject({
  round: Round,
  /** Finished rounds: those before this one, with their reports. */
  table: ObjectRef.nullable(),
  best: Round.nullable(),
  /** The gate's set; null: it was not evaluated. */
  evaluation: EvalResult.nullable(),
  others: z.record(SetName, SetResult),
  confidence: z.number().gt(0).lt(1),
  seed: Seed,
});
export type ReportInput = z.infer<typeof ReportInput>;
/** `comparisons`: those of the gate's set, so that a history shows them. */
export const ReportOutput = z.strictObject({ report: ObjectRef, comparisons: z.array(Comparison).max(3) });
export type ReportOutput = z.infer<typeof ReportOutput>;
