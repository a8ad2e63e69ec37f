/**
 * Training: the settings of a spec, and the job that a trainer process works on. One schema for both languages: the
 * build writes TrainingJob as JSON Schema to python/training-job.schema.json, by which trainer.py checks what it reads.
 */
import { z } from 'zod';
import { Sha256 } from './refs.js';

export const Lora = z.strictObject({
  r: z.int().min(1).max(1024).default(16),
  alpha: z.number().gt(0).default(32),
  dropout: z.number().min(0).max(0.9).default(0),
  targetModules: z
    .union([
      z.literal('all-linear'),
      z
        .array(z.string().regex(/^[\w.*-]{1,40}$/, 'the name of a module'))
        .min(1)
        .max(16),
    ])
    .default('all-linear'),
});

const Checkpoint = z.strictObject({
  everySteps: z.int().min(1).optional(),
  everyMinutes: z.number().gt(0).default(10),
  keep: z.int().min(1).max(20).default(2),
});

export const Training = z.strictObject({
  from: z.enum(['start', 'previous']).default('start').describe('weights each round is trained from'),
  method: z.enum(['full', 'lora']).default('full'),
  lora: Lora.prefault({}),
  epochs: z.number().gt(0).max(100).default(3),
  batchSize: z.int().min(1).max(65536).default(16).describe('examples per optimizer step, over all devices'),
  microBatchSize: z
    .int()
    .min(1)
    .max(65536)
    .optional()
    .describe('examples per forward pass and device; default: batchSize over all processes of the trainer'),
  learningRate: z.number().gt(0).max(1).default(2e-5),
  schedule: z.enum(['linear', 'cosine', 'constant']).default('linear'),
  warmupRatio: z.number().min(0).lt(1).default(0.1),
  weightDecay: z.number().min(0).max(1).default(0),
  adamBetas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]).default([0.9, 0.999]),
  maxGradNorm: z.number().gt(0).default(1),
  maxLength: z.int().min(16).max(1_000_000).default(2048).describe('tokens'),
  overlong: z
    .enum(['leave-out', 'keep-end'])
    .default('leave-out')
    .describe('what becomes of a row whose reply does not fit maxLength'),
  precision: z.enum(['auto', 'bf16', 'fp32', 'bf16-autocast']).default('auto'),
  gradientCheckpointing: z.boolean().default(false),
  checkpoint: Checkpoint.prefault({}),
});
export type Training = z.infer<typeof Training>;

/**
 * spec.json of a job folder: everything the trainer needs, with no default left open. Paths are absolute or, for
 * `data`, a file name in the folder.
 */
export const TrainingJob = Training.omit({ from: true }).extend({
  version: z.literal(2),
  /** The key of the step that the job is done for: a result of another job is not one of this. */
  key: Sha256,
  baseModel: z.string().min(1),
  baseModelSha256: Sha256,
  data: z.string().regex(/^[A-Za-z0-9_-]+\.jsonl$/, 'a file name in the job folder'),
  dataSha256: Sha256,
  lora: Lora.nullable(),
  microBatchSize: z.int().min(1),
  checkpoint: Checkpoint.extend({ everySteps: z.int().min(1).nullable() }),
  seed: z
    .int()
    .min(0)
    .max(2 ** 31 - 1),
  deterministic: z.boolean(),
  device: z.enum(['auto', 'cpu', 'cuda']),
  threads: z.int().min(1).nullable(),
  processes: z.int().min(1),
});
export type TrainingJob = z.infer<typeof TrainingJob>;

/** Examples per forward pass and device, where the spec leaves it open. */
export const microBatchOf = ({ batchSize, microBatchSize }: Training, processes: number): number =>
  microBatchSize ?? Math.max(1, Math.floor(batchSize / processes));

/** The rule across fields: a batch is a whole number of micro-batches on every process. null: it holds. */
export function batchProblem(training: Training, processes: number): string | null {
  const { batchSize } = training;
  const pass = microBatchOf(training, processes) * processes;
  if (batchSize % pass === 0) return null;
  const over = processes === 1 ? '' : ` x ${processes} processes`;
  return `batchSize ${batchSize} is not a multiple of microBatchSize ${microBatchOf(training, processes)}${over}`;
}

/**
 * After memory ran out: the next micro-batch, at most half of the current one, that still divides the batch over all
 * processes; null: there is none.
 */
export function smallerMicroBatch(training: Training, processes: number): number | null {
  const { batchSize } = training;
  for (let size = Math.floor(microBatchOf(training, processes) / 2); size >= 1; size--)
    if (batchSize % (size * processes) === 0) return size;
  return null;
}
