/** A run's chain of executions, as Temporal's histories have it: how they ended, and what of them is exported. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { exportOf, RunFile, readHistory } from '../../audit/bundle.js';
import type { SrlmClient } from '../../client/client.js';
import { executionsOf, type History } from '../support/executions.js';

export interface Chain {
  executions: number;
  /** Executions that continued as new in a workflow task that was lost with its worker, or refused, and done again. */
  retried: number;
  /** What does not hold. */
  wrong: string[];
}

export async function chainOf(client: SrlmClient, runId: string, artifactRoot: string): Promise<Chain> {
  const executions = await executionsOf(client.temporal, runId);
  return {
    executions: executions.length,
    retried: executions.filter(({ history }) => continuedInRetriedTask(history)).length,
    wrong: await exportProblems(exportOf(artifactRoot, runId, executions[0]!.runId), executions.length),
  };
}

function continuedInRetriedTask({ events }: History): boolean {
  if (!events?.at(-1)?.workflowExecutionContinuedAsNewEventAttributes) return false;
  const isCompletion = events.map(({ workflowTaskCompletedEventAttributes: completed }) => Boolean(completed));
  const before = isCompletion.lastIndexOf(true, isCompletion.lastIndexOf(true) - 1);
  return events.slice(before + 1).some((event) => {
    const { workflowTaskTimedOutEventAttributes: timedOut, workflowTaskFailedEventAttributes: failed } = event;
    // A task that no worker had started is not lost with one.
    return Number(timedOut?.startedEventId ?? 0) > 0 || failed;
  });
}

/** By the time a run has ended, the history of every execution is exported. */
async function exportProblems(folder: string, executions: number): Promise<string[]> {
  const path = join(folder, 'run.json');
  if (!existsSync(path)) return ['its histories are not exported'];
  const run = RunFile.parse(JSON.parse(readFileSync(path, 'utf8')));
  const found = await Promise.all(run.executions.map(({ file }) => file && readHistory(join(folder, file))));
  const kept = found.filter(Boolean).length;
  return kept === executions ? [] : [`${kept} of ${executions} histories are exported`];
}
