/** All workflows of the worker: srlm's and your own. This file is bundled, so it imports no modules of Node. */
import { proxyActivities } from '@temporalio/workflow';
import type { SampleInput } from 'srlm/contracts';
import { executeAsChild, srlmSample } from 'srlm/workflows';
import type * as activities from './activities.js';

export * from 'srlm/workflows';

const { shareFinished } = proxyActivities<typeof activities>({ startToCloseTimeout: '10 minutes' });

/** Samples texts from a teacher, then counts the finished ones. If it is killed anywhere, it continues from there. */
export async function askTeacher(input: SampleInput): Promise<{ texts: number; shareFinished: number }> {
  const { candidates } = await executeAsChild(srlmSample, input);
  return { texts: candidates.rows, shareFinished: await shareFinished(candidates) };
}
