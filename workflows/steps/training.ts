/**
 * Training: on which host, with how much memory, within which bounds. It stays on the host where it began, and moves
 * only when that host stays away.
 */
import { ActivityFailure, ApplicationFailure, log, TimeoutFailure } from '@temporalio/workflow';
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
  return step(run, NAME, async (state) => {
    const wanted = make();
    for (;;) {
      await run.unpaused();
      assertBudget(run);
      const counted = state.usage ?? NO_USAGE;
      const input = { ...wanted, ...trainingBounds(run.settings.budget, run.state.usage, counted) };
      const seconds = secondsLeft(run.settings.budget, hoursOf(run));
      try {
        const work = () =>
          run.config.hostQueues ? onHost(run, input) : gpu(run.config, label(run, NAME)).srlmFineTune(input);
        const done = await pausable(run, work, seconds === null ? undefined : seconds * 1000);
        // Interrupted: the job reports what it used when it ends.
        if (done === null) continue;
        count(run, state, done);
        if (!('bounded' in done)) return done;
      } catch (error) {
        const microBatchSize = smallerMicroBatch(error);
        if (microBatchSize === null) throw error;
        wanted.microBatchSize = microBatchSize;
        const set = { microBatchSize };
        const why = `memory ran out; gradients are accumulated: ${describeSettings(set)}`;
        run.intervened('decision', { who: 'srlm', why, set }, NAME);
      }
    }
  });
}

/** A job reports the usage of all its attempts: what this step has counted before is not counted again. */
function count(run: RunControl, state: StepState, done: FineTuneDone): void {
  const usage = 'bounded' in done ? done.usage : done.meta.usage;
  if (usage) spend(run, state, uncounted(usage, state.usage ?? NO_USAGE));
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
