/**
 * Messages to and from running workflows. The client imports them too. Every Update takes an Order (who, why, ...), is
 * refused by its validator with a sentence where it does not fit, and returns the step or round it was about.
 */
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { Intervention, Order, WorkflowState } from '../contracts/progress.js';

export const stateQuery = defineQuery<WorkflowState>('srlmState');

/** To the workflow that is parked or waits (a run, a round, or a sample run). */
export const retryUpdate = defineUpdate<string, [Order]>('srlmRetry');
export const skipUpdate = defineUpdate<string, [Order]>('srlmSkip');
export const abortUpdate = defineUpdate<string, [Order]>('srlmAbort');
export const approveUpdate = defineUpdate<string, [Order]>('srlmApprove');
export const rejectUpdate = defineUpdate<string, [Order]>('srlmReject');

/** To the run, which tells its round. */
export const pauseUpdate = defineUpdate<string, [Order]>('srlmPause');
export const resumeUpdate = defineUpdate<string, [Order]>('srlmResume');
export const stopUpdate = defineUpdate<string, [Order]>('srlmStop');
export const setUpdate = defineUpdate<string, [Order]>('srlmSet');
export const promoteUpdate = defineUpdate<string, [Order]>('srlmPromote');

/** A run to its round: what was ordered of the run. */
export const orderSignal = defineSignal<[Pick<Intervention, 'kind'> & { order: Order }]>('srlmOrder');
