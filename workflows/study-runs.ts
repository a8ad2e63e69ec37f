/**
 * A run of a study, as its study sees it: how it is started as a child, and how one that exists already is watched. A run
 * outlives its study.
 */
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { CancellationScope, condition, isCancellation, ParentClosePolicy, startChild } from '@temporalio/workflow';
import type { RunInput, RunMemo, RunResult } from '../contracts/run.js';
import type { RunEnd, RunLook, StudyNote } from '../contracts/study.js';
import type { WorkflowConfig } from '../contracts/workflow-config.js';
import type { Begun } from '../method/study/schedule.js';
import { patientCpu } from './steps/proxies.js';

/** How often a run that this execution did not start is looked at: it reports itself, unless it was ended by force. */
const [LOOK_MS, MAX_LOOK_MS] = [30_000, 600_000];

export interface Child extends Begun {
  /** null: it is not known yet. */
  id: string | null;
  /** Nothing is under way for it but itself, so that another execution can take over. */
  isRunning: boolean;
  isCancelled: boolean;
  ended: RunEnd | null;
  table: StudyNote['table'];
  message: string | null;
}

/** false: it exists already. */
export async function startRun(id: string, digest: string, input: RunInput, child: Child): Promise<boolean> {
  const { settings } = input;
  const memo: RunMemo = {
    ...{ phase: 'running', round: null, lastRound: settings.rounds, step: null, halt: null, table: null },
    forkOf: null,
  };
  try {
    const handle = await startChild<(input: RunInput) => Promise<RunResult>>('srlmRun', {
      workflowId: id,
      args: [input],
      memo: { srlm: memo, srlmInput: digest },
      workflowIdReusePolicy: 'ALLOW_DUPLICATE_FAILED_ONLY',
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `${settings.name} · run`,
    });
    const ended = CancellationScope.nonCancellable(() => handle.result());
    ended.then(
      ({ table, stopped }) => {
        child.table ??= table;
        child.ended ??= stopped ? 'stopped' : 'done';
      },
      (error) => {
        child.ended ??= isCancellation(error) ? 'aborted' : 'failed';
        child.message = reasonOf(error);
      },
    );
    return true;
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) return false;
    throw error;
  }
}

/** Until it has ended: by its own report, or by a look at it. */
export async function watchRun(config: WorkflowConfig, id: string, digest: string, child: Child): Promise<void> {
  for (let pause = LOOK_MS; child.ended === null; pause = Math.min(2 * pause, MAX_LOOK_MS)) {
    const found: RunLook = await patientCpu(config, `look at ${id}`).srlmLookAtRun({ id, digest });
    if (found) {
      child.ended = found.end;
      child.table ??= found.table;
      if (found.end === 'refused') child.message = `A run ${id} exists, and is not of this study.`;
    } else await condition(() => child.ended !== null, pause);
  }
}

export const newChild = (): Child => ({
  ...{ id: null, isRunning: false, isCancelled: false, passed: 0, idle: false },
  ...{ ended: null, table: null, message: null },
});

export function reasonOf(error: unknown): string {
  let at = error as Error;
  while (at.cause instanceof Error) at = at.cause;
  return at.message;
}
