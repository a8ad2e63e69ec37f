/** What a study reads and keeps: its plan, the runs that have ended, and the result that is made of them. */
import { Context } from '@temporalio/activity';
import { WorkflowNotFoundError } from '@temporalio/client';
import { artifactDamaged } from '../contracts/errors.js';
import type { ObjectRef } from '../contracts/refs.js';
import { RunMemo } from '../contracts/run.js';
import {
  KeepStudyRunInput,
  LookAtRunInput,
  ReadStudyInput,
  ReadStudyRunInput,
  type RunEnd,
  type RunLook,
  type StudyOrder,
  StudyPlan,
  StudyResultInput,
  type StudyRun,
  StudyRuns,
} from '../contracts/study.js';
import { sha256 } from '../storage/files.js';
import { canonical } from '../storage/objects.js';

import { activity, type Deps } from './activity.js';
import { readStudyResult } from './study-result.js';

export const srlmReadStudy = ({ store }: Deps) =>
  activity('read study', ReadStudyInput, async ({ plan }): Promise<StudyOrder> => {
    const { runs } = await store.objects.readJson(plan, StudyPlan);
    return runs.map(({ shared: { prepare, round0, round1 } }) => [prepare, round0, round1]);
  });

export const srlmReadStudyRun = ({ store }: Deps) =>
  activity('read study', ReadStudyRunInput, async ({ plan, index }): Promise<StudyRun> => {
    const run = (await store.objects.readJson(plan, StudyPlan)).runs[index];
    if (!run) throw artifactDamaged(`study plan ${plan.sha256.slice(0, 12)}`, `it has no run ${index}.`);
    const { id, input } = run;
    return { id, input, digest: sha256(canonical(input)) };
  });

/** Whether a run that exists is the one that the study means, and how it ended. */
export const srlmLookAtRun = (_: Deps) =>
  activity('look at run', LookAtRunInput, async ({ id, digest }): Promise<RunLook> => {
    try {
      const { type, memo, status } = await Context.current().client.workflow.getHandle(id).describe();
      if (type !== 'srlmRun' || memo?.srlmInput !== digest) return { end: 'refused', table: null };
      const { phase = null, table = null } = RunMemo.safeParse(memo.srlm).data ?? {};
      return status.name === 'RUNNING' || status.name === 'CONTINUED_AS_NEW'
        ? null
        : { end: endOf(status.name, phase), table };
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
      return { end: 'failed', table: null };
    }
  });

function endOf(status: string, phase: string | null): RunEnd {
  if (status === 'COMPLETED') return phase === 'stopped' ? 'stopped' : 'done';
  if (status === 'CANCELLED' || status === 'TERMINATED') return 'aborted';
  return phase === 'aborted' || phase === 'stopped' ? phase : 'failed';
}

/** A new list with the run in it; one that is in it already is replaced. */
export const srlmKeepStudyRun = ({ store }: Deps) =>
  activity('keep run', KeepStudyRunInput, async ({ runs, run }): Promise<ObjectRef> => {
    const before = runs ? await store.objects.readJson(runs, StudyRuns) : [];
    return store.objects.putJson([...before.filter(({ index }) => index !== run.index), run]);
  });

export const srlmStudyResult = ({ store }: Deps) =>
  activity('study result', StudyResultInput, async ({ plan: ref, runs: ended }): Promise<ObjectRef> => {
    const plan = await store.objects.readJson(ref, StudyPlan);
    const runs = await store.objects.readJson(ended, StudyRuns);
    return store.objects.putJson(await readStudyResult(store, plan, runs));
  });
