/**
 * Supervisor of one training job (job.ts): starts the detached trainer, or attaches to the one that is running, and
 * follows it until the model folder is complete. After a worker's death the next attempt attaches to the process; if
 * that died too, a new one resumes from the newest checkpoint.
 * A trainer that makes no progress for too long is ended: it writes down what it does (`pulse`), and each look counts.
 * Throws python.missing, storage.full, storage.no-locks and trainer.<type> (not retried), trainer.lost and
 * trainer.stalled (retried).
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TrainerConfig } from '../contracts/deployment.js';
import {
  noFileLocks,
  storageFull,
  storageRefused,
  trainerFailed,
  trainerLost,
  trainerStalled,
} from '../contracts/errors.js';
import { endedForMemory, endGroup, isRunning, readState, runningJobs, startDetached } from '../processes/detached.js';
import { checkPython, pythonProgram } from '../processes/python.js';
import { ProgressWatch } from '../processes/stall.js';
import {
  dropUnfinishedModel,
  type Job,
  type Owner,
  readOwner,
  readProgress,
  readPulse,
  readResult,
  type TrainerProgress,
  type TrainerResult,
  writeOwner,
} from './job.js';

interface Following {
  /** Path of the interpreter. */
  python: string;
  /** The name of this host, which the trainer leaves in its folder. */
  host: string;
  signal: AbortSignal;
  /** Called about four times a second; null before the first step. `quietMs`: how long there was no progress. */
  onProgress: (progress: TrainerProgress | null, quietMs: number) => void;
  stallMinutes: number;
  /** Asked once `signal` is aborted: does nobody want the model any more? Otherwise the trainer keeps running. */
  isUnwanted: () => Promise<boolean>;
  /** Stop with a checkpoint once the job, all attempts counted, has used so much. */
  bounds?: { tokens?: number | undefined; seconds?: number | undefined };
}

const LESS_MEMORY = 'A smaller microBatchSize or maxLength, or gradientCheckpointing, needs less.';
const POLL_MS = 250;
const HELD_MS = 5000;
/** The time that the trainer has to write a checkpoint (STOP_WITHIN_SECONDS in trainer.py). */
const STOP_GRACE_MS = 20_000;
/** For one that is frozen, and would not write any. */
const STALLED_GRACE_MS = 2000;

/** For the exit code of a process that a signal ended. */
const KILLED = -1;
/** Exit codes of trainer.py. Through accelerate all of them become 1. */
const EXIT = { failed: 1, refused: 2, locked: 3, diskFull: 5, noLocks: 6, diskReadOnly: 7 } as const;

/** Ends the trainers of this host whose run was closed while no worker was there to end them. */
export async function endOrphans(
  jobs: string,
  host: string,
  isClosed: (run: Owner) => Promise<boolean>,
): Promise<void> {
  for (const { pid, folder } of await runningJobs(jobs, host)) {
    const owner = await readOwner(folder);
    if (owner && (await isClosed(owner))) await endGroup(pid, folder, STOP_GRACE_MS);
  }
}

/**
 * Returns the result once the model folder is complete, or, when a bound is reached first, the progress that is kept in
 * a checkpoint (`unfinished`). The job must be prepared.
 */
export async function followJob(
  job: Job,
  trainer: TrainerConfig,
  { python, host, signal, onProgress, isUnwanted, stallMinutes, bounds = {} }: Following,
): Promise<TrainerResult | { unfinished: TrainerProgress }> {
  const { folder } = job;
  await writeOwner(job);
  let started: Awaited<ReturnType<typeof start>> | null = null;
  /** The process that left state.json before ours started: that state is not about ours. */
  let predecessor: number | null = null;
  const killsBefore = await endedForMemory();
  const watch = new ProgressWatch(stallMinutes * 60_000);
  for (;;) {
    const result = await readResult(job);
    const state = await readState(folder);
    // A process of another host may have the same id as one of ours, but not with this folder in its command line.
    const alive = state !== null && (await isRunning(state.pid, folder));
    if (result && !alive) return result;
    if (signal.aborted) {
      // A worker that shuts down leaves the trainer to its successor; a cancelled run has no use for it.
      const pid = started?.pid ?? state?.pid;
      if (pid && (await isUnwanted())) await endGroup(pid, folder, STOP_GRACE_MS);
      throw signal.reason;
    }
    if (!alive && !started) {
      predecessor = state?.pid ?? null;
      await dropUnfinishedModel(job);
      started = await start(folder, trainer, python, host);
    }
    const progress = await readProgress(folder);
    watch.look(JSON.stringify([state, progress, await readPulse(folder)]));
    onProgress(progress, watch.quietMs);
    const pid = started?.pid ?? state?.pid;
    if (watch.isStalled) {
      if (pid) await endGroup(pid, folder, STALLED_GRACE_MS);
      throw trainerStalled(stallMinutes);
    }
    if (progress && pid && progress.step < progress.totalSteps && isUsedUp(progress, bounds)) {
      await endGroup(pid, folder, STOP_GRACE_MS);
      return { unfinished: (await readProgress(folder)) ?? progress };
    }
    const exit = await Promise.race([
      ...(started ? [started.exited.then((exit) => exit ?? KILLED)] : []),
      sleep(POLL_MS, 'alive' as const),
    ]);
    const said = typeof exit === 'number' ? await started?.said() : undefined;
    const code = exit === EXIT.failed ? codeWithin(said) : exit;
    // Another trainer holds the folder: it is followed from now on, by its state.json. One that has not written it yet,
    // or is of another host, cannot be looked at: it is waited for.
    if (code === EXIT.locked) {
      started = null;
      const holder = await readState(folder);
      if (!holder || !(await isRunning(holder.pid, folder))) await sleep(HELD_MS);
    } else if (code === 0 && !(await readResult(job))) throw trainerLost('The trainer ended without a result.');
    else if (typeof code === 'number' && code !== 0)
      throw await failureOf(folder, code, { predecessor, killsBefore, said });
    else if (code === 'alive' && !started && !(await isAliveOrDone(job)))
      throw await failureOf(folder, null, { predecessor, killsBefore });
  }
}

/** The exit code of the trainer where `accelerate launch` has ended with 1, and shows it in the last lines. */
const codeWithin = (said = ''): number => Number(/exit status (\d+)/.exec(said)?.[1] ?? EXIT.failed);

function isUsedUp(used: TrainerProgress, { tokens, seconds }: NonNullable<Following['bounds']>): boolean {
  return (tokens !== undefined && used.tokens >= tokens) || (seconds !== undefined && used.seconds >= seconds);
}

/** What was so before the trainer ended: whose state.json does not count, and what `endedForMemory` said. */
interface Before {
  predecessor: number | null;
  killsBefore: number;
  /** Its last lines. */
  said?: string | undefined;
}

/** Why the trainer ended. `code` null: it is gone, and was not our child. */
async function failureOf(
  folder: string,
  code: number | null,
  { predecessor, killsBefore, said }: Before,
): Promise<Error> {
  const log = logOf(folder);
  const state = await readState(folder);
  const error = state?.state === 'failed' && state.pid !== predecessor ? state.error : null;
  // Such a disk may not take state.json either.
  if (error?.type === 'disk-full' || (!error && code === EXIT.diskFull)) return storageFull(folder);
  if (error?.type === 'disk-read-only' || (!error && code === EXIT.diskReadOnly))
    return storageRefused(folder, 'EROFS');
  if (error) return trainerFailed(error.type, error.message, log);
  if (code === EXIT.noLocks) return noFileLocks(folder, 'artifactRoot');
  // The kernel leaves it no time to write state.json, and `accelerate` makes any code of it 1.
  const mayBeKilled = code === null || code === KILLED || code === EXIT.failed;
  if (mayBeKilled && (await endedForMemory()) > killsBefore)
    return trainerFailed('out-of-memory', `Memory ran out, and the system ended it. ${LESS_MEMORY}`, log);
  if (code === EXIT.refused || code === EXIT.failed)
    return trainerFailed('failed', said || `It ended with ${code} and wrote no reason.`, log);
  if (code === null) return trainerLost('The trainer process is gone.');
  return trainerLost(`The trainer process ended (${code === KILLED ? 'killed' : code}).`);
}

async function isAliveOrDone(job: Job): Promise<boolean> {
  const state = await readState(job.folder);
  if (state && (await isRunning(state.pid, job.folder))) return true;
  return (await readResult(job)) !== null;
}

async function start(folder: string, trainer: TrainerConfig, python: string, host: string) {
  await checkPython(python);
  const program = [pythonProgram('trainer.py'), folder];
  const { processes, accelerateConfig } = trainer;
  const launch = ['-m', 'accelerate.commands.launch', '--num_processes', String(processes)];
  if (accelerateConfig) launch.push('--config_file', accelerateConfig);
  const isLaunched = processes > 1 || accelerateConfig !== undefined;
  return startDetached(python, isLaunched ? [...launch, ...program] : program, {
    log: logOf(folder),
    env: { SRLM_HOST: host },
  });
}

const logOf = (folder: string) => join(folder, 'log.txt');
