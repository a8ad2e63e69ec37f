/**
 * A stop signal that knows a pause from a cancellation. A cancelled activity stops at once; a paused one may finish what
 * it is busy with. Both reach an activity as cancellation, so the run is asked which of the two it is.
 */
import { setMaxListeners } from 'node:events';
import { Context } from '@temporalio/activity';
import { STATE_QUERY } from '../contracts/commands.js';
import type { RunState } from '../contracts/run.js';
import { stopSignal } from './activity.js';

const ANSWER_MS = 5000;

export interface PausableSignal {
  /** Aborts when the work must stop at once. */
  signal: AbortSignal;
  paused: boolean;
  /** Set while there is something to finish. */
  busy: boolean;
}

export function pausableSignal(): PausableSignal {
  const stop = stopSignal();
  const atOnce = new AbortController();
  setMaxListeners(0, atOnce.signal);
  const state: PausableSignal = { signal: atOnce.signal, paused: false, busy: false };
  // The listener is called outside of the activity's own context.
  const context = Context.current();
  const onStop = async () => {
    state.paused = await isPaused(context);
    if (!state.paused || !state.busy) atOnce.abort(stop.reason);
  };
  if (stop.aborted) atOnce.abort(stop.reason);
  else stop.addEventListener('abort', () => void onStop(), { once: true });
  return state;
}

async function isPaused({ cancellationDetails, client, info }: Context): Promise<boolean> {
  if (!cancellationDetails?.cancelRequested || !info.workflowExecution) return false;
  const { workflowId, runId } = info.workflowExecution;
  const asked = client.withDeadline(Date.now() + ANSWER_MS, () =>
    client.workflow.getHandle(workflowId, runId).query<Pick<RunState, 'paused' | 'end'>>(STATE_QUERY),
  );
  const state = await asked.catch(() => null);
  return state !== null && state.paused !== null && state.end === null;
}
