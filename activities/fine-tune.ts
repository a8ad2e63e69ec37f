/**
 * fineTune: a mixture and base weights become a model folder in the store. The work is a detached trainer's
 * (engine/trainer.ts) with a folder in the store named by the step's key, so that a retry, on this worker or the
 * next, comes back to the same job. Every chunk of the mixture is checked while it is written out for the trainer.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Context } from '@temporalio/activity';
import type { Model, Spent } from '../contracts/artifacts.js';
import { nameUnknown } from '../contracts/errors.js';
import { TrainingRow } from '../contracts/records.js';
import { type FineTuneDone, FineTuneInput, FineTuneOutput } from '../contracts/steps.js';
import { pythonPath } from '../engine/python-environment.js';
import { followJob, prepareJob, readResult, type TrainerResult } from '../engine/trainer.js';
import { fineTuneInputs } from '../storage/keys.js';
import { stepKey } from '../storage/store.js';
import { activity, type Deps, isOwn, isUnwanted, metered, once, stopSignal } from './activity.js';

/** Thrown past `once`: what is not finished has no record. */
class Unfinished {
  constructor(readonly spent: Spent) {}
}

export const srlmFineTune = (deps: Deps) =>
  activity('fineTune', FineTuneInput, async (input): Promise<FineTuneDone> => {
    try {
      return await fineTune(deps, input);
    } catch (error) {
      if (error instanceof Unfinished) return { model: null, spent: error.spent };
      throw error;
    }
  });

async function fineTune({ store, host, deployment }: Deps, input: FineTuneInput): Promise<FineTuneDone> {
  const inputs = fineTuneInputs(input);
  const { microBatchSize } = input;
  const trainer = deployment.trainers[input.trainer];
  if (!trainer) throw nameUnknown('trainer', input.trainer, Object.keys(deployment.trainers));
  const record = await once(store, 'fineTune', inputs, () =>
    metered('fineTune', 'steps', 0, (meter) =>
      host.withTrainer(stepKey('fineTune', inputs), stopSignal(), async () => {
        const folder = store.jobFolder(stepKey('fineTune', inputs).slice(0, 20));
        const job = {
          folder,
          owner: Context.current().info.workflowExecution ?? { workflowId: '', runId: '' },
          baseModel: await store.verifiedModel(input.base),
          baseModelSha256: input.base.sha256,
          training: { ...input.training, ...(microBatchSize ? { microBatchSize } : {}) },
          seed: input.seed,
          deterministic: input.deterministic,
        };
        const spent = await readResult(folder);
        if (spent && !existsSync(join(folder, 'model'))) {
          // The model left the folder before its step was recorded, or was damaged in the store since.
          const model = await store.findModel(spent.sha256);
          if (model) {
            await rm(join(folder, 'checkpoints'), { recursive: true, force: true });
            return finished(store, model, spent, trainer.processes);
          }
          await rm(folder, { recursive: true, force: true });
        }
        await prepareJob(job, trainer, lines(store, input));
        const result = await followJob(
          job,
          trainer,
          pythonPath(deployment),
          (progress) => {
            if (progress)
              meter.set(
                progress.step,
                progress.totalSteps,
                progress.loss == null ? undefined : `loss ${progress.loss.toFixed(3)}`,
              );
          },
          stopSignal(),
          isUnwanted,
          { tokens: input.tokenBound, seconds: input.gpuSecondsBound && input.gpuSecondsBound / trainer.processes },
        );
        if ('unfinished' in result) throw new Unfinished(spentOf(result.unfinished, trainer.processes));
        const model = await store.adoptModel(join(folder, 'model'), result.sha256);
        // Checkpoints are large and of no more use; spec, log and the list of steps stay for the audit.
        await rm(join(folder, 'checkpoints'), { recursive: true, force: true });
        return finished(store, model, result, trainer.processes);
      }),
    ),
  );
  return { ...FineTuneOutput.parse(record.output), spent: isOwn(record) ? (record.measured.spent ?? null) : null };
}

async function finished(store: Deps['store'], model: Model, result: TrainerResult, processes: number) {
  const { steps, trainLoss, tokens, precision } = result;
  const output: FineTuneOutput = { model, steps, trainLoss, tokens, precision };
  return { files: await store.filesOf(model), output, spent: spentOf(result, processes) };
}

const spentOf = ({ tokens, seconds }: { tokens: number; seconds: number }, processes: number): Spent => ({
  tokens,
  gpuSeconds: seconds * processes,
  money: 0,
});

async function* lines(store: Deps['store'], input: FineTuneInput): AsyncGenerator<string> {
  for await (const row of store.rowsOf(input.data, TrainingRow)) yield JSON.stringify(row);
}
