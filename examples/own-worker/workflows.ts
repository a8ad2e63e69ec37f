/** All workflows of the worker: srlm's and your own. This file is bundled, so it imports nothing of Node. */
import { executeChild, proxyActivities } from '@temporalio/workflow';
import type { SampleRunInput } from 'srlm/contracts';
import { srlmSample } from 'srlm/workflows';
import type * as activities from './activities.js';

export * from 'srlm/workflows';

const { shareFinished } = proxyActivities<typeof activities>({ startToCloseTimeout: '10 minutes' });

/** Asks a teacher, then looks at what came. Killed anywhere, it goes on from there. */
export async function askTeacher(input: SampleRunInput): Promise<{ texts: number; shareFinished: number }> {
  const { candidates } = await executeChild(srlmSample, { args: [input] });
  return { texts: candidates.rows, shareFinished: await shareFinished(candidates) };
}
