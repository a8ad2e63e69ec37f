/** The history of one execution becomes a file in the store, before Temporal deletes it; a run that ends exports itself. */
import { ApplicationFailure, Context } from '@temporalio/activity';
import { exportOf } from '../audit/bundle.js';
import { exportExecution, exportRun } from '../audit/export.js';
import { inputInvalid, Problem, show } from '../contracts/errors.js';
import { ExportInput } from '../contracts/steps.js';
import { fileSystemProblem } from '../storage/files.js';
import { activity, type Deps } from './activity.js';

export const srlmExport = ({ store }: Deps) =>
  activity('export', ExportInput, async ({ last, ...execution }, progress) => {
    const { client: temporal, cancellationSignal, info } = Context.current();
    const { workflowId, firstRunId } = execution;
    const own = info.workflowExecution!.workflowId;
    if (workflowId !== own) throw inputInvalid('export', `${show(own)} exports itself only, not ${show(workflowId)}`);
    try {
      if (!last) await exportExecution({ temporal, store, ...execution });
      else {
        const folder = exportOf(store.root, workflowId, firstRunId);
        const onProgress = (done: number, total: number) => progress.set(done, total, 'files');
        await exportRun(
          { temporal, decoding: temporal.options, store, workflowId, firstRunId, by: null },
          folder,
          onProgress,
        );
      }
    } catch (error) {
      const isFinal = error instanceof Problem && (error.type === 'run.unknown' || error.type === 'input.invalid');
      if (isFinal || cancellationSignal.aborted) throw error;
      // Somebody may put a full or broken store right within hours: the retry policy decides when to give up.
      const { message } = fileSystemProblem(error) as Error;
      throw ApplicationFailure.retryable(message.slice(0, 1000), 'export.failed');
    }
  });
