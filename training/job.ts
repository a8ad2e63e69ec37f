/**
 * The folder of a training job: spec.json (a TrainingJob: the intent, written before the trainer starts), train.jsonl,
 * owner.json, and what the trainer writes (state, progress, steps, checkpoints, result, model, log). It is named by the
 * key of the step, so that the next attempt finds the same job.
 * Throws what reading the chunks and writing the files throws.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { TrainerConfig } from '../contracts/deployment.js';
import { microBatchOf, type Training, TrainingJob } from '../contracts/training.js';
import { readJson, streamTo, sweep, writeWhole } from '../storage/files.js';

/** The workflow execution that waits for a job. */
const Owner = z.object({ workflowId: z.string(), runId: z.string() });
export type Owner = z.infer<typeof Owner>;

export interface Job {
  folder: string;
  owner: Owner;
  /** Absolute path of the model to start from. */
  baseModel: string;
  baseModelSha256: string;
  training: Training;
  seed: number;
  deterministic: boolean;
}

const Progress = z.object({
  step: z.int(),
  totalSteps: z.int(),
  loss: z.number().nullish(),
  /** Counts all attempts, as in the result. */
  tokens: z.int(),
  seconds: z.number(),
});
export type TrainerProgress = z.infer<typeof Progress>;

const Result = z.object({
  sha256: z.string(),
  bytes: z.int(),
  steps: z.int(),
  trainLoss: z.number(),
  tokens: z.int(),
  precision: z.string(),
  /** Counts all attempts, from the start of each program on. */
  seconds: z.number(),
});
export type TrainerResult = z.infer<typeof Result>;

const DATA = 'train.jsonl';

/**
 * Makes the folder ready to start. `chunks` are verified JSONL bytes, which are copied without being decoded. A folder
 * that is ready already keeps its data; its spec is written again, since another host may have the base model elsewhere.
 */
export async function prepareJob(job: Job, trainer: TrainerConfig, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  const { folder } = job;
  await mkdir(folder, { recursive: true });
  sweep(folder);
  const present = await readSpec(folder);
  const dataSha256 = present?.dataSha256 ?? (await streamTo(() => join(folder, DATA), chunks, folder)).sha256;
  const spec = specOf(job, trainer, dataSha256);
  await writeSpec(folder, present ? { ...spec, microBatchSize: shrunk(job.training, trainer, present) } : spec);
}

/** The micro-batch of a job only shrinks (after memory ran out), and still divides the batch over all processes. */
function shrunk(training: Training, { processes }: TrainerConfig, present: TrainingJob): number {
  let size = Math.min(microBatchOf(training, processes), present.microBatchSize);
  while (size > 1 && training.batchSize % (size * processes) !== 0) size--;
  return size;
}

function specOf(job: Job, trainer: TrainerConfig, dataSha256: string): TrainingJob {
  const { from: _, ...training } = job.training;
  return {
    ...training,
    version: 2,
    baseModel: job.baseModel,
    baseModelSha256: job.baseModelSha256,
    data: DATA,
    dataSha256,
    lora: training.method === 'lora' ? training.lora : null,
    microBatchSize: microBatchOf(job.training, trainer.processes),
    checkpoint: { ...training.checkpoint, everySteps: training.checkpoint.everySteps ?? null },
    seed: job.seed,
    deterministic: job.deterministic,
    device: trainer.device,
    threads: trainer.threads ?? null,
    processes: trainer.processes,
  };
}

/** null: the job is not prepared. */
const readSpec = (folder: string): Promise<TrainingJob | null> => readJson(join(folder, 'spec.json'), TrainingJob);

const writeSpec = (folder: string, spec: TrainingJob): Promise<void> =>
  writeWhole(join(folder, 'spec.json'), JSON.stringify(spec, null, 2), folder);

/** null: the job is not finished. */
export const readResult = (folder: string): Promise<TrainerResult | null> =>
  readJson(join(folder, 'result.json'), Result);

export const readProgress = (folder: string): Promise<TrainerProgress | null> =>
  readJson(join(folder, 'progress.json'), Progress);

export const readOwner = (folder: string): Promise<Owner | null> => readJson(join(folder, 'owner.json'), Owner);

export const writeOwner = ({ folder, owner }: Job): Promise<void> =>
  writeWhole(join(folder, 'owner.json'), JSON.stringify(owner), folder);
