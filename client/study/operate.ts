/** Starts a study, and ends one. Throws study.exists, study.unknown, study.ended. */
import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client';
import { studyEnded, studyExists } from '../../contracts/errors.js';
import { END_STUDY_UPDATE, type EndStudy, StudyInput, type StudyMemo } from '../../contracts/study.js';
import type { WorkflowConfig } from '../../contracts/workflow-config.js';
import { sha256 } from '../../storage/files.js';
import { STUDY_TYPE } from '../executions.js';
import { operator } from '../operator.js';
import type { CheckedStudy } from './check.js';

export interface StudyStart {
  taskQueue: string;
  config: WorkflowConfig;
  priority: number;
}

/** A study that was aborted, or ended by force, is started again with the same id, and continues. */
export async function startStudy(
  temporal: Client,
  { studyId, planRef: plan, plan: { name, runs }, atOnce }: CheckedStudy,
  { taskQueue, config, priority }: StudyStart,
): Promise<void> {
  const input = StudyInput.parse({ version: 1, plan, atOnce, config });
  const memo: StudyMemo = { phase: 'running', plan, total: runs.length, begun: 0, ended: 0, runs: null };
  try {
    await temporal.workflow.start(STUDY_TYPE, {
      workflowId: studyId,
      args: [input],
      taskQueue,
      memo: { srlmStudy: memo },
      workflowIdReusePolicy: 'ALLOW_DUPLICATE_FAILED_ONLY',
      // Its runs inherit it: a study takes its turn as one run does.
      priority: { priorityKey: priority, fairnessKey: studyId.length <= 64 ? studyId : sha256(studyId) },
      staticSummary: `${name} · study`,
    });
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) throw studyExists(studyId);
    throw error;
  }
}

/** Resolves when the study has taken the order; its runs end after that. */
export async function endStudy(
  temporal: Client,
  studyId: string,
  { how, why }: Pick<EndStudy, 'how' | 'why'>,
): Promise<void> {
  const order: EndStudy = { how, why, who: operator() };
  try {
    await temporal.workflow.getHandle(studyId).executeUpdate<string, [EndStudy]>(END_STUDY_UPDATE, { args: [order] });
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) throw studyEnded(studyId, 'meanwhile');
    throw error;
  }
}
