/**
 * A fork: a new run that repeats what its parent did before `fromRound`, and so finds all of it done, then continues
 * with other settings; and its special case, a run that adds rounds to one that has ended. Pure. Throws spec.invalid.
 */
import type { Settings } from '../contracts/commands.js';
import { commandRefused, shellWord, specInvalid } from '../contracts/errors.js';
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

/**
 * What a run that adds `rounds` to an ended one begins with: the settings of the ended run, with more rounds, and
 * everything that operators did to it. Throws run.refused, spec.invalid.
 */
export function continuation(
  runId: string,
  parent: Pick<RunState, 'changes' | 'overrides' | 'approved' | 'rounds' | 'end'>,
  started: RunSettings,
  rounds: number,
): { settings: RunSettings; fromRound: number; record: OperatorRecord } {
  if (!parent.end) {
    const planned = parent.changes.reduce((now, change) => withSettings(now, change.set, RunSettings), started).rounds;
    const total = planned + rounds;
    const set = `\`srlm set ${shellWord(runId)} rounds=${total}\``;
    throw commandRefused(runId, 'continue', `it has not ended; ${set} lets it go to round ${total}`);
  }
  const total = parent.rounds - 1 + rounds;
  if (parent.rounds === 0) throw commandRefused(runId, 'continue', 'it has finished no round; start it again');
  // The number of rounds is one of the settings that it begins with.
  const changes = parent.changes.map((change) => without(change, { rounds: total }));
  const settings = { ...started, rounds: total };
  const fromRound = parent.rounds;
  return { settings, fromRound, record: recordOfFork({ ...parent, changes }, settings, { fromRound, set: {} }) };
}

/** The fork's own settings win over later ones of its parent. */
const without = (change: SettingChange, set: Settings): SettingChange => ({
  ...change,
  set: Object.fromEntries(Object.entries(change.set).filter(([field]) => !(field in set))),
});
