/**
 * Sharded steps: what each of them is asked for, how its shards and its assembly are asked, and what they answer. Its
 * rows, and the chunks that it makes, are objects of the store.
 */
import { z } from 'zod';
import { ScoreCounts, TextCounts, VerdictCounts } from './counts.js';
import { DeepenStep } from './curve-settings.js';
import { DatasetRef, ModelRef, ObjectRef, Usage } from './refs.js';
import { Judge, Name, Sampling } from './spec.js';
import { done, Round, Seed } from './step-meta.js';

export const SamplePurpose = z.enum(['enrich', 'rationalize', 'evaluate', 'prompt', 'catalyst']);
export type SamplePurpose = z.infer<typeof SamplePurpose>;
export const EnrichFrom = z.enum(['original', 'current']);
export type EnrichFrom = z.infer<typeof EnrichFrom>;

/** K texts for each row of `data`. `model`: the weights of this round; an engine with a model of its own ignores it. */
export const SampleStep = z.strictObject({
  step: z.literal('sample'),
  purpose: SamplePurpose,
  engine: Name,
  model: ModelRef.nullable(),
  data: DatasetRef,
  texts: ObjectRef,
  enrichFrom: EnrichFrom,
  sampling: Sampling.omit({ chunkSize: true, maxFailedShare: true }).extend({
    stop: z.array(z.string().min(1).max(100)).max(4),
  }),
  seed: Seed,
  round: Round,
  deterministic: z.boolean(),
});
export type SampleStep = z.infer<typeof SampleStep>;

/** Log-probabilities of the answer under `model`, for the incumbent and for every distinct candidate. */
export const LogprobStep = z.strictObject({
  step: z.literal('logprob'),
  engine: Name,
  model: ModelRef,
  data: DatasetRef,
  /** Parsed candidates, chunk by chunk beside `data`; null: the answer without any rationale. */
  candidates: DatasetRef.nullable(),
  texts: ObjectRef,
  deterministic: z.boolean(),
});
export type LogprobStep = z.infer<typeof LogprobStep>;

/** A judge's comparison of each sound, distinct candidate with the incumbent, in both orders. */
export const JudgeStep = z.strictObject({
  step: z.literal('judge'),
  engine: Name,
  /** For an engine that loads weights. */
  model: ModelRef,
  data: DatasetRef,
  /** Parsed candidates, chunk by chunk beside `data`. */
  candidates: DatasetRef,
  texts: ObjectRef,
  enrichFrom: EnrichFrom,
  maxTokens: Judge.shape.maxTokens,
  deterministic: z.boolean(),
});
export type JudgeStep = z.infer<typeof JudgeStep>;

export const ShardedStep = z.discriminatedUnion('step', [SampleStep, LogprobStep, JudgeStep, DeepenStep]);
export type ShardedStep = z.infer<typeof ShardedStep>;

/** What a sharded step received; of one chunk, too. */
export const ChunkCounts = z.discriminatedUnion('of', [TextCounts, ScoreCounts, VerdictCounts]);
export type ChunkCounts = z.infer<typeof ChunkCounts>;

/** What a sharded step makes. `counts` null: there was nothing to work on. */
export const Assembled = z.strictObject({ dataset: DatasetRef, counts: ChunkCounts.nullable() });
export type Assembled = z.infer<typeof Assembled>;

/**
 * Which records of chunks with suspect texts count, though they are no other run's to use: those of this run, and of the
 * run that it was forked from, that were made at `since` or later (milliseconds since 1970, by the clock of the workers).
 */
export const Suspects = z.strictObject({ since: z.number().min(0), forkOf: z.string().max(200).nullable() });
export type Suspects = z.infer<typeof Suspects>;

/**
 * Answer of srlmOpenStep. `step` refers to the step's input in the store, by which its shards and its assembly find it.
 * `done`: the result, if some run has finished this step before.
 */
export const OpenedStep = z.strictObject({
  step: ObjectRef,
  rows: z.int().min(0),
  chunks: z.int().min(0),
  done: done(Assembled).nullable(),
});
export type OpenedStep = z.infer<typeof OpenedStep>;

/** A shard's part of what is left of a budget; null: no bound. */
export const BudgetShare = z.strictObject({
  ...(Object.fromEntries(Object.entries(Usage.shape).map(([kind, amount]) => [kind, amount.nullable()])) as {
    [Kind in keyof Usage]: z.ZodNullable<z.ZodNumber>;
  }),
  /** ISO time. */
  until: z.string().max(40).nullable(),
});
export type BudgetShare = z.infer<typeof BudgetShare>;

/** Chunks [from, to) of a sharded step. */
export const ShardInput = z
  .strictObject({
    step: ObjectRef,
    from: z.int().min(0),
    to: z.int().min(1),
    share: BudgetShare.nullable(),
    /** The cost of chunks recorded before it is counted already: milliseconds since 1970, by the clock of the workers. */
    countedUntil: z.number().min(0),
    suspects: Suspects.prefault({ since: 0, forkOf: null }),
  })
  .refine(({ from, to }) => from < to, 'from is below to');
export type ShardInput = z.infer<typeof ShardInput>;
export const ShardOutput = z.strictObject({
  rows: z.int().min(0),
  /** Chunks found in the store. */
  chunksReused: z.int().min(0),
  chunksDone: z.int().min(0),
  /** false: paused, or the share is used up; the rest is still to be done. */
  complete: z.boolean(),
  /** By all attempts of this shard. */
  usage: Usage,
  /** The endpoint reports no usage: the tokens are those that its texts are likely to take. */
  estimated: z.boolean().optional(),
  /** For the next activity of this shard, if there is one. */
  countedUntil: z.number().min(0),
});
export type ShardOutput = z.infer<typeof ShardOutput>;

export const AssembleInput = z.strictObject({
  step: ObjectRef,
  suspects: Suspects.prefault({ since: 0, forkOf: null }),
});
export type AssembleInput = z.infer<typeof AssembleInput>;
