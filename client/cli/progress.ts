/** Progress of a running step, summed over its activities, in numbers and in words. Pure. */
import type { RunStatus, StepState } from '../../contracts/run.js';
import { duration, printable, rate } from '../../text/text.js';

type Live = RunStatus['live'];

export interface Progress {
  done: number;
  /** 0: not known. */
  total: number;
  unit: string;
  perSecond: number | null;
  secondsLeft: number | null;
  note: string | null;
}

/** A sharded step: rows of finished shards and of running ones. Any other step: what its activity reports. */
export function progressOf(step: StepState, live: Live): Progress | null {
  if (step.state !== 'running') return null;
  if (step.rowsDone !== null && step.rowsTotal !== null) {
    const shards = live.filter(({ unit, total }) => unit === 'rows' && total > 0);
    const done = Math.min(step.rowsTotal, step.rowsDone + shards.reduce((sum, shard) => sum + shard.done, 0));
    const perSecond = shards.reduce((sum, shard) => sum + (shard.rate ?? 0), 0) || null;
    const secondsLeft = perSecond === null ? null : (step.rowsTotal - done) / perSecond;
    return { done, total: step.rowsTotal, unit: 'rows', perSecond, secondsLeft, note: null };
  }
  const one = live[0];
  if (!one || (one.done === 0 && one.total === 0)) return null;
  const note = one.note === undefined ? null : printable(one.note);
  return { done: one.done, total: one.total, unit: one.unit, perSecond: one.rate, secondsLeft: one.secondsLeft, note };
}

/** `332/640 rows`, `8.2/s`, `38 s left`, `loss 1.205`: what is known of it. */
export function progressParts({ done, total, unit, perSecond, secondsLeft, note }: Progress): string[] {
  return [
    total === 0 ? `${done} ${unit}` : `${done}/${total} ${unit}`,
    ...(perSecond === null ? [] : [`${rate(perSecond)}/s`]),
    ...(secondsLeft === null || secondsLeft <= 0 ? [] : [`${duration(Math.ceil(secondsLeft))} left`]),
    ...(note === null ? [] : [note]),
  ];
}

/** The activity that has failed most often, of those that are tried again. */
export function mostFailed(live: Live): Live[number] | undefined {
  return live.filter(({ attempt, lastFailure }) => attempt > 1 && lastFailure).sort((a, b) => b.attempt - a.attempt)[0];
}

export const attempts = (count: number) => `${count} attempt${count === 1 ? '' : 's'}`;
