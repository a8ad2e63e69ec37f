/**
 * Inputs and outputs of activities and workflows. References only, never rows: no value here comes near 32 KB.
 */
import { z } from 'zod';
import { Dataset, Manifest, Model, Sha256, Spent } from './artifacts.js';
import { Operations } from './deployment.js';
import { APPROVALS, Fields, Gate, Prompts, RunSpec, SampleSpec, Sampling, Selection, Training } from './spec.js';

export const DataKind = z.enum(['examples', 'catalysts', 'questions', 'prompts']);
export type DataKind = z.infer<typeof DataKind>;

/** Client -> CPU queue: normalise one uploaded file into chunks. */
export const IngestInput = z.strictObject({
  kind: DataKind,
  file: Manifest,
  /** The user's name of it, for messages. */
  name: z.string(),
  fields: Fields,
  limit: z.int().min(1).nullable(),
  chunkSize: z.int().min(1),
});
export type IngestInput = z.infer<typeof IngestInput>;
export const IngestOutput = z.strictObject({ data: Dataset, missingRationales: z.int() });
export type IngestOutput = z.infer<typeof IngestOutput>;

/** -> GPU queue: resolve a model path below the model roots, check the folder, digest it. */
export const PrepareModelInput = z.strictObject({ path: z.string() });
export type PrepareModelInput = z.infer<typeof PrepareModelInput>;

export const SamplePurpose = z.enum(['enrich', 'rationalize', 'answer', 'prompt']);
export type SamplePurpose = z.infer<typeof SamplePurpose>;

/** A whole sampling step: K texts for each row of `data`. Its shards and its seal take the same value. */
export const SampleStep = z.strictObject({
  purpose: SamplePurpose,
  engine: z.string(),
  /** null: the endpoint's own model, named in the deployment. */
  model: Model.nullable(),
  data: Dataset,
  prompts: Prompts,
  system: z.string().nullable(),
  /** The user turn of purpose `prompt`. */
  prompt: z.string().nullable(),
  enrichFrom: z.enum(['original', 'current']),
  sampling: Sampling.extend({ stop: z.array(z.string()) }),
  seed: z.int(),
  round: z.int(),
  deterministic: z.boolean(),
});
export type SampleStep = z.infer<typeof SampleStep>;

/** A whole scoring step: log-probability of the answer under `model`, for the incumbent and each sound candidate. */
export const ScoreStep = z.strictObject({
  engine: z.string(),
  model: Model,
  data: Dataset,
  candidates: Dataset,
  prompts: Prompts,
  enrichFrom: z.enum(['original', 'current']),
  deterministic: z.boolean(),
});
export type ScoreStep = z.infer<typeof ScoreStep>;

export const Sharded = z.discriminatedUnion('step', [
  z.strictObject({ step: z.literal('sample'), input: SampleStep }),
  z.strictObject({ step: z.literal('score'), input: ScoreStep }),
]);
export type Sharded = z.infer<typeof Sharded>;

/** What is left of a budget; null: no bound. */
export const Allowance = z.strictObject({
  tokens: z.number().nullable(),
  gpuSeconds: z.number().nullable(),
  money: z.number().nullable(),
  /** ISO time. */
  until: z.string().nullable(),
});
export type Allowance = z.infer<typeof Allowance>;

/** -> GPU queue: chunks [from, to) of a sharded step. It ends after the chunk in hand when its allowance is used up. */
export const Shard = z.strictObject({
  of: Sharded,
  from: z.int().min(0),
  to: z.int().min(1),
  allowance: Allowance.optional(),
  /** What these chunks cost until then (ms since 1970) is counted already. Absent: since this activity was scheduled. */
  countedUntil: z.number().optional(),
});
export type Shard = z.infer<typeof Shard>;
export const ShardOutput = z.strictObject({
  rows: z.int(),
  /** Chunks found in the store, not worked on again. */
  chunksReused: z.int(),
  chunksDone: z.int(),
  /** false: paused, or the allowance is used up; the rest is still to be done. */
  complete: z.boolean(),
  /** By all attempts of this shard. */
  spent: Spent,
});
export type ShardOutput = z.infer<typeof ShardOutput>;

export const RationalizedInput = z.strictObject({
  data: Dataset,
  /** Sampled by purpose `rationalize`; null where every example has a rationale. */
  candidates: Dataset.nullable(),
  prompts: Prompts,
});
export type RationalizedInput = z.infer<typeof RationalizedInput>;

export const SelectInput = z.strictObject({
  data: Dataset,
  candidates: Dataset,
  offPolicy: Dataset.nullable(),
  onPolicy: Dataset.nullable(),
  prompts: Prompts,
  enrichFrom: z.enum(['original', 'current']),
  selection: Selection,
  seed: z.int(),
  round: z.int(),
});
export type SelectInput = z.infer<typeof SelectInput>;
export const SelectOutput = z.strictObject({
  data: Dataset,
  decisions: Dataset,
  /** Rows whose rationale changed in this round. */
  changed: z.int(),
  /** Rows whose rationale is no longer the original one. */
  enriched: z.int(),
  meanRationaleChars: z.number(),
});
export type SelectOutput = z.infer<typeof SelectOutput>;

export const MixInput = z.strictObject({
  data: Dataset,
  catalysts: Dataset.nullable(),
  copies: z.int().min(1),
  use: z.enum(['enrich', 'answer']),
  prompts: Prompts,
});
export type MixInput = z.infer<typeof MixInput>;

export const FineTuneInput = z.strictObject({
  trainer: z.string(),
  base: Model,
  data: Dataset,
  training: Training,
  seed: z.int(),
  deterministic: z.boolean(),
  /** Smaller than the spec's since memory ran out; gradients are accumulated, so the effective batch stays. */
  microBatchSize: z.int().min(1).optional(),
  /** Ends with a checkpoint once the job has used so many, those of earlier attempts included. */
  tokenBound: z.int().optional(),
  gpuSecondsBound: z.number().optional(),
});
export type FineTuneInput = z.infer<typeof FineTuneInput>;
export const FineTuneOutput = z.strictObject({
  model: Model,
  steps: z.int(),
  trainLoss: z.number(),
  tokens: z.int(),
  precision: z.string(),
});
export type FineTuneOutput = z.infer<typeof FineTuneOutput>;
/**
 * `spent`, by all attempts of the job, is null for a training that another run, or an earlier step of this one, has
 * done. Without a model: a bound is reached, and a checkpoint is kept.
 */
export const FineTuneDone = z.union([
  FineTuneOutput.extend({ spent: Spent.nullable() }),
  z.strictObject({ model: z.null(), spent: Spent }),
]);
export type FineTuneDone = z.infer<typeof FineTuneDone>;

export const GradeInput = z.strictObject({ questions: Dataset, replies: Dataset, confidence: z.number() });
export type GradeInput = z.infer<typeof GradeInput>;
/** `low` and `high`: bootstrap percentile interval of the accuracy, at the gate's confidence. */
export const ScoreCard = z.strictObject({
  grades: Dataset,
  correct: z.int(),
  total: z.int(),
  accuracy: z.number(),
  low: z.number(),
  high: z.number(),
});
export type ScoreCard = z.infer<typeof ScoreCard>;

export const GateInput = z.strictObject({
  best: ScoreCard,
  current: ScoreCard,
  gate: Gate,
  /** Rounds rolled back in a row before this one. */
  failedInARow: z.int(),
  seed: z.int(),
});
export type GateInput = z.infer<typeof GateInput>;
export const GateOutput = z.strictObject({
  verdict: z.enum(['keep', 'roll-back', 'stop']),
  /** Paired difference current - best and its interval. */
  difference: z.number(),
  low: z.number(),
  high: z.number(),
});
export type GateOutput = z.infer<typeof GateOutput>;

export const RoundSummary = z.strictObject({
  round: z.int(),
  model: Model,
  /** null for round 0, which samples nothing. */
  changed: z.int().nullable(),
  enriched: z.int(),
  rows: z.int(),
  meanRationaleChars: z.number(),
  trainLoss: z.number(),
  score: ScoreCard.nullable(),
  gate: GateOutput.nullable(),
  data: Dataset,
  decisions: Dataset.nullable(),
  /** Seconds by step, by the workflow's clock: waiting in a queue included. */
  seconds: z.record(z.string(), z.number()),
  /** By step, where anything was. Absent in runs of 0.1. */
  spent: z.record(z.string(), Spent).optional(),
});
export type RoundSummary = z.infer<typeof RoundSummary>;

/** Dotted field of a spec -> its new value. */
export const Settings = z.record(z.string(), z.json());
export type Settings = z.infer<typeof Settings>;
/** Settings that hold from the beginning of a round on; -1: from before the first one. */
export const Change = z.strictObject({ fromRound: z.int().min(-1), set: Settings });
export type Change = z.infer<typeof Change>;
/** An operator's word on a round, which goes before the gate's. It takes effect before round `before` begins. */
export const Ruling = z.strictObject({
  round: z.int().min(0),
  verdict: z.enum(['promote', 'roll-back']),
  before: z.int().min(1),
});
export type Ruling = z.infer<typeof Ruling>;

export const RunInput = z.strictObject({
  spec: RunSpec,
  data: Manifest,
  catalysts: Manifest.nullable(),
  evaluation: Manifest.nullable(),
  operations: Operations,
  /** A fork: what its parent did before the fork, it does alike, and so finds it done. */
  fork: z
    .strictObject({
      of: z.string(),
      fromRound: z.int().min(0),
      changes: z.array(Change),
      rulings: z.array(Ruling),
      /** What was approved before the fork is not asked again. */
      approved: z.array(z.strictObject({ approval: z.enum(APPROVALS), round: z.int().nullable() })).optional(),
    })
    .optional(),
});
export type RunInput = z.infer<typeof RunInput>;

export const RoundInput = z.strictObject({
  runId: z.string(),
  round: z.int(),
  rounds: z.int(),
  spec: RunSpec,
  start: Model,
  /** M(t-1), or the best model after a roll-back; for round 0 the starting model. */
  current: Model,
  data: Dataset,
  /** How many rows of `data` no longer hold their original rationale, and their mean length: round 0 reports them. */
  meanRationaleChars: z.number(),
  catalysts: Dataset.nullable(),
  questions: Dataset.nullable(),
  best: ScoreCard.nullable(),
  failedInARow: z.int(),
  operations: Operations,
  /** Of the rounds before, against the run's budget. */
  spent: Spent.optional(),
  /** ISO time the run began. */
  startedAt: z.string().optional(),
});
export type RoundInput = z.infer<typeof RoundInput>;

/** -> CPU queue: writes down all that Temporal will forget of a run and its rounds. */
export const AuditInput = z.strictObject({ workflowId: z.string(), runId: z.string() });
export type AuditInput = z.infer<typeof AuditInput>;

export const RunResult = z.strictObject({
  rounds: z.array(RoundSummary),
  best: z.int(),
  model: Model,
  /** Ended by somebody before the last round. */
  stopped: z.boolean().optional(),
});
export type RunResult = z.infer<typeof RunResult>;

export const SampleRunInput = z.strictObject({ spec: SampleSpec, data: Manifest, operations: Operations });
export type SampleRunInput = z.infer<typeof SampleRunInput>;
export const SampleRunResult = z.strictObject({ prompts: Dataset, candidates: Dataset });
export type SampleRunResult = z.infer<typeof SampleRunResult>;

export { Sha256 };
