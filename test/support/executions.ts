/** The executions of a run, oldest first, as Temporal has them. */
import type { Client } from '@temporalio/client';
import type { temporal } from '@temporalio/proto';

export type History = temporal.api.history.v1.IHistory;

export interface Execution {
  runId: string;
  history: History;
}

export async function executionsOf({ workflow }: Client, workflowId: string): Promise<Execution[]> {
  const { raw, runId: newest } = await workflow.getHandle(workflowId).describe();
  const executions: Execution[] = [];
  let runId: string | null | undefined = raw.workflowExecutionInfo?.firstRunId || newest;
  while (runId) {
    const history: History = await workflow.getHandle(workflowId, runId).fetchHistory();
    executions.push({ runId, history });
    runId = history.events?.at(-1)?.workflowExecutionContinuedAsNewEventAttributes?.newExecutionRunId;
  }
  return executions;
}
