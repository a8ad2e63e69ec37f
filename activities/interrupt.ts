/**
 * A stop signal that knows a pause from a cancellation. A cancelled activity stops at once; one that is paused, or whose
 * worker is stopped, may finish what it is busy with. A pause reaches an activity as cancellation, too, so the run is
 * asked which of the two it is.
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
  /** Nothing more is to begin. */
  ending: boolean;
  /** Set while there is something to finish. */
  busy: boolean;
  /** To be called once nobody listens any more. */
  end(): void;
}

/** `draining`: aborts when the worker is stopped. */
export function pausableSignal(draining: AbortSignal): PausableSignal {
  const stop = stopSignal();
  const atOnce = new AbortController();
  setMaxListeners(0, atOnce.signal);
  const listening = new AbortController();
  const state: PausableSignal = { signal: atOnce.signal, ending: false, busy: false, end: () => listening.abort() };
  // The listener is called outside of the activity's own context.
  const context = Context.current();
  const onStop = async () => {
    const isToEnd = await isPaused(context);
    state.ending ||= isToEnd;
    if (!isToEnd || !state.busy) atOnce.abort(stop.reason);
  };
  const onDrain = () => {
    state.ending = true;
    if (!state.busy) atOnce.abort(draining.reason);
  };
  const { signal } = listening;
  if (stop.aborted) atOnce.abort(stop.reason);
  else stop.addEventListener('abort', () => void onStop(), { once: true, signal });
  if (draining.aborted) onDrain();
  else draining.addEventListener('abort', onDrain, { once: true, signal });
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
