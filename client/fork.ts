/**
 * A fork: a new run that repeats what its parent did before `fromRound`, and so finds all of it done, then continues
 * with other settings. Pure. Throws spec.invalid.
 */
import type { Settings } from '../contracts/commands.js';
import { specInvalid } from '../contracts/errors.js';
import type { OperatorRecord, RunState, SettingChange } from '../contracts/run.js';
import { assertPerRound, withSettings } from '../contracts/settings.js';
import { RunSettings } from '../contracts/spec.js';
import { assertRoom, freshRecord, withChange } from '../workflows/control/record.js';

export interface Fork {
  fromRound: number;
  set: Settings;
}

/** What operators did to the parent before `fromRound`, and the fork's own settings. */
export function recordOfFork(
  parent: Pick<RunState, 'changes' | 'overrides' | 'approved'>,
  started: RunSettings,
  { fromRound, set }: Fork,
): OperatorRecord {
  const own = (change: SettingChange) => (change.fromRound <= fromRound ? change : without(change, set));
  const { catalysts, 'before-train': beforeTrain, 'after-round': afterRound } = parent.approved;
  try {
    const now = parent.changes.reduce((settings, change) => withSettings(settings, change.set, RunSettings), started);
    if (fromRound > now.rounds) throw new Error(`the last round is ${now.rounds}`);
    assertPerRound(set, true);
    withSettings(now, set, RunSettings);
    const changes = withChange(parent.changes.map(own), fromRound, set);
    assertRoom(changes);
    return {
      ...freshRecord(),
      changes,
      overrides: parent.overrides.filter(({ before }) => before <= fromRound),
      approved: {
        catalysts,
        'before-train': Math.min(beforeTrain, fromRound - 1),
        'after-round': Math.min(afterRound, fromRound - 1),
      },
    };
  } catch (error) {
    throw specInvalid({ file: 'fork' }, `${(error as Error).message}.`);
  }
}

/** The fork's own settings win over later ones of its parent. */
const without = (change: SettingChange, set: Settings): SettingChange => ({
  ...change,
  set: Object.fromEntries(Object.entries(change.set).filter(([field]) => !(field in set))),
});
