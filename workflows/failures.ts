/** Failures by which a run ends before its last step. They are Temporal's, so none of them fails a workflow task. */
import { ApplicationFailure } from '@temporalio/workflow';

export const stopped = (what: string) =>
  ApplicationFailure.nonRetryable(`${what}. All artifacts are kept.`, 'run.stopped');

export const isFailure = (error: unknown, type: string): error is ApplicationFailure =>
  error instanceof ApplicationFailure && error.type === type;
