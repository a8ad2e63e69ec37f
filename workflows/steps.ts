/**
 * How a step is run: its state kept for whoever asks, its shards in a sliding window, within the budget, and a run
 * that parks, instead of failing, when a step cannot go on. What operators say about it is in orders.ts.
 * Deterministic workflow code.
 */

import { defineSearchAttributeKey } from '@temporalio/common';
import {
  ActivityCancellationType,
  ActivityFailure,
  type ActivityInterfaceFor,
  ApplicationFailure,
  CancellationScope,
  ChildWorkflowFailure,
  isCancellation,
  log,
  patched,
  proxyActivities,
  setCurrentDetails,
  TimeoutFailure,
  upsertMemo,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { CpuActivities, GpuActivities } from '../activities/index.js';
import type { Dataset } from '../contracts/artifacts.js';
import type { Parked, StepState, WorkflowState } from '../contracts/progress.js';
import type { FineTuneInput, FineTuneOutput, Sharded } from '../contracts/steps.js';
import * as budgets from '../method/spending.js';
import { aborted, type Beginning, decided, Orders, type Spec } from './orders.js';

export const STATE = defineSearchAttributeKey('SrlmState', 'KEYWORD');
export const STEP = defineSearchAttributeKey('SrlmStep', 'KEYWORD');
export const ROUND = defineSearchAttributeKey('SrlmRound', 'INT');
export const SCORE = defineSearchAttributeKey('SrlmScore', 'DOUBLE');

/** Bounds a step's share of the history: 800 shards make about 2,600 events. */
const MAX_SHARDS = 800;
/** Fewer, longer shards cost less history and fewer round trips; as many as fill the window come first. */
const CHUNKS_PER_SHARD = 8;
/** Artifacts made again before it must be the disk, not the artifact. */
const MAX_REPAIRS = 20;
/** A worker away for so long is given up: another host takes the job, from its checkpoint in the store. */
const HOST_PATIENCE = '10 minutes';
/** A round does without them [ours]: it keeps the data it has, or has no score. */
const SKIPPABLE = /^(sample|score.*|select|evaluate|grade|gate)$/;

/** Somebody chose to go on without this step. */
export class Skipped {
  constructor(readonly step: string) {}
}

/** A bound of the budget is used up. */
class BudgetSpent {
  constructor(readonly bound: string) {}
}

export class Steps<S extends Spec = Spec> {
  readonly orders: Orders;
  private readonly cpuProxy: ActivityInterfaceFor<CpuActivities>;
  private readonly operations: Beginning['operations'];
  /** What a pause may interrupt. */
  private readonly interruptible = new Set<CancellationScope>();

  constructor(private readonly beginning: Beginning & { spec: S }) {
    this.operations = beginning.operations;
    this.orders = new Orders(beginning);
    this.orders.onChange = () => this.publish();
    this.orders.onPause = () => {
      for (const scope of this.interruptible) scope.cancel();
    };
    this.cpuProxy = proxyActivities<CpuActivities>(this.options(this.operations.cpuQueue));
  }

  get state(): WorkflowState {
    return this.orders.state;
  }

  /** As it stands now: operators may set fields of it. */
  get spec(): S {
    return this.orders.spec as S;
  }

  /** CPU activities, labelled for the Temporal UI. */
  get cpu(): ActivityInterfaceFor<CpuActivities> {
    return this.cpuProxy;
  }

  gpu(summary: string): ActivityInterfaceFor<GpuActivities> {
    return proxyActivities<GpuActivities>({ ...this.options(this.operations.gpuQueue), summary: this.label(summary) });
  }

  /** Runs a whole workflow. One that does not reach its end says so to whoever looks: it neither runs nor is parked. */
  async whole<T>(work: (steps: Steps<S>) => Promise<T>): Promise<T> {
    try {
      return await work(this);
    } catch (error) {
      const ended = isCancellation(error) || isFailure(error, 'run.aborted');
      this.state.state = ended ? 'aborted' : isFailure(error, 'run.stopped') ? 'stopped' : 'failed';
      this.state.parked = null;
      this.state.waiting = null;
      this.publish();
      throw error;
    }
  }

  /**
   * Runs `work` under a name. Where it cannot go on: parks until somebody answers.
   * Throws artifact.damaged, run.aborted, run.stopped, and Skipped.
   */
  async step<T>(name: string, work: (state: StepState) => Promise<T>, rows: number | null = null): Promise<T> {
    await this.orders.clear();
    const startedAt = Date.now();
    const state: StepState = {
      step: name,
      state: 'running',
      rowsDone: rows === null ? null : 0,
      rowsTotal: rows,
      startedAt: new Date(startedAt).toISOString(),
      seconds: null,
      reused: false,
    };
    this.state.steps.push(state);
    for (;;) {
      this.publish();
      try {
        const result = await work(state);
        state.state = 'done';
        state.seconds = (Date.now() - startedAt) / 1000;
        return result;
      } catch (error) {
        const failure = this.failureOf(error);
        const kept = state.rowsDone ? `${state.rowsDone} of ${rows} rows are done and kept.` : '';
        if (rows !== null) state.rowsDone = 0;
        await this.park(name, state, failure, kept);
      }
    }
  }

  /** What a step that cannot go on parks with. Throws what ends the run instead. */
  private failureOf(error: unknown): { type: string; message: string; attempts: number } {
    if (error instanceof BudgetSpent) {
      const { bound } = error;
      const message = `${bound} is spent. Everything done is kept. Raise it: srlm set ${this.runId} ${bound}=N [budget.spent]`;
      return { type: 'budget.spent', message, attempts: 1 };
    }
    if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
    const failure = {
      ...rootOf(error),
      attempts: error.retryState === 'MAXIMUM_ATTEMPTS_REACHED' ? this.operations.maxAttempts : 1,
    };
    // The run makes everything again whose record no longer stands.
    if (failure.type === 'artifact.damaged') throw ApplicationFailure.nonRetryable(failure.message, failure.type);
    return failure;
  }

  /** A sample or score step over all chunks. `make` is asked again when the step is tried again: settings may differ. */
  async sharded(make: () => Sharded, label: string): Promise<Dataset> {
    /** By shard, until when what it cost is counted: also of chunks whose shard failed before it could tell. */
    const counted = new Map<number, number>();
    return this.step(label, (state) => this.shards(make(), label, state, counted), make().input.data.rows);
  }

  private async shards(of: Sharded, label: string, state: StepState, counted: Map<number, number>): Promise<Dataset> {
    const { data } = of.input;
    const stepStartedAt = Date.parse(state.startedAt);
    const whole = await this.cpu.srlmOpenStep(of);
    if (whole) {
      state.reused = true;
      state.rowsDone = data.rows;
      return whole;
    }
    const shards = planShards(data.chunks, this.operations.shardsInFlight);
    const todo = shards.map((shard, at) => ({ ...shard, summary: `${label} · shard ${at + 1}/${shards.length}` }));
    const lanes = Math.min(this.operations.shardsInFlight, shards.length);
    let failed: unknown = null;
    /** By shard; of one that is under way its heartbeats tell. */
    const rows = new Map<number, number>();
    const count = () => {
      state.rowsDone = [...rows.values()].reduce((sum, one) => sum + one, 0);
    };
    const lane = async () => {
      for (let shard = todo.shift(); shard && failed === null; shard = todo.shift()) {
        try {
          await this.orders.resumed();
          this.assertBudget();
          const { summary, ...range } = shard;
          rows.delete(shard.from);
          count();
          const { budget, state: run, startedAtMs } = this.orders;
          const allowance = budgets.allowance(budget, run.spent, startedAtMs, lanes);
          const countedUntil = counted.get(shard.from) ?? stepStartedAt;
          const input = { of, ...range, countedUntil, ...(allowance ? { allowance } : {}) };
          const done = await this.interrupted(() => this.gpu(summary).srlmShard(input));
          if (done?.spent) this.spend(state, done.spent);
          if (done) {
            rows.set(shard.from, done.rows);
            counted.set(shard.from, Date.now());
          }
          count();
          if (!done || done.complete === false) todo.unshift(shard);
          // Only where it is to wait: a step more or less would not be what recorded histories tell.
          if (this.orders.isPaused) await this.orders.resumed();
        } catch (error) {
          if (this.wasMended(error, state)) todo.unshift(shard);
          // The shards in flight end first: what they finish is kept.
          else failed ??= error;
        }
      }
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    if (failed !== null) throw failed;
    return this.cpu.srlmSealStep(of);
  }

  /** Work that a pause ends soon. null: it did. */
  private async interrupted<T>(work: () => Promise<T>, timeoutMs?: number): Promise<T | null> {
    const scope =
      timeoutMs === undefined
        ? new CancellationScope()
        : new CancellationScope({ cancellable: true, timeout: timeoutMs });
    this.interruptible.add(scope);
    try {
      return await scope.run(work);
    } catch (error) {
      // A run that is cancelled cancels this scope through the one around it. An attempt whose worker died after it was
      // asked to end is not made again, and fails.
      const isEnded =
        isCancellation(error) || (error instanceof ActivityFailure && error.retryState === 'CANCEL_REQUESTED');
      if (isEnded && scope.consideredCancelled && !CancellationScope.current().consideredCancelled) return null;
      throw error;
    } finally {
      this.interruptible.delete(scope);
    }
  }

  /** Training stays on the host where it began, and moves only when that host stays away. */
  async fineTune(make: () => FineTuneInput): Promise<FineTuneOutput> {
    return this.step('fineTune', async (state) => {
      const wanted = make();
      for (;;) {
        // Also when it was interrupted: what it used until then is part of what the job tells at its end.
        await this.orders.resumed();
        this.assertBudget();
        const told = state.spent ?? budgets.NOTHING;
        const { budget } = this.orders;
        const input = { ...wanted, ...budgets.trainingBounds(budget, this.state.spent, told) };
        const seconds = budgets.secondsLeft(budget, this.orders.hours());
        try {
          const done = await this.interrupted(
            () => (this.operations.hostQueues ? this.fineTuneOnHost(input) : this.gpu('fineTune').srlmFineTune(input)),
            seconds === null ? undefined : seconds * 1000,
          );
          if (done) {
            const { spent, ...output } = done;
            // What was told before is part of it.
            if (spent) this.spend(state, budgets.untold(spent, told));
            else state.reused = spent === null;
            if (output.model === null) continue;
            return output;
          }
        } catch (error) {
          const smaller = smallerMicroBatch(error, wanted);
          if (smaller === null) throw error;
          wanted.microBatchSize = smaller;
          this.orders.record(
            'decision',
            decided('memory ran out; gradients are accumulated', { microBatchSize: smaller }),
            'fineTune',
          );
        }
      }
    });
  }

  private async fineTuneOnHost(input: FineTuneInput) {
    for (;;) {
      const { host } = await this.gpu('fineTune · choose host').srlmClaimHost();
      const onHost = proxyActivities<GpuActivities>({
        ...this.options(`${this.operations.gpuQueue}@${host}`),
        scheduleToStartTimeout: HOST_PATIENCE,
        summary: this.label(`fineTune · ${host}`),
      });
      try {
        return await onHost.srlmFineTune(input);
      } catch (error) {
        const cause = error instanceof ActivityFailure ? error.cause : null;
        if (!(cause instanceof TimeoutFailure && cause.timeoutType === 'SCHEDULE_TO_START')) throw error;
        log.warn(`host ${host} stays away; the job goes to another, from its newest checkpoint`);
      }
    }
  }

  private spend(state: StepState, spent: WorkflowState['spent']): void {
    state.spent = budgets.sum(state.spent ?? budgets.NOTHING, spent);
    this.orders.spend(spent);
  }

  private assertBudget(): void {
    const bound = this.orders.overdrawn();
    if (bound) throw new BudgetSpent(bound);
  }

  /** An engine that ran out of memory has halved its batch: on record, and on. */
  private wasMended(error: unknown, state: StepState): boolean {
    if (!(error instanceof ActivityFailure)) return false;
    const { type, message } = rootOf(error);
    if (type !== 'engine.batch-halved') return false;
    const known = this.state.interventions.some(({ kind, why }) => kind === 'decision' && why === message);
    if (!known) this.orders.record('decision', { who: 'srlm', why: message }, state.step);
    return true;
  }

  /** Writes down, beside the artifacts, what Temporal will forget. */
  async audit(): Promise<void> {
    const { workflowId, runId } = workflowInfo();
    const options = {
      ...this.options(this.operations.cpuQueue),
      retry: { maximumAttempts: 5 },
      summary: 'audit trail',
    };
    const { srlmAudit } = proxyActivities<CpuActivities>(options);
    await srlmAudit({ workflowId, runId }).catch((error: unknown) => log.warn(String(error)));
  }

  /** Tells whoever looks: memo (readable with no worker up), search attributes, and the page in the Temporal UI. */
  publish(details?: string): void {
    const { state, round, rounds, parked, waiting } = this.state;
    const step = this.state.steps.at(-1)?.step ?? null;
    const { fork } = this.beginning;
    upsertMemo({ srlm: { state, round, rounds, step, parked, waiting, ...(fork ? { forkOf: fork.of } : {}) } });
    if (this.operations.searchAttributes) {
      upsertSearchAttributes([
        { key: STATE, value: state },
        { key: STEP, value: step },
        { key: ROUND, value: round },
        { key: SCORE, value: bestScore(this.state) },
      ]);
    }
    setCurrentDetails(details ?? this.details());
  }

  private details(): string {
    const { parked, waiting, steps, state } = this.state;
    if (parked) {
      const answers = ['retry', ...(parked.skippable ? ['skip'] : []), 'abort'];
      const commands = answers.map((answer) => `\`srlm ${answer} ${this.runId}\``).join(' or ');
      return `**parked at ${parked.step}**\n\n${parked.message}\n\n${parked.kept}\n\n${commands}`;
    }
    if (waiting)
      return `**waits for approval: ${waiting.approval}**\n\n\`srlm approve ${this.runId}\` or \`srlm reject ${this.runId}\``;
    const lines = steps.map(
      ({ step, state, seconds }) => `- ${step}: ${state}${seconds === null ? '' : ` (${seconds.toFixed(1)} s)`}`,
    );
    return [...(state === 'paused' ? [`**paused**: \`srlm resume ${this.runId}\``, ''] : []), ...lines].join('\n');
  }

  /** What commands name: a round is part of its run. */
  private get runId(): string {
    return workflowInfo().workflowId.replace(/\.round-\d+$/, '');
  }

  private async park(
    name: string,
    state: StepState,
    failure: { type: string; message: string; attempts: number },
    kept: string,
  ) {
    const parked: Parked = {
      step: name,
      round: this.state.round,
      ...failure,
      since: new Date(Date.now()).toISOString(),
      kept,
      // Without what it did not pay for, a round would have nothing to go on with.
      skippable: this.state.round !== null && SKIPPABLE.test(name) && failure.type !== 'budget.spent',
    };
    state.state = 'parked';
    this.state.state = 'parked';
    this.state.parked = parked;
    this.publish();
    log.warn('parked', { ...parked });
    const { kind, order } = await this.orders.answer();
    this.state.parked = null;
    this.state.state = this.orders.isPaused ? 'paused' : 'running';
    state.state = kind === 'skip' ? 'skipped' : 'running';
    if (kind === 'abort') throw aborted(name, order);
    log.info(`${kind} by ${order.who}`, { why: order.why });
    if (kind === 'skip') throw new Skipped(name);
    await this.orders.resumed();
  }

  private label(text: string): string {
    const { round } = this.state;
    return round === null ? text : `round ${round} · ${text}`;
  }

  private options(taskQueue: string) {
    const { heartbeatSeconds, maxAttempts } = this.operations;
    return {
      taskQueue,
      // Training takes what it takes; a dead worker is told by its heartbeat, not by this.
      startToCloseTimeout: '60 days',
      heartbeatTimeout: `${heartbeatSeconds} seconds`,
      // The trainer must have ended before the run says it has.
      cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
      // A worker that stops uses an attempt up, so a small bound would park runs for being deployed.
      retry: { initialInterval: '1 second', maximumInterval: '1 minute', maximumAttempts: maxAttempts },
    } as const;
  }
}

/**
 * A run from its beginning to its end. When an artifact is found damaged, it goes through all steps again: they are
 * found by their keys, but for those whose artifact was set aside, and these are done again.
 */
export async function wholeRun<T, S extends Spec>(
  beginning: Beginning & { spec: S },
  work: (steps: Steps<S>) => Promise<T>,
): Promise<T> {
  const steps = new Steps(beginning);
  try {
    return await repaired(steps, work);
  } finally {
    // Also of a run that failed or was aborted; and never what ends it.
    if (patched('audit')) await CancellationScope.nonCancellable(() => steps.audit());
  }
}

async function repaired<T, S extends Spec>(steps: Steps<S>, work: (steps: Steps<S>) => Promise<T>): Promise<T> {
  for (let repairs = 0; ; repairs++) {
    try {
      return await steps.whole(work);
    } catch (error) {
      if (!isFailure(error, 'artifact.damaged') || repairs === MAX_REPAIRS) throw error;
      const { message } = error instanceof ChildWorkflowFailure && error.cause ? error.cause : (error as Error);
      log.warn(message);
      steps.state.warnings.push(message);
      Object.assign(steps.state, { state: 'running', round: null, steps: [], summaries: [] });
      steps.orders.rewind();
    }
  }
}

/** Shards as chunk ranges: enough to fill the window, then CHUNKS_PER_SHARD each, never more than MAX_SHARDS. */
export function planShards(chunks: number, inFlight: number): { from: number; to: number }[] {
  const count = Math.min(MAX_SHARDS, chunks, Math.max(inFlight, Math.ceil(chunks / CHUNKS_PER_SHARD)));
  return Array.from({ length: count }, (_, i) => ({
    from: Math.floor((i * chunks) / count),
    to: Math.floor(((i + 1) * chunks) / count),
  }));
}

/** After a trainer ran out of memory: the next micro-batch, a divisor of the batch, at most half. null: there is none. */
export function smallerMicroBatch(error: unknown, { training, microBatchSize }: FineTuneInput): number | null {
  if (!(error instanceof ActivityFailure) || rootOf(error).type !== 'trainer.out-of-memory') return null;
  const { batchSize } = training;
  const now = microBatchSize ?? training.microBatchSize ?? batchSize;
  for (let size = Math.floor(now / 2); size >= 1; size--) if (batchSize % size === 0) return size;
  return null;
}

function bestScore(state: WorkflowState): number | null {
  const scores = state.summaries.flatMap(({ score }) => (score ? [score.accuracy] : []));
  return scores.length > 0 ? Math.max(...scores) : null;
}

/** Did a failure of this type end this workflow, or the child it waited for? */
export function isFailure(error: unknown, type: string): boolean {
  const cause = error instanceof ChildWorkflowFailure ? error.cause : error;
  return cause instanceof ApplicationFailure && cause.type === type;
}

function rootOf(error: ActivityFailure): { type: string; message: string } {
  const { cause } = error;
  if (cause instanceof ApplicationFailure) {
    return { type: cause.type ?? 'unknown', message: cause.message };
  }
  return { type: cause?.name ?? 'unknown', message: cause?.message ?? error.message };
}
