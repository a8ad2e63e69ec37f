/** Messages to and from running workflows. The client imports them too. */
import { defineQuery, defineUpdate } from '@temporalio/workflow';
import type { Intervention, WorkflowState } from '../contracts/progress.js';

export const stateQuery = defineQuery<WorkflowState>('srlmState');
/** Go on from a parked step. Rejected where nothing is parked. Returns the step. */
export const retryUpdate = defineUpdate<string, [Intervention]>('srlmRetry');
/** End a parked run; every artifact stays. Rejected where nothing is parked. Returns the step. */
export const abortUpdate = defineUpdate<string, [Intervention]>('srlmAbort');
