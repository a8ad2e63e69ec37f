/**
 * Which run of a study begins next. Runs that share work have equal numbers for it (contracts/study.ts): of those, one
 * does the work, and the others begin when it is done, and find it. Invariants: never more than `atOnce` runs work; work
 * that two runs share is begun by one of them, unless the one that had begun it is idle. Pure.
 */
import type { Shared } from '../../contracts/study.js';

/** A run that has begun and not ended. `idle`: it waits for somebody, and keeps neither a place nor what others share. */
export interface Begun {
  passed: number;
  idle: boolean;
}

/** Reached when `passed` is that much. */
const DONE_AT = { prepare: 1, round0: 2, round1: 3 } as const;
const KINDS = Object.keys(DONE_AT) as (keyof Shared)[];

/** The first of `waiting` that may begin now; null: none may. All by position in the plan. */
export function nextToBegin(
  shared: readonly Shared[],
  waiting: readonly number[],
  begun: ReadonlyMap<number, Begun>,
  atOnce: number,
): number | null {
  const working = [...begun].filter(([, { idle }]) => !idle);
  if (working.length >= atOnce) return null;
  const isFree = (index: number) =>
    working.every(([other, { passed }]) => !sharesUndone(shared[index]!, shared[other]!, passed));
  return waiting.find(isFree) ?? null;
}

const sharesUndone = (a: Shared, b: Shared, passed: number): boolean =>
  KINDS.some((kind) => a[kind] !== null && a[kind] === b[kind] && passed < DONE_AT[kind]);
