/**
 * Studies as Temporal has them: their list, how far their runs are, and their result, also while they run. No worker is
 * needed: everything is in memos and in the store. Throws study.unknown, artifact.damaged, payload.unreadable.
 */
import type { Client } from '@temporalio/client';
import pLimit from 'p-limit';
import { type KnownRun, readStudyResult } from '../../activities/study-result.js';
import { Problem, runUnknown, studyUnknown } from '../../contracts/errors.js';
import type { RunMemo } from '../../contracts/run.js';
import {
  StudyInput,
  StudyMemo,
  StudyPlan,
  type StudyResult,
  type StudyRunStatus,
  StudyRuns,
} from '../../contracts/study.js';
import type { Store } from '../../storage/store.js';
import {
  argumentsOf,
  type Described,
  describe,
  hasEnded,
  listExecutions,
  memoOf,
  phaseBy,
  STUDY_TYPE,
} from '../executions.js';
import type { RunListing } from '../status.js';

/** Descriptions read at the same time. */
const AT_ONCE = 8;

export type StudyPhase = StudyMemo['phase'] | 'failed';

export interface StudyStatus {
  studyId: string;
  state: StudyPhase;
  startedAt: string;
  endedAt: string | null;
  runs: StudyRunStatus[];
}

export interface StudyListing {
  studyId: string;
  state: StudyPhase;
  total: number;
  ended: number;
  startedAt: string;
  endedAt: string | null;
}

export async function listStudies(temporal: Client): Promise<StudyListing[]> {
  const newest = new Map<string, StudyListing>();
  for await (const { workflowId, memo, status, startTime, closeTime } of listExecutions(temporal, [STUDY_TYPE])) {
    const { total = 0, ended = 0, phase = null } = studyMemoOf(memo) ?? {};
    const state = phaseOfStudy(status.name, phase);
    const startedAt = startTime.toISOString();
    // The newest execution of a chain comes first, and the first one last.
    const known = newest.get(workflowId);
    if (known && status.name === 'CONTINUED_AS_NEW') known.startedAt = startedAt;
    else if (!known) {
      const endedAt = hasEnded(status.name) ? (closeTime?.toISOString() ?? null) : null;
      newest.set(workflowId, { studyId: workflowId, state, total, ended, startedAt, endedAt });
    }
  }
  return [...newest.values()];
}

/** As one of the runs that the store holds something for. */
export const asListing = ({ studyId, state, startedAt, endedAt }: StudyListing): RunListing => ({
  ...{ runId: studyId, kind: 'run', state: state === 'stopping' ? 'running' : state, startedAt, endedAt },
  ...{ round: null, lastRound: null, step: null, codeFailure: null },
});

const studyMemoOf = (memo: Record<string, unknown> | undefined): StudyMemo | null =>
  StudyMemo.safeParse(memo?.srlmStudy).data ?? null;

function phaseOfStudy(status: string, known: StudyMemo['phase'] | null): StudyPhase {
  if (!hasEnded(status)) return known === 'stopping' ? 'stopping' : 'running';
  if (status === 'COMPLETED') return known === 'stopped' ? 'stopped' : 'done';
  return status === 'CANCELLED' || status === 'TERMINATED' || known === 'aborted' ? 'aborted' : 'failed';
}

/** One look at a study and at each of its runs. */
export interface StudyLook {
  status: StudyStatus;
  plan: StudyPlan;
  known: KnownRun[];
}

export async function lookAtStudy(temporal: Client, store: Store, studyId: string): Promise<StudyLook> {
  const described = await describe(temporal, studyId, [STUDY_TYPE]).catch((error: unknown) => {
    throw isUnknown(error) ? studyUnknown(studyId) : error;
  });
  const memo = studyMemoOf(described.memo);
  const ref = memo?.plan ?? StudyInput.parse((await argumentsOf(temporal, described))[0]).plan;
  const plan = await store.objects.readJson(ref, StudyPlan);
  const kept = memo?.runs ? await store.objects.readJson(memo.runs, StudyRuns) : [];
  const limit = pLimit(AT_ONCE);
  const found = await Promise.all(plan.runs.map(({ id }) => limit(() => lookAtRun(temporal, id))));
  const runs = plan.runs.map(({ id, arm, seed, input }, i): StudyRunStatus => {
    const { memo = null, state = null } = found[i] ?? {};
    const { round = null, lastRound = input.settings.rounds, step = null } = memo ?? {};
    // A run that Temporal has deleted has left its end with the study.
    const known = kept.find(({ index }) => index === i)?.end;
    return {
      ...{ id, arm, seed, round, lastRound, step },
      state: state ?? (known === 'refused' ? 'failed' : known) ?? null,
    };
  });
  const known = plan.runs.map((_, index): KnownRun => {
    const { memo, state } = found[index] ?? {};
    const ended = kept.find((one) => one.index === index);
    const end = state === 'done' || state === 'stopped' || state === 'aborted' || state === 'failed' ? state : null;
    return { index, end: ended?.end ?? end, table: ended?.table ?? memo?.table ?? null };
  });
  const state = phaseOfStudy(described.status.name, memo?.phase ?? null);
  const startedAt = described.startTime.toISOString();
  const endedAt = hasEnded(described.status.name) ? (described.closeTime?.toISOString() ?? null) : null;
  return { status: { studyId, state, startedAt, endedAt, runs }, plan, known };
}

const isUnknown = (error: unknown): boolean => error instanceof Problem && error.type === runUnknown('').type;

/** null: it has not begun. */
async function lookAtRun(
  temporal: Client,
  id: string,
): Promise<{ memo: RunMemo | null; state: StudyRunStatus['state'] } | null> {
  let described: Described;
  try {
    described = await describe(temporal, id);
  } catch (error) {
    if (isUnknown(error)) return null;
    throw error;
  }
  const memo = memoOf(described.memo);
  return { memo, state: phaseBy(described.status.name, memo?.phase ?? null) };
}

/** The result of what its runs have done up to now. */
export const resultOf = (store: Store, { plan, known }: StudyLook): Promise<StudyResult> =>
  readStudyResult(store, plan, known);
