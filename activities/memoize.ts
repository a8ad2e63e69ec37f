/**
 * Steps that are done once: a step whose record exists under its key returns at once, for this run and for any other.
 * Retries are therefore idempotent. Invariant: the record is written last, after everything it holds.
 */
import { Context } from '@temporalio/activity';
import type { z } from 'zod';
import type { StepRecord, StoredRef, Usage } from '../contracts/refs.js';
import type { StepDone, Suspects } from '../contracts/steps.js';
import { keyOf } from '../storage/records.js';
import type { Store } from '../storage/store.js';
import { temporalNow } from './activity.js';
import { recordAlone } from './suspects.js';

interface Work {
  holds: StoredRef[];
  output: unknown;
  usage?: Usage;
  /** The result is for this run alone: it is recorded under a key of its own (activities/suspects.ts). */
  alone?: Suspects | null;
}

/**
 * The output of `step` for `inputs`, made by `work` if no record has it. `inputs` must hold everything that decides the
 * result: digests of data and weights, settings, and the version of every piece of code that takes part.
 */
export async function memoize<T>(
  store: Store,
  step: string,
  inputs: unknown,
  output: z.ZodType<T>,
  work: () => Promise<Work>,
): Promise<StepDone<T>> {
  return doneOf(await recorded(store, step, inputs, work), output);
}

/** The output of a step that is done already, else null. */
export async function findDone<T>(
  store: Store,
  step: string,
  inputs: unknown,
  output: z.ZodType<T>,
): Promise<StepDone<T> | null> {
  const found = await store.records.find(step, keyOf(step, inputs));
  return found && doneOf(found, output);
}

/** The record itself. `run`: the run that does the work, if none has done it before. */
export async function recorded(
  store: Store,
  step: string,
  inputs: unknown,
  work: () => Promise<Work>,
  run = currentRun(),
): Promise<StepRecord> {
  const key = keyOf(step, inputs);
  const found = await store.records.find(step, key);
  if (found) return found;
  // One that is there is void: what it holds is damaged, and is made again now, by this run.
  const voided = (await store.records.read(step, key))?.sha256;
  const startedAt = performance.now();
  const { usage = null, alone = null, ...result } = await work();
  const meta = {
    seconds: (performance.now() - startedAt) / 1000,
    host: store.host,
    endedAt: new Date(temporalNow()).toISOString(),
    run,
    usage,
  };
  if (alone) return recordAlone(store, step, inputs, { ...result, meta }, alone);
  // An attempt that timed out may finish late: the first record wins, since others have read it.
  return store.records.add(step, inputs, { ...result, meta, voided });
}

export function doneOf<T>(record: StepRecord, output: z.ZodType<T>): StepDone<T> {
  const own = isOwn(record);
  const { run, usage } = record.meta;
  return {
    output: output.parse(record.output),
    meta: { key: record.key, reused: !own, run, usage: own ? usage : null },
  };
}

/**
 * Did this run make the record since then, in whichever attempt? Then its cost is not counted yet.
 * `since`: milliseconds since 1970; default: when this activity was scheduled.
 */
export function isOwn({ meta }: StepRecord, since = Context.current().info.scheduledTimestampMs): boolean {
  return meta.run === currentRun() && Date.parse(meta.endedAt) >= since;
}

export const currentRun = (): string => Context.current().info.workflowExecution!.workflowId;
