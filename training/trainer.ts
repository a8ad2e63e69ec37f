/**
 * Supervisor of one training job: a detached process with a folder (spec.json, train.jsonl, lock, state, progress,
 * steps, checkpoints, model). The intent, spec.json, is written before the process starts. Called again after a
 * worker's death it attaches to the process that lives; if that died too, a new one goes on from the newest checkpoint.
 * Throws trainer.lost (retried), trainer.<type> (not).
 */

import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { Trainer } from '../contracts/deployment.js';
import { trainerFailed, trainerLost } from '../contracts/errors.js';
import type { Training } from '../contracts/spec.js';
import { readJson, sweep, syncFolder, temporaryName, writeWhole } from '../storage/files.js';
import { endGroup, isRunning, startDetached, tail } from './processes.js';
import { checkPython, pythonProgram } from './python-environment.js';

const State = z.object({
  state: z.enum(['starting', 'running', 'done', 'failed']),
  pid: z.int(),
  host: z.string().optional(),
  error: z.object({ type: z.string(), message: z.string() }).nullish(),
});
const Progress = z.object({
  step: z.int(),
  totalSteps: z.int(),
  loss: z.number().nullish(),
  /** Of all attempts, as in the result. A trainer that the release before started does not tell them. */
  tokens: z.int().default(0),
  seconds: z.number().default(0),
  tokensPerSecond: z.number().nullish(),
  secondsLeft: z.number().nullish(),
});
export type TrainerProgress = z.infer<typeof Progress>;
const Result = z.object({
  sha256: z.string(),
  steps: z.int(),
  trainLoss: z.number(),
  tokens: z.int(),
  precision: z.string(),
  precisionWhy: z.string(),
  /** Of all attempts, the start of the programs included. */
  seconds: z.number(),
});
export type TrainerResult = z.infer<typeof Result>;

const Owner = z.object({ workflowId: z.string(), runId: z.string() });
export type Owner = z.infer<typeof Owner>;

export interface Job {
  folder: string;
  /** The workflow that waits for it. */
  owner: Owner;
  baseModel: string;
  baseModelSha256: string;
  training: Training;
  seed: number;
  deterministic: boolean;
}

const POLL_MS = 250;
const CANCEL_GRACE_MS = 20_000;

/** The folder with its data and spec, ready to start; what is there already is left. `lines` are JSON lines. */
export async function prepareJob(job: Job, trainer: Trainer, lines: AsyncIterable<string>): Promise<void> {
  const specPath = join(job.folder, 'spec.json');
  await mkdir(job.folder, { recursive: true });
  sweep(job.folder);
  const there = await readJson(specPath, z.looseObject({ microBatchSize: z.int() }));
  if (there) {
    // After memory ran out. It does not decide the weights, so the checkpoints stay good.
    const { microBatchSize = there.microBatchSize } = job.training;
    if (microBatchSize < there.microBatchSize)
      await writeWhole(specPath, JSON.stringify({ ...there, microBatchSize }, null, 2), job.folder);
    return;
  }
  const dataSha256 = await writeLines(join(job.folder, 'train.jsonl'), lines);
  const { from: _from, ...training } = job.training;
  const spec = {
    version: 1,
    baseModel: job.baseModel,
    baseModelSha256: job.baseModelSha256,
    data: 'train.jsonl',
    dataSha256,
    ...training,
    lora: training.method === 'lora' ? training.lora : null,
    microBatchSize: training.microBatchSize ?? training.batchSize,
    checkpoint: { everySteps: null, ...training.checkpoint },
    seed: job.seed,
    deterministic: job.deterministic,
    device: trainer.device,
    threads: trainer.threads ?? null,
  };
  await writeWhole(specPath, JSON.stringify(spec, null, 2), job.folder);
}

export const readResult = (folder: string): Promise<TrainerResult | null> =>
  readJson(join(folder, 'result.json'), Result);

/** Is a trainer of this host at work below `jobs`? Its worker may be dead; it has the hardware all the same. */
export async function isTraining(jobs: string): Promise<boolean> {
  return (await trainersOf(jobs)).length > 0;
}

/** Ends the trainers of this host that worked for a run which was closed while no worker was there. */
export async function endOrphans(jobs: string, isClosed: (run: Owner) => Promise<boolean>): Promise<void> {
  for (const { pid, folder } of await trainersOf(jobs)) {
    const owner = await readJson(join(folder, 'owner.json'), Owner);
    if (owner && (await isClosed(owner))) await endGroup(pid, folder, CANCEL_GRACE_MS);
  }
}

async function trainersOf(jobs: string): Promise<{ pid: number; folder: string }[]> {
  const found: { pid: number; folder: string }[] = [];
  for (const name of await readdir(jobs).catch(() => [])) {
    const folder = join(jobs, name);
    const state = await readJson(join(folder, 'state.json'), State);
    const open = state?.state === 'starting' || state?.state === 'running';
    if (open && state.host === hostname() && (await isRunning(state.pid, folder)))
      found.push({ pid: state.pid, folder });
  }
  return found;
}

/**
 * Starts or attaches, follows, and returns when the model folder stands. Ends the process only if it is `unwanted`, or
 * once it has used up a bound: then it leaves a checkpoint, and its progress is returned.
 */
export async function followJob(
  job: Job,
  trainer: Trainer,
  python: string,
  onProgress: (progress: TrainerProgress | null) => void,
  signal: AbortSignal,
  unwanted: () => Promise<boolean>,
  bounds: { tokens?: number | undefined; seconds?: number | undefined } = {},
): Promise<TrainerResult | { unfinished: TrainerProgress }> {
  const { folder } = job;
  const log = join(folder, 'log.txt');
  await writeWhole(join(folder, 'owner.json'), JSON.stringify(job.owner), folder);
  let started: Awaited<ReturnType<typeof start>> | null = null;
  /** The process that left state.json before ours began: what it says is not about ours. */
  let predecessor: number | null = null;
  for (;;) {
    const result = await readJson(join(folder, 'result.json'), Result);
    const state = await readJson(join(folder, 'state.json'), State);
    const alive = state !== null && (await isRunning(state.pid, folder));
    if (result && !alive) return result;
    if (signal.aborted) {
      // A worker that shuts down leaves the trainer to its successor; a cancelled run does not need it any more.
      const pid = started?.pid ?? state?.pid;
      if (pid && (await unwanted())) await endGroup(pid, folder, CANCEL_GRACE_MS);
      throw signal.reason;
    }
    if (!alive && !started) {
      predecessor = state?.pid ?? null;
      started = await start(folder, trainer, python, log);
    }
    const progress = await readJson(join(folder, 'progress.json'), Progress);
    onProgress(progress);
    const pid = started?.pid ?? state?.pid;
    const { tokens = Number.POSITIVE_INFINITY, seconds = Number.POSITIVE_INFINITY } = bounds;
    const isUsedUp = progress && (progress.tokens >= tokens || progress.seconds >= seconds);
    if (isUsedUp && progress.step < progress.totalSteps && pid) {
      await endGroup(pid, folder, CANCEL_GRACE_MS);
      return { unfinished: (await readJson(join(folder, 'progress.json'), Progress)) ?? progress };
    }
    const code = await Promise.race([
      ...(started ? [started.exited.then((exit) => exit ?? -1)] : []),
      sleep(POLL_MS, 'alive' as const),
    ]);
    // 3: another trainer holds the folder; its state.json tells who, and it is followed from now on.
    if (code === 3) started = null;
    else if (typeof code === 'number') {
      if (code === 0) continue;
      await failure(folder, log, code, predecessor);
    } else if (!started && !(await aliveOrDone(folder))) {
      await failure(folder, log, null, predecessor);
    }
  }
}

async function failure(folder: string, log: string, code: number | null, predecessor: number | null): Promise<never> {
  const state = await readJson(join(folder, 'state.json'), State);
  if (state?.state === 'failed' && state.error && state.pid !== predecessor)
    throw trainerFailed(state.error.type, state.error.message, log);
  // It had no room to say so.
  if (code === 5) throw trainerFailed('disk-full', 'The disk is full.', log);
  if (code === 2 || code === 1) throw trainerFailed('failed', await tail(log), log);
  throw trainerLost(
    code === null ? 'The trainer process is gone.' : `The trainer process ended (${code === -1 ? 'killed' : code}).`,
  );
}

async function aliveOrDone(folder: string): Promise<boolean> {
  const state = await readJson(join(folder, 'state.json'), State);
  if (state && (await isRunning(state.pid, folder))) return true;
  return (await readJson(join(folder, 'result.json'), Result)) !== null;
}

async function start(folder: string, trainer: Trainer, python: string, log: string) {
  await checkPython(python);
  const program = [pythonProgram('trainer.py'), folder];
  const launch = ['-m', 'accelerate.commands.launch', '--num_processes', String(trainer.processes)];
  if (trainer.accelerateConfig) launch.push('--config_file', trainer.accelerateConfig);
  const many = trainer.processes > 1 || trainer.accelerateConfig !== undefined;
  return startDetached(python, many ? [...launch, ...program] : program, { log });
}

async function writeLines(path: string, lines: AsyncIterable<string>): Promise<string> {
  const temporary = join(path, '..', temporaryName());
  const hash = createHash('sha256');
  const whole = async function* () {
    for await (const line of lines) {
      const text = `${line}\n`;
      hash.update(text);
      yield text;
    }
  };
  try {
    // A full disk is an error of the stream's, at whatever moment: pipeline gives it to us, else it ends the worker.
    await pipeline(whole, createWriteStream(temporary, { flush: true }));
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(join(path, '..'));
  return hash.digest('hex');
}
