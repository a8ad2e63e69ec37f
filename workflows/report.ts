/**
 * A run of a study reports to it how far it is, by a signal whenever that changes: whether it waits for somebody, what
 * of its work other runs may find, its finished rounds, its end. A study that is gone is no concern of its runs.
 */
import { CancellationScope, getExternalWorkflowHandle, log } from '@temporalio/workflow';
import { STUDY_SIGNAL } from '../contracts/commands.js';
import { phaseOf, type RunInput, type RunState } from '../contracts/run.js';
import type { StudyNote } from '../contracts/study.js';

export function reporter({ id, index }: NonNullable<RunInput['study']>): (state: RunState) => void {
  let reported = '';
  return (state) => {
    const note = noteOf(state, index);
    const text = JSON.stringify(note);
    if (text === reported) return;
    reported = text;
    // An abort cancels what a run waits for, and its end is reported all the same.
    void CancellationScope.nonCancellable(() => getExternalWorkflowHandle(id).signal(STUDY_SIGNAL, note)).catch(
      ({ message }: Error) => log.info(`the study does not hear of it: ${message}`),
    );
  };
}

export function noteOf(state: RunState, index: number): StudyNote {
  const phase = phaseOf(state);
  const idle = phase === 'paused' || phase === 'parked' || phase === 'waiting';
  return { index, idle, passed: passedOf(state), ended: state.end?.kind ?? null, table: state.table };
}

function passedOf({ round, prepared, steps }: RunState): StudyNote['passed'] {
  if (round === null || !prepared) return 0;
  if (round === 0) return 1;
  const isScored = round > 1 || steps.some(({ step, state }) => step === 'select' && state !== 'running');
  return isScored ? 3 : 2;
}
