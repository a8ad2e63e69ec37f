/**
 * For a workflow of your own that runs srlm as a child. Temporal sends a parent's cancellation to the execution that the
 * child began with, which a chain has long left behind; this sends it to the one that runs now.
 */
import {
  CancellationScope,
  type ChildWorkflowOptions,
  getExternalWorkflowHandle,
  isCancellation,
  startChild,
} from '@temporalio/workflow';

/** The result of `srlmRun` or `srlmSample`, run as a child. Cancelled with its parent. */
export async function executeAsChild<Input, Result>(
  workflow: (input: Input) => Promise<Result>,
  input: Input,
  options: ChildWorkflowOptions = {},
): Promise<Result> {
  const child = await startChild(workflow, { ...options, args: [input] } as never);
  const result = CancellationScope.nonCancellable(() => child.result() as Promise<Result>);
  try {
    return (await Promise.race([result, CancellationScope.current().cancelRequested])) as Result;
  } catch (error) {
    if (!isCancellation(error) || !CancellationScope.current().consideredCancelled) throw error;
    return CancellationScope.nonCancellable(async () => {
      // It may have ended at the same moment.
      await getExternalWorkflowHandle(child.workflowId)
        .cancel()
        .catch(() => {});
      return result;
    });
  }
}
