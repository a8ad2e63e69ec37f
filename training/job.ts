/**
 * The folder of a training job: spec.json (a TrainingJob: the intent, written before the trainer starts), train.jsonl,
 * owner.json, and what the trainer writes (state, progress, steps, checkpoints, result, model, log). It is named by the
 * key of the step, so that the next attempt finds the same job.
 * What is asked decides, never what is found: each attempt writes spec and data again, and a result counts only if it
 * is whole and of this job.
 * Throws what reading the chunks and writing the files throws.
 */
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { TrainerConfig } from '../contracts/deployment.js';
import { Sha256 } from '../contracts/refs.js';
import { microBatchOf, type Training, TrainingJob } from '../contracts/training.js';
import { OWNER_ONLY, readJson, sha256, streamTo, sweep, writeWhole } from '../storage/files.js';

/** The workflow execution that waits for a job. */
const Owner = z.object({ workflowId: z.string(), runId: z.string() });
export type Owner = z.infer<typeof Owner>;

export interface Job {
  folder: string;
  /** The key of the step, which is the name of the folder. */
  key: Sha256;
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
  /** The key of the job's step. */
  key: Sha256,
  sha256: Sha256,
  bytes: z.int().min(0),
  steps: z.int().min(0),
  trainLoss: z.number(),
  tokens: z.int().min(0),
  precision: z.string(),
  /** Rows that were not trained on, because their replies do not fit maxLength. */
  leftOut: z.int().min(0),
  /** Rows that lost their beginning to maxLength. */
  cut: z.int().min(0),
  /** Counts all attempts, from the start of each program on. */
  seconds: z.number().min(0),
});
export type TrainerResult = z.infer<typeof Result>;

/** The copy of the mixture, for the trainer. */
export const DATA = 'train.jsonl';

/**
 * Makes the folder ready to start, or to start again. `chunks` are verified JSONL bytes, which are copied without being
 * decoded. A trainer that is running has read both files, and is not disturbed.
 */
export async function prepareJob(job: Job, trainer: TrainerConfig, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  const { folder } = job;
  await mkdir(folder, { recursive: true, mode: OWNER_ONLY });
  sweep(folder);
  const present = await readSpec(folder);
  const { sha256: dataSha256 } = await streamTo(() => join(folder, DATA), chunks, folder);
  const spec = specOf(job, trainer, dataSha256);
  const isSame = present?.key === job.key;
  await writeSpec(folder, isSame ? { ...spec, microBatchSize: shrunk(job.training, trainer, present) } : spec);
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
    key: job.key,
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

/** What write_sealed of python/jobfolder.py writes: a text and its digest. Numbers are written differently there. */
const Sealed = z.object({ content: z.string(), sha256: Sha256 });

/** null: the job is not finished, or its result is not as it was written. */
export const readResult = (job: Pick<Job, 'folder' | 'key'>): Promise<TrainerResult | null> =>
  readSealed(job, 'result.json');

async function readSealed({ folder, key }: Pick<Job, 'folder' | 'key'>, name: string): Promise<TrainerResult | null> {
  const sealed = await readJson(join(folder, name), Sealed);
  if (!sealed || sha256(sealed.content) !== sealed.sha256) return null;
  const result = Result.safeParse(JSON.parse(sealed.content)).data;
  return result?.key === key ? result : null;
}

/** Where no trainer is running: a model without a whole result of this job is removed, since nobody can say what it is. */
export async function dropUnfinishedModel(job: Job): Promise<void> {
  // The trainer writes .result.json before model/ appears, and renames it afterwards.
  const result = (await readSealed(job, '.result.json')) ?? (await readResult(job));
  if (!result) await rm(join(job.folder, 'model'), { recursive: true, force: true });
}

export const readProgress = (folder: string): Promise<TrainerProgress | null> =>
  readJson(join(folder, 'progress.json'), Progress);

/** Changes while the trainer makes progress, also within a step and before the first one. */
export const readPulse = (folder: string): Promise<string> => readFile(join(folder, 'pulse'), 'utf8').catch(() => '');

export const readOwner = (folder: string): Promise<Owner | null> => readJson(join(folder, 'owner.json'), Owner);

export const writeOwner = ({ folder, owner }: Job): Promise<void> =>
  writeWhole(join(folder, 'owner.json'), JSON.stringify(owner), folder);
