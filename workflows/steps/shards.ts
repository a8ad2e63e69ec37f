/** A sharded step: its chunks in shards, a sliding window of them in flight, within the budget. */
import { ActivityFailure } from '@temporalio/workflow';
import type { DatasetRef } from '../../contracts/refs.js';
import type { StepState } from '../../contracts/run.js';
import type { Assembled, OpenedStep, ShardedStep, StepDone, StepName, Suspects } from '../../contracts/steps.js';
import { budgetShare } from '../../method/budget.js';
import type { RunControl } from '../control/control.js';
import { gpu } from './proxies.js';
import { type AtStep, assertBudget, assertRead, assertReceived, label, pausable, rootOf, spend, step } from './step.js';

/** Bounds a step's part of the history: six events a shard, three sharded steps a round, 8,000 events at most. */
const MAX_SHARDS = 300;
/** Fewer, longer shards cost less history and fewer round trips, once there are enough to fill the window. */
const CHUNKS_PER_SHARD = 8;

interface Range {
  from: number;
  to: number;
}

/**
 * `make` is called again when the step is tried again, since settings may have changed. `mayFail`: a row without a text
 * is asked again by the workflow, so that the step does not park where few came.
 */
export async function sharded(
  run: RunControl,
  name: StepName,
  make: () => ShardedStep,
  { mayFail = false }: { mayFail?: boolean } = {},
): Promise<DatasetRef> {
  /** By shard, up to when the cost of its chunks is counted: also of chunks whose shard failed before it could report. */
  const countedUntil = new Map<number, number>();
  const suspects: Suspects = { since: 0, forkOf: run.forkOf };
  const work = async (at: AtStep) => {
    const done = await shards(run, name, make(), at, countedUntil, suspects);
    const { counts } = done.output;
    if ((counts?.of === 'texts' || counts?.of === 'verdicts') && !mayFail) {
      try {
        if (counts.of === 'texts') assertReceived(run, name, counts);
        else assertRead(run, counts);
      } catch (error) {
        // Tried again, it asks again for what an endpoint failed to send.
        suspects.since = Date.now();
        at.state.counts = counts;
        throw error;
      }
    }
    return done;
  };
  const { dataset } = await step(run, name, work, { rows: make().data.rows });
  return dataset;
}

async function shards(
  run: RunControl,
  name: string,
  input: ShardedStep,
  { state, cpu }: AtStep,
  countedUntil: Map<number, number>,
  suspects: Suspects,
): Promise<StepDone<Assembled>> {
  const opened = await cpu.srlmOpenStep(input);
  if (opened.done) {
    state.rowsDone = opened.rows;
    return assembled(opened.done);
  }
  await window(run, name, opened, state, countedUntil, suspects);
  return assembled(await cpu.srlmAssemble({ step: opened.step, suspects: { ...suspects } }));
}

/** In a history of a release before 0.4 the output is the dataset, and nothing is counted. */
function assembled({ output, meta }: StepDone<Assembled | DatasetRef>): StepDone<Assembled> {
  return { meta, output: 'dataset' in output ? output : { dataset: output, counts: null } };
}

/** Keeps `shardsInFlight` shards running until all are done. When one fails, those in flight end first: what they did is kept. */
async function window(
  run: RunControl,
  name: string,
  { step: ref, chunks }: OpenedStep,
  state: StepState,
  countedUntil: Map<number, number>,
  suspects: Suspects,
): Promise<void> {
  const ranges = planShards(chunks, run.config.shardsInFlight);
  const todo = ranges.map((range, i) => ({
    ...range,
    summary: label(run, `${name} · shard ${i + 1}/${ranges.length}`),
  }));
  const lanes = Math.min(run.config.shardsInFlight, ranges.length);
  const rowsDone = new Map<number, number>();
  const count = () => {
    state.rowsDone = [...rowsDone.values()].reduce((sum, one) => sum + one, 0);
  };
  let failed: unknown = null;
  const lane = async () => {
    for (let shard = todo.shift(); shard && failed === null; shard = todo.shift()) {
      const { from, to, summary } = shard;
      try {
        await run.unpaused();
        assertBudget(run);
        rowsDone.delete(from);
        count();
        const input = {
          step: ref,
          from,
          to,
          share: budgetShare(run.settings.budget, run.state.usage, Date.parse(run.state.startedAt), lanes),
          countedUntil: countedUntil.get(from) ?? Date.parse(state.startedAt),
          suspects: { ...suspects },
        };
        const done = await pausable(run, () => gpu(run.config, summary).srlmShard(input));
        if (done) {
          spend(run, state, done.usage);
          if (done.estimated) warnOfEstimate(run);
          rowsDone.set(from, done.rows);
          countedUntil.set(from, done.countedUntil);
          count();
        }
        if (!done?.complete) todo.unshift(shard);
      } catch (error) {
        if (batchWasHalved(run, error, name)) todo.unshift(shard);
        else failed ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  if (failed !== null) throw failed;
}

/** Where a budget depends on it. */
function warnOfEstimate({ settings: { budget }, state: { warnings } }: RunControl): void {
  if (budget.tokens === undefined && budget.money === undefined) return;
  const warning =
    'An endpoint reports no usage: its tokens, and what they cost, are estimated from the length of its texts.';
  if (!warnings.includes(warning)) warnings.push(warning);
}

/** Chunk ranges: enough to fill the window, then CHUNKS_PER_SHARD each, never more than MAX_SHARDS. */
export function planShards(chunks: number, inFlight: number): Range[] {
  const count = Math.min(MAX_SHARDS, chunks, Math.max(inFlight, Math.ceil(chunks / CHUNKS_PER_SHARD)));
  return Array.from({ length: count }, (_, i) => ({
    from: Math.floor((i * chunks) / count),
    to: Math.floor(((i + 1) * chunks) / count),
  }));
}

/** An engine that ran out of memory has halved its batch: the run records that as a decision, and continues. */
function batchWasHalved(run: RunControl, error: unknown, name: string): boolean {
  if (!(error instanceof ActivityFailure)) return false;
  const { type, message } = rootOf(error);
  if (type !== 'engine.batch-halved') return false;
  // Every shard in flight reports it of the engine that they share.
  const known = run.state.interventions.some(({ kind, why }) => kind === 'decision' && why === message);
  if (!known) run.intervened('decision', { who: 'srlm', why: message }, name);
  return true;
}
