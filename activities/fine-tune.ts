/**
 * fineTune: a mixture and base weights become a model in the store. The work is done by a detached trainer
 * (training/trainer.ts) with a folder named by the step's key, so that a retry, on this worker or the next, returns to the
 * same job. Every chunk of the mixture is checked while it is copied for the trainer, and not decoded.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ApplicationFailure, Context } from '@temporalio/activity';
import { nameUnknown, Problem } from '../contracts/errors.js';
import type { ModelRef, Usage } from '../contracts/refs.js';
import { type FineTuneDone, FineTuneInput, FineTuneOutput } from '../contracts/steps.js';
import { smallerMicroBatch, type Training } from '../contracts/training.js';
import { NO_USAGE } from '../method/budget.js';
import { pythonPath } from '../processes/python.js';
import { keyOf } from '../storage/records.js';
import type { Store } from '../storage/store.js';
import { DATA, prepareJob, readResult, type TrainerResult } from '../training/job.js';
import { followJob } from '../training/trainer.js';
import { activity, type Deps, isUnwanted, stopSignal } from './activity.js';
import { fineTuneInputs } from './keys.js';
import { memoize } from './memoize.js';
import type { ProgressReporter } from './progress.js';

/** Thrown past `memoize`: what is not finished has no record. */
class Bounded {
  constructor(readonly usage: Usage) {}
}

export const srlmFineTune = (deps: Deps) =>
  activity('fineTune', FineTuneInput, async (input, progress): Promise<FineTuneDone> => {
    try {
      return await fineTune(deps, input, progress);
    } catch (error) {
      if (error instanceof Bounded) return { bounded: true, usage: error.usage };
      throw error;
    }
  });

async function fineTune(
  { store, engines, deployment, draining }: Deps,
  input: FineTuneInput,
  progress: ProgressReporter,
): Promise<FineTuneDone> {
  const inputs = fineTuneInputs(input);
  const key = keyOf('fineTune', inputs);
  const { trainers } = deployment;
  const trainer = Object.hasOwn(trainers, input.trainer) ? trainers[input.trainer] : undefined;
  if (!trainer) throw nameUnknown('trainer', input.trainer, Object.keys(trainers));
  const { processes } = trainer;
  // A worker that is stopped leaves the trainer to the next one, and need not wait for a grace time to end.
  const signal = AbortSignal.any([stopSignal(), draining]);
  return memoize(store, 'fineTune', inputs, FineTuneOutput, () => {
    progress.remark('waits for the hardware of this host');
    return engines.hardware.withTrainer(key, signal, async () => {
      progress.remark();
      const folder = store.jobs.folder(key);
      const earlier = await readResult({ folder, key });
      if (earlier && !existsSync(join(folder, 'model'))) {
        // The model left the folder before its step was recorded, or was damaged in the store since.
        const model = await store.models.find(earlier.sha256);
        if (model) return finished(folder, model, earlier, processes);
        await rm(folder, { recursive: true, force: true });
      }
      const { microBatchSize } = input;
      const job = {
        folder,
        key,
        owner: Context.current().info.workflowExecution!,
        baseModel: await store.models.local(input.base),
        baseModelSha256: input.base.sha256,
        training: { ...input.training, ...(microBatchSize ? { microBatchSize } : {}) },
        seed: input.seed,
        deterministic: input.deterministic,
      };
      await prepareJob(job, trainer, mixtureBytes(store, input));
      const result = await followJob(job, trainer, {
        python: pythonPath(deployment),
        host: deployment.host,
        signal,
        isUnwanted,
        stallMinutes: deployment.stallMinutes,
        onProgress: (at, quietMs) => {
          progress.quietMs = () => quietMs;
          if (at)
            progress.set(at.step, at.totalSteps, 'steps', at.loss == null ? undefined : `loss ${at.loss.toFixed(3)}`);
        },
        bounds: { tokens: input.tokenBound, seconds: input.gpuSecondsBound && input.gpuSecondsBound / processes },
      }).catch((error) => {
        throw withSmallerMicroBatch(error, job.training, processes);
      });
      if ('unfinished' in result) throw new Bounded(usageOf(result.unfinished, processes));
      const model = await store.models.adopt(join(folder, 'model'), result);
      return finished(folder, model, result, processes, input.data.rows);
    });
  });
}

async function finished(folder: string, model: ModelRef, result: TrainerResult, processes: number, rows: number) {
  // Large, and of no more use: the rows are the mixture's, in the store. Spec, log and the list of steps stay for the audit.
  for (const name of ['checkpoints', DATA]) await rm(join(folder, name), { recursive: true, force: true });
  const { steps, trainLoss, tokens, precision, leftOut, cut } = result;
  const counts = { of: 'training' as const, rows, leftOut, cut };
  const output: FineTuneOutput = { model, steps, trainLoss, tokens, precision, counts };
  return { holds: [{ kind: 'model' as const, ref: model }], output, usage: usageOf(result, processes) };
}

/** The run tries again with fewer rows at once, if there is such a number: it is in the failure's details. */
function withSmallerMicroBatch(error: unknown, training: Training, processes: number): unknown {
  if (!(error instanceof Problem && error.type === 'trainer.out-of-memory')) return error;
  const { message, type } = error;
  return ApplicationFailure.nonRetryable(message, type, smallerMicroBatch(training, processes));
}

const usageOf = ({ tokens, seconds }: { tokens: number; seconds: number }, processes: number): Usage => ({
  ...NO_USAGE,
  tokens,
  gpuSeconds: seconds * processes,
});

async function* mixtureBytes(store: Store, { data }: FineTuneInput): AsyncGenerator<Buffer> {
  for (const chunk of await store.datasets.chunks(data)) yield store.objects.read('rows', chunk);
}
