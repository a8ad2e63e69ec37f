/**
 * How a step is run: its state kept for whoever asks, its shards in a sliding window, and a run that parks, instead of
 * failing, when a step is out of retries. Deterministic workflow code.
 */

import { defineSearchAttributeKey } from '@temporalio/common';
import {
  ActivityCancellationType,
  ActivityFailure,
  type ActivityInterfaceFor,
  ApplicationFailure,
  ChildWorkflowFailure,
  condition,
  isCancellation,
  log,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  TimeoutFailure,
  upsertMemo,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { CpuActivities, GpuActivities } from '../activities/index.js';
import type { Dataset } from '../contracts/artifacts.js';
import type { Operations } from '../contracts/deployment.js';
import type { Intervention, Parked, StepState, WorkflowState } from '../contracts/progress.js';
import type { FineTuneInput, FineTuneOutput, Sharded } from '../contracts/steps.js';
import { abortUpdate, retryUpdate, stateQuery } from './messages.js';

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

export class Steps {
  readonly state: WorkflowState;
  private readonly cpuProxy: ActivityInterfaceFor<CpuActivities>;
  private readonly operations: Operations;
  private decision: { retry: boolean; by: Intervention } | null = null;

  constructor(operations: Operations, round: number | null, rounds: number | null) {
    this.operations = operations;
    this.state = { state: 'running', round, rounds, steps: [], parked: null, summaries: [], warnings: [] };
    this.cpuProxy = proxyActivities<CpuActivities>(this.options(operations.cpuQueue));
    setHandler(stateQuery, () => this.state);
    const parkedOnly = (_by: Intervention) => {
      if (!this.state.parked || this.decision) throw new Error('nothing is parked here');
    };
    setHandler(retryUpdate, (by: Intervention) => this.decide(true, by), { validator: parkedOnly });
    setHandler(abortUpdate, (by: Intervention) => this.decide(false, by), { validator: parkedOnly });
  }

  /** CPU activities, labelled for the Temporal UI. */
  get cpu(): ActivityInterfaceFor<CpuActivities> {
    return this.cpuProxy;
  }

  gpu(summary: string): ActivityInterfaceFor<GpuActivities> {
    return proxyActivities<GpuActivities>({ ...this.options(this.operations.gpuQueue), summary: this.label(summary) });
  }

  /** Runs a whole workflow. One that does not reach its end says so to whoever looks: it neither runs nor is parked. */
  async whole<T>(work: (steps: Steps) => Promise<T>): Promise<T> {
    try {
      return await work(this);
    } catch (error) {
      this.state.state = isCancellation(error) || isFailure(error, 'run.aborted') ? 'aborted' : 'failed';
      this.state.parked = null;
      this.publish();
      throw error;
    }
  }

  /** Runs `work` under a name. Out of retries: parks until somebody answers. Throws artifact.damaged, run.aborted. */
  async step<T>(name: string, work: (state: StepState) => Promise<T>, rows: number | null = null): Promise<T> {
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
        if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
        const failure = {
          ...rootOf(error),
          attempts: error.retryState === 'MAXIMUM_ATTEMPTS_REACHED' ? this.operations.maxAttempts : 1,
        };
        if (failure.type === 'artifact.damaged') {
          // The run makes everything again whose record no longer stands.
          throw ApplicationFailure.nonRetryable(failure.message, failure.type);
        }
        if (rows !== null) state.rowsDone = 0;
        await this.park(name, state, failure);
      }
    }
  }

  /** A sample or score step over all chunks. */
  async sharded(of: Sharded, label: string): Promise<Dataset> {
    const { data } = of.input;
    return this.step(
      label,
      async (state) => {
        const whole = await this.cpu.srlmOpenStep(of);
        if (whole) {
          state.reused = true;
          state.rowsDone = data.rows;
          return whole;
        }
        const shards = planShards(data.chunks, this.operations.shardsInFlight);
        let next = 0;
        let failed: unknown = null;
        const lane = async () => {
          while (next < shards.length && failed === null) {
            const at = next++;
            const shard = shards[at]!;
            try {
              const done = await this.gpu(`${label} · shard ${at + 1}/${shards.length}`).srlmShard({ of, ...shard });
              state.rowsDone = (state.rowsDone ?? 0) + done.rows;
            } catch (error) {
              // The shards in flight end first: what they finish is kept.
              failed ??= error;
            }
          }
        };
        await Promise.all(Array.from({ length: Math.min(this.operations.shardsInFlight, shards.length) }, lane));
        if (failed !== null) throw failed;
        return this.cpu.srlmSealStep(of);
      },
      data.rows,
    );
  }

  /** Training stays on the host where it began, and moves only when that host stays away. */
  async fineTune(input: FineTuneInput): Promise<FineTuneOutput> {
    return this.step('fineTune', async () => {
      if (!this.operations.hostQueues) return this.gpu('fineTune').srlmFineTune(input);
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
    });
  }

  /** Tells whoever looks: memo (readable with no worker up), search attributes, and the page in the Temporal UI. */
  publish(details?: string): void {
    const { state, round, rounds, parked } = this.state;
    const step = this.state.steps.at(-1)?.step ?? null;
    upsertMemo({ srlm: { state, round, rounds, step, parked } });
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
    const { parked, steps } = this.state;
    if (parked) {
      const { runId } = workflowInfo();
      return `**parked at ${parked.step}**\n\n${parked.message}\n\n\`srlm retry\` or \`srlm abort\` (${runId})`;
    }
    return steps
      .map(({ step, state, seconds }) => `- ${step}: ${state}${seconds === null ? '' : ` (${seconds.toFixed(1)} s)`}`)
      .join('\n');
  }

  private async park(name: string, state: StepState, failure: { type: string; message: string; attempts: number }) {
    const parked: Parked = {
      step: name,
      round: this.state.round,
      type: failure.type,
      message: failure.message,
      attempts: failure.attempts,
      since: new Date(Date.now()).toISOString(),
    };
    state.state = 'parked';
    this.state.state = 'parked';
    this.state.parked = parked;
    this.publish();
    log.warn('parked', { ...parked });
    await condition(() => this.decision !== null);
    const { retry, by } = this.decision!;
    this.decision = null;
    this.state.parked = null;
    this.state.state = 'running';
    state.state = 'running';
    if (!retry) {
      throw ApplicationFailure.nonRetryable(
        `Aborted at ${name} by ${by.who}${by.why ? `: ${by.why}` : ''}. All artifacts are kept.`,
        'run.aborted',
      );
    }
    log.info(`retried by ${by.who}`, { why: by.why });
  }

  private decide(retry: boolean, by: Intervention): string {
    this.decision = { retry, by };
    return this.state.parked!.step;
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
export async function wholeRun<T>(
  operations: Operations,
  rounds: number | null,
  work: (steps: Steps) => Promise<T>,
): Promise<T> {
  const warnings: string[] = [];
  for (;;) {
    const steps = new Steps(operations, null, rounds);
    steps.state.warnings = warnings;
    try {
      return await steps.whole(work);
    } catch (error) {
      if (!isFailure(error, 'artifact.damaged') || warnings.length === MAX_REPAIRS) throw error;
      const { message } = error instanceof ChildWorkflowFailure && error.cause ? error.cause : (error as Error);
      log.warn(message);
      warnings.push(message);
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
