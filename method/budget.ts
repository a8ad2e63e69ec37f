/**
 * Budgets: what a run may use, has used and has left. Pure; the time is an argument. Throws nothing.
 */
import { Usage } from '../contracts/refs.js';
import type { Budget } from '../contracts/spec.js';
import type { BudgetShare, FineTuneInput } from '../contracts/steps.js';

interface Kind {
  /** `hours`: since the run began. */
  used: (usage: Usage, hours: number) => number;
  /** Field of a training's input by which it stops with a checkpoint. */
  trainingBound?: keyof FineTuneInput & `${string}Bound`;
}

/** In the order in which they are reported. */
const KINDS: Record<keyof Budget, Kind> = {
  tokens: { used: ({ tokens }) => tokens, trainingBound: 'tokenBound' },
  gpuSeconds: { used: ({ gpuSeconds }) => gpuSeconds, trainingBound: 'gpuSecondsBound' },
  hours: { used: (_, hours) => hours },
  money: { used: ({ money }) => money },
};
const BUDGET_KINDS = Object.entries(KINDS) as [keyof Budget, Kind][];
const USAGE_KINDS = Usage.keyof().options;

const eachKind = <T>(of: (kind: keyof Usage) => T) =>
  Object.fromEntries(USAGE_KINDS.map((kind) => [kind, of(kind)])) as Record<keyof Usage, T>;

export const NO_USAGE: Usage = eachKind(() => 0);

export const addUsage = (a: Usage, b: Usage): Usage => eachKind((kind) => a[kind] + b[kind]);

/** The part of `usage` that is not `counted` yet. */
export const uncounted = (usage: Usage, counted: Usage): Usage =>
  eachKind((kind) => Math.max(0, usage[kind] - counted[kind]));

/** The used share of each bound that the budget has, as `budget.tokens` -> 0.83. `hours`: since the run began. */
export function shares(budget: Budget, usage: Usage, hours: number): Record<string, number> {
  return Object.fromEntries(
    BUDGET_KINDS.flatMap(([kind, { used }]) => {
      const bound = budget[kind];
      return bound === undefined ? [] : [[`budget.${kind}`, used(usage, hours) / bound]];
    }),
  );
}

/** The first bound that is used up, as `budget.tokens`; null: none. */
export function usedUp(budget: Budget, usage: Usage, hours: number): string | null {
  return Object.entries(shares(budget, usage, hours)).find(([, share]) => share >= 1)?.[0] ?? null;
}

/** What each of `lanes` shards that run at the same time may use; null: the budget has no bound. */
export function budgetShare(budget: Budget, usage: Usage, startedAtMs: number, lanes: number): BudgetShare | null {
  if (Object.values(budget).every((bound) => bound === undefined)) return null;
  const left = eachKind((kind) => {
    const bound = budget[kind];
    return bound === undefined ? null : Math.max(0, bound - usage[kind]) / lanes;
  });
  const until = budget.hours === undefined ? null : new Date(startedAtMs + budget.hours * 3_600_000).toISOString();
  return { ...left, until };
}

/** Whether a shard has used up its share. `usage` is that of this shard. */
export function shareUsedUp(share: BudgetShare, usage: Usage, nowMs: number): boolean {
  const { until } = share;
  if (until !== null && nowMs >= Date.parse(until)) return true;
  return USAGE_KINDS.some((kind) => share[kind] !== null && usage[kind] >= share[kind]);
}

/** Where a training stops with a checkpoint. `counted`: its own usage so far, which `usage` includes. */
export function trainingBounds(
  budget: Budget,
  usage: Usage,
  counted: Usage,
): Pick<FineTuneInput, 'tokenBound' | 'gpuSecondsBound'> {
  return Object.fromEntries(
    BUDGET_KINDS.flatMap(([kind, { used, trainingBound }]) => {
      const bound = budget[kind];
      if (bound === undefined || trainingBound === undefined) return [];
      return [[trainingBound, used(counted, 0) + Math.max(0, bound - used(usage, 0))]];
    }),
  );
}

/** Seconds that a run may still take; null: no bound. */
export const secondsLeft = (budget: Budget, hours: number): number | null =>
  budget.hours === undefined ? null : Math.max(0, (budget.hours - hours) * 3600);
