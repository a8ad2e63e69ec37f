/** What a run may spend, has spent, and has left. Pure, but for the time it is told. */
import type { Spent } from '../contracts/artifacts.js';
import type { Budget } from '../contracts/spec.js';
import type { Allowance } from '../contracts/steps.js';

export const NOTHING: Spent = { tokens: 0, gpuSeconds: 0, money: 0 };

export const sum = (a: Spent, b: Spent): Spent => ({
  tokens: a.tokens + b.tokens,
  gpuSeconds: a.gpuSeconds + b.gpuSeconds,
  money: a.money + b.money,
});

/** What of `spent` has not been `told` yet. */
export const untold = (spent: Spent, told: Spent): Spent => ({
  tokens: Math.max(0, spent.tokens - told.tokens),
  gpuSeconds: Math.max(0, spent.gpuSeconds - told.gpuSeconds),
  money: Math.max(0, spent.money - told.money),
});

export const isNothing = ({ tokens, gpuSeconds, money }: Spent): boolean => tokens + gpuSeconds + money === 0;

/** Of each bound of the budget the share that is used up, as `budget.tokens` -> 0.83. `hours`: since the run began. */
export function shares(budget: Budget, spent: Spent, hours: number): Record<string, number> {
  const used = { ...spent, hours };
  return Object.fromEntries(
    (['tokens', 'gpuSeconds', 'hours', 'money'] as const).flatMap((name) => {
      const bound = budget[name];
      return bound === undefined ? [] : [[`budget.${name}`, used[name] / bound]];
    }),
  );
}

/** The bound that is used up, if one is. */
export function overdrawn(budget: Budget, spent: Spent, hours: number): string | null {
  return Object.entries(shares(budget, spent, hours)).find(([, share]) => share >= 1)?.[0] ?? null;
}

/** What each of `lanes` shards at once may use; undefined where nothing is bounded. */
export function allowance(budget: Budget, spent: Spent, startedAtMs: number, lanes: number): Allowance | undefined {
  if (Object.values(budget).every((bound) => bound === undefined)) return undefined;
  const left = (name: 'tokens' | 'gpuSeconds' | 'money') => {
    const bound = budget[name];
    return bound === undefined ? null : Math.max(0, bound - spent[name]) / lanes;
  };
  const until = budget.hours === undefined ? null : new Date(startedAtMs + budget.hours * 3_600_000).toISOString();
  return { tokens: left('tokens'), gpuSeconds: left('gpuSeconds'), money: left('money'), until };
}

/** Where a training ends with a checkpoint, which has `told` what it used before; no bound where the budget has none. */
export function trainingBounds(budget: Budget, spent: Spent, told: Spent) {
  const { tokens, gpuSeconds } = budget;
  return {
    ...(tokens === undefined ? {} : { tokenBound: told.tokens + Math.max(0, tokens - spent.tokens) }),
    ...(gpuSeconds === undefined
      ? {}
      : { gpuSecondsBound: told.gpuSeconds + Math.max(0, gpuSeconds - spent.gpuSeconds) }),
  };
}

/** Seconds a run may still take; null: no bound. */
export const secondsLeft = (budget: Budget, hours: number): number | null =>
  budget.hours === undefined ? null : Math.max(0, (budget.hours - hours) * 3600);
