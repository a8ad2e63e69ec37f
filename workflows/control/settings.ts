/** The settings that hold in a round. Pure. */
import type { z } from 'zod';
import type { Settings } from '../../contracts/commands.js';
import type { RunState, SettingChange } from '../../contracts/run.js';
import { isAnyTime, withSettings } from '../../contracts/settings.js';
import { withChange } from './record.js';

/** Round of settings that were changed before the first one began. */
export const BEFORE_ROUNDS = -1;

/**
 * The settings a run was started with, changed by everything that was set for this round or an earlier one. Fields that
 * affect no artifact (budget, engine, ...) always take their latest value up to round `reached`: it also holds where
 * rounds are repeated after damage.
 */
export function settingsAt<S>(
  started: S,
  changes: readonly SettingChange[],
  round: number,
  reached: number,
  schema: z.ZodType<S>,
): S {
  const inOrder = [...changes].sort((a, b) => a.fromRound - b.fromRound);
  return inOrder.reduce((settings, { fromRound, set }) => {
    const fields = Object.entries(set).filter(([field]) => fromRound <= (isAnyTime(field) ? reached : round));
    return fields.length > 0 ? withSettings(settings, Object.fromEntries(fields), schema) : settings;
  }, started);
}

/**
 * The changes with what is set now. While rounds are repeated after damage, fields that affect no artifact are added
 * behind all that was set before: the latest value has to win in the rounds to come, too.
 */
export function changedNow(
  { changes, round, reached }: Pick<RunState, 'changes' | 'round' | 'reached'>,
  set: Settings,
): SettingChange[] {
  const fields = Object.entries(set);
  const anyTime = Object.fromEntries(fields.filter(([field]) => isAnyTime(field)));
  const others = Object.fromEntries(fields.filter(([field]) => !isAnyTime(field)));
  return withChange(withChange(changes, round ?? reached, others), Math.max(reached, round ?? BEFORE_ROUNDS), anyTime);
}
