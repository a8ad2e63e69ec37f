/**
 * Training: on which host, with how much memory, within which bounds. It stays on the host where it began, and moves
 * only when that host stays away.
 */
import { ActivityFailure, ApplicationFailure, log, TimeoutFailure } from '@temporalio/workflow';
import type { Usage } from '../../contracts/refs.js';
import type { StepState } from '../../contracts/run.js';
import { describeSettings } from '../../contracts/settings.js';
import type { FineTuneDone, FineTuneInput, FineTuneOutput } from '../../contracts/steps.js';
import { NO_USAGE, secondsLeft, trainingBounds, uncounted } from '../../method/budget.js';
import { hoursOf } from '../control/budget.js';
import type { RunControl } from '../control/control.js';
import { gpu, gpuHost } from './proxies.js';
import { assertBudget, label, pausable, spend, step } from './step.js';

const NAME = 'fineTune';

export async function train(run: RunControl, make: () => FineTuneInput): Promise<FineTuneOutput> {
  let job: Job | null = null;
  return step(run, NAME, async ({ state, gpu }) => {
    const wanted = make();
    const { microBatchSize: asked } = wanted.training;
    if (job?.key !== keyOf(wanted)) job = { key: keyOf(wanted), counted: NO_USAGE, asked };
    // An operator's micro-batch has precedence over the one that memory allowed.
    if (job.asked !== asked) job = { key: job.key, counted: job.counted, asked };
    for (;;) {
      await run.unpaused();
      assertBudget(run);
      const bounds = trainingBounds(run.settings.budget, run.state.usage, job.counted);
      const input = { ...wanted, ...(job.smaller ?? {}), ...bounds };
      const seconds = secondsLeft(run.settings.budget, hoursOf(run));
      try {
        const work = () => (run.config.hostQueues ? onHost(run, input) : gpu.srlmFineTune(input));
        const done = await pausable(run, work, seconds === null ? undefined : seconds * 1000);
        // Interrupted: the job reports what it used when it ends.
        if (done === null) continue;
        count(run, state, job, done);
        if (!('bounded' in done)) return done;
      } catch (error) {
        const microBatchSize = smallerMicroBatch(error);
        if (microBatchSize === null) throw error;
        const set = { microBatchSize };
        job.smaller = set;
        const why = `memory ran out; gradients are accumulated: ${describeSettings(set)}`;
        run.intervened('decision', { who: 'srlm', why, set }, NAME);
      }
    }
  });
}

/** What a step's job has cost so far, and whether it needs a smaller micro-batch. Other settings make another job. */
interface Job {
  key: string;
  counted: Usage;
  /** The micro-batch of the settings. */
  asked: number | undefined;
  smaller?: { microBatchSize: number };
}

/** The same job as activities/keys.ts has it. */
function keyOf({ base, data, training, seed, deterministic }: FineTuneInput): string {
  const { checkpoint: _, from: __, microBatchSize, ...decides } = training;
  const exact = deterministic ? { microBatchSize } : {};
  return JSON.stringify({ base, data, training: decides, seed, deterministic, ...exact });
}

/** A job reports the usage of all its attempts: what was counted of it before is not counted again. */
function count(run: RunControl, state: StepState, job: Job, done: FineTuneDone): void {
  const usage = 'bounded' in done ? done.usage : done.meta.usage;
  if (!usage) return;
  spend(run, state, uncounted(usage, job.counted));
  job.counted = usage;
}

async function onHost(run: RunControl, input: FineTuneInput): Promise<FineTuneDone> {
  for (;;) {
    const { host } = await gpu(run.config, label(run, `${NAME} · choose host`)).srlmClaimHost();
    try {
      return await gpuHost(run.config, host, label(run, `${NAME} · ${host}`)).srlmFineTune(input);
    } catch (error) {
      const cause = error instanceof ActivityFailure ? error.cause : null;
      if (!(cause instanceof TimeoutFailure && cause.timeoutType === 'SCHEDULE_TO_START')) throw error;
      log.warn(`host ${host} stays away; the job moves to another, from its newest checkpoint`);
    }
  }
}

/** After a trainer ran out of memory: the number of rows at once that its host says to try next; null: there is none. */
function smallerMicroBatch(error: unknown): number | null {
  const cause = error instanceof ActivityFailure ? error.cause : null;
  if (!(cause instanceof ApplicationFailure && cause.type === 'trainer.out-of-memory')) return null;
  const next = cause.details?.[0];
  return typeof next === 'number' ? next : null;
}
