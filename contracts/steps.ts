/**
 * Inputs and outputs of activities. References and numbers only: no value is above MAX_PAYLOAD_BYTES, whatever the size
 * of the data or of the prompts. Texts of the spec travel as `texts`, a reference to its SpecTexts.
 */
import { z } from 'zod';
import { Counts, GuardCounts, RationaleCounts, TrainingCounts } from './counts.js';
import { SetName } from './evaluation-sets.js';
import { DatasetRef, ModelRef, ObjectRef, Usage } from './refs.js';
import { ScoreName } from './rows.js';
import { EnrichFrom } from './sharded-steps.js';
import { Gate, Name, Selection } from './spec.js';
import { done, Round, Seed } from './step-meta.js';
import { Training } from './training.js';
import { Breach, MAX_LIMITS, RoundWatch } from './watch.js';

export * from './sharded-steps.js';
export { type StepDone, StepMeta } from './step-meta.js';

/** The rows that a round trains on, and what is worth knowing of them: one value, never taken apart. */
export const TrainingSet = z.strictObject({
  dataset: DatasetRef,
  rows: z.int().min(0),
  /** Rows whose rationale is no longer the original one. */
  enriched: z.int().min(0),
  meanRationaleChars: z.number().min(0),
});
export type TrainingSet = z.infer<typeof TrainingSet>;

/** The steps of a run, in order. What computes scores is between `parse` and `select`. */
export const STEPS = [
  'prepare',
  'ingest',
  'rationalize',
  'addRationales',
  'promote',
  'draw',
  'sample',
  'parse',
  'logprob',
  'judge',
  'select',
  'mix',
  'fineTune',
  'evaluate',
  'grade',
  'curves',
  'report',
  'watch',
  'gate',
  'record',
  'pick',
] as const;
export type Step = (typeof STEPS)[number];
/** A step as it is shown: its name, and where there are several of them, which one: `logprob (reference)`. */
export type StepName = Step | `${Step} ${string}`;

// --- before the first round -------------------------------------------------------------------------------------------
/** Find the starting model below the model roots, check its folder, digest it. */
export const PrepareModelInput = z.strictObject({ texts: ObjectRef });
export type PrepareModelInput = z.infer<typeof PrepareModelInput>;

export const DataKind = z.enum(['examples', 'catalysts', 'questions', 'prompts']);
export type DataKind = z.infer<typeof DataKind>;
export const SourceName = z.enum(['data', 'catalysts', 'evaluation']);
export type SourceName = z.infer<typeof SourceName>;

/** Normalise one uploaded file into chunks. `source`: which of the spec's sources names file and fields. */
export const IngestInput = z.strictObject({
  kind: DataKind,
  source: SourceName,
  texts: ObjectRef,
  file: ObjectRef,
  limit: z.int().min(1).nullable(),
  chunkSize: z.int().min(1).max(1024),
});
export type IngestInput = z.infer<typeof IngestInput>;
/**
 * `meanRationaleChars` and `missingRationales` are 0 for what has no rationales. `skipped`: rows that were left out, and
 * why; `unused`: fields that nothing was read from. Both are absent where there are none, and cut where there are many.
 */
export const IngestOutput = z.strictObject({
  dataset: DatasetRef,
  missingRationales: z.int().min(0),
  meanRationaleChars: z.number().min(0),
  skipped: z
    .strictObject({
      rows: z.int().min(1),
      reasons: z.array(z.strictObject({ reason: z.string().max(200), rows: z.int().min(1) })).max(5),
    })
    .optional(),
  unused: z.array(z.string().max(60)).max(15).optional(),
});
export type IngestOutput = z.infer<typeof IngestOutput>;

export const AddRationalesInput = z.strictObject({ data: DatasetRef, candidates: DatasetRef, texts: ObjectRef });
export type AddRationalesInput = z.infer<typeof AddRationalesInput>;
export const AddRationalesOutput = z.strictObject({ set: TrainingSet, counts: RationaleCounts });
export type AddRationalesOutput = z.infer<typeof AddRationalesOutput>;

// --- between sampling and training ------------------------------------------------------------------------------------
export const ParseInput = z.strictObject({ candidates: DatasetRef, texts: ObjectRef });
export type ParseInput = z.infer<typeof ParseInput>;

export const SelectInput = z.strictObject({
  data: DatasetRef,
  /** Parsed. */
  candidates: DatasetRef,
  scores: z.partialRecord(ScoreName, DatasetRef),
  /** The same without a rationale. Absent where a release before 0.4 began the round. */
  withoutRationale: z.partialRecord(ScoreName, DatasetRef).default({}),
  /** Verdicts, chunk by chunk beside `data`. Absent: there is no judge. */
  judged: DatasetRef.optional(),
  texts: ObjectRef,
  enrichFrom: EnrichFrom,
  selection: Selection,
  seed: Seed,
  round: Round,
});
export type SelectInput = z.infer<typeof SelectInput>;
export const SelectOutput = z.strictObject({
  set: TrainingSet,
  decisions: DatasetRef,
  /** Rows whose rationale changed in this round. */
  changed: z.int().min(0),
  counts: GuardCounts,
});
export type SelectOutput = z.infer<typeof SelectOutput>;

export const MixInput = z.strictObject({
  data: DatasetRef,
  catalysts: DatasetRef.nullable(),
  copies: z.int().min(1).max(1000),
  use: z.enum(['enrich', 'answer']),
  texts: ObjectRef,
});
export type MixInput = z.infer<typeof MixInput>;

// --- training ---------------------------------------------------------------------------------------------------------
export const FineTuneInput = z.strictObject({
  trainer: Name,
  base: ModelRef,
  data: DatasetRef,
  training: Training,
  seed: Seed,
  deterministic: z.boolean(),
  /** Smaller than the spec's since memory ran out; gradients are accumulated, so the effective batch is the same. */
  microBatchSize: z.int().min(1).optional(),
  /** Stop with a checkpoint once the job, all attempts counted, has used so much. */
  tokenBound: z.number().min(0).optional(),
  gpuSecondsBound: z.number().min(0).optional(),
});
export type FineTuneInput = z.infer<typeof FineTuneInput>;
export const FineTuneOutput = z.strictObject({
  model: ModelRef,
  steps: z.int(),
  trainLoss: z.number(),
  tokens: z.int(),
  precision: z.string(),
  /** Absent in what a release before 0.4 recorded. */
  counts: TrainingCounts.optional(),
});
export type FineTuneOutput = z.infer<typeof FineTuneOutput>;
/** `bounded`: a bound is reached, and a checkpoint is kept. `usage` is that of all attempts of the job. */
export const FineTuneDone = z.union([done(FineTuneOutput), z.strictObject({ bounded: z.literal(true), usage: Usage })]);
export type FineTuneDone = z.infer<typeof FineTuneDone>;
export const ClaimedHost = z.strictObject({ host: z.string().min(1).max(80) });
export type ClaimedHost = z.infer<typeof ClaimedHost>;

// --- evaluation and gate ----------------------------------------------------------------------------------------------
export const GradeInput = z.strictObject({
  questions: DatasetRef,
  replies: DatasetRef,
  texts: ObjectRef,
  confidence: z.number().gt(0).lt(1),
  /** Where the client has found questions that do not count. */
  leftOut: z.strictObject({ sets: ObjectRef, set: SetName.nullable() }).optional(),
});
export type GradeInput = z.infer<typeof GradeInput>;
/** `low` and `high`: Wilson's interval of the accuracy, at the gate's confidence. */
export const EvalResult = z.strictObject({
  grades: DatasetRef,
  correct: z.int(),
  total: z.int(),
  accuracy: z.number(),
  low: z.number(),
  high: z.number(),
  /** Questions that are in the training data and do not count; absent: none. */
  leftOut: z.int().min(1).optional(),
});
export type EvalResult = z.infer<typeof EvalResult>;

/** `best` or `current` null: there is no evaluation to compare, and limits on numbers of the watch alone decide. */
export const GateInput = z.strictObject({
  best: EvalResult.nullable(),
  current: EvalResult.nullable(),
  gate: Gate,
  /** Rounds rolled back in a row before this one. */
  rollbacksInARow: z.int().min(0),
  seed: Seed,
  watch: RoundWatch.nullable().optional(),
  /** The rounds before this one, where a limit is relative to them. */
  table: ObjectRef.nullable().optional(),
});
export type GateInput = z.infer<typeof GateInput>;
export const GateOutput = z.strictObject({
  verdict: z.enum(['keep', 'roll-back', 'stop']),
  /** Paired difference current - best and its interval; null: there is no evaluation to compare. */
  difference: z.number().nullable(),
  low: z.number().nullable(),
  high: z.number().nullable(),
  /** Numbers of the watch beyond a limit of the spec; absent: none is. */
  watch: z.array(Breach).max(MAX_LIMITS).optional(),
});
export type GateOutput = z.infer<typeof GateOutput>;

// --- what a run keeps of itself ---------------------------------------------------------------------------------------
/** A bound on the steps of a round, or of the preparation; there are far fewer. */
const MAX_STEPS = 200;
/** What one step of a round took; `reused`: it was found under its key. */
export const StepCost = z.strictObject({
  step: z.string().max(200),
  seconds: z.number().min(0),
  usage: Usage.nullable(),
  reused: z.boolean(),
  /** In the table only: it reaches its activity apart from the round. */
  counts: Counts.optional(),
});
export type StepCost = z.infer<typeof StepCost>;

export const RoundSummary = z.strictObject({
  round: Round,
  set: TrainingSet,
  /** null for round 0, which samples nothing, and where the enrichment was skipped. */
  changed: z.int().nullable(),
  candidates: DatasetRef.nullable(),
  decisions: DatasetRef.nullable(),
  model: ModelRef,
  trainLoss: z.number(),
  /** null: there are no questions, or the evaluation was skipped. */
  evaluation: EvalResult.nullable(),
  gate: GateOutput.nullable(),
  /** Its RoundReport. Absent where a release before 0.4 finished the round, or there was nothing to report. */
  report: ObjectRef.optional(),
  /** A CurvesReport. Absent where the evaluation drew no samples, or somebody skipped them. */
  curves: ObjectRef.optional(),
  /** In order. Seconds by the workflow's clock: waiting in a queue included. */
  steps: z.array(StepCost).max(MAX_STEPS),
  /** Absent: nothing was measured. It reaches the table apart from the round. */
  watch: RoundWatch.optional(),
});
export type RoundSummary = z.infer<typeof RoundSummary>;

/** The rounds a run has finished, an object of the store: a run's state carries its reference only. */
export const RoundTable = z.strictObject({
  version: z.literal(2),
  /** Steps before round 0. */
  preparation: z.array(StepCost).max(MAX_STEPS),
  rounds: z.array(RoundSummary),
});
export type RoundTable = z.infer<typeof RoundTable>;

/** A round for the table; `preparation` goes with the first. */
export const KeepRoundInput = z.strictObject({
  table: ObjectRef.nullable(),
  preparation: z.array(StepCost).max(MAX_STEPS).nullable(),
  round: RoundSummary,
});
export type KeepRoundInput = z.infer<typeof KeepRoundInput>;
/** What the steps of a round, and of the preparation, have counted. A payload of its own, since both are near its limit. */
export const StepCounts = z
  .array(z.strictObject({ round: Round.nullable(), step: z.string().max(200), counts: Counts }))
  .max(MAX_STEPS);
export type StepCounts = z.infer<typeof StepCounts>;
export const ReadRoundInput = z.strictObject({ table: ObjectRef, round: Round });
export type ReadRoundInput = z.infer<typeof ReadRoundInput>;

/** Temporal's id of an execution. */
const ExecutionId = z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'a UUID in lower-case hex');

export const ExportInput = z.strictObject({
  workflowId: z.string().min(1).max(1000),
  /** The execution that began the chain, and the one to export. */
  firstRunId: ExecutionId,
  runId: ExecutionId,
  /** The run ends with this execution: timeline, spec and list of files are written, too. */
  last: z.boolean(),
});
export type ExportInput = z.infer<typeof ExportInput>;
