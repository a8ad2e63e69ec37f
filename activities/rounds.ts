/** The table of a run's finished rounds, an object of the store: the run's state carries its reference only. */
import { artifactDamaged } from '../contracts/errors.js';
import type { ObjectRef } from '../contracts/refs.js';
import { KeepRoundInput, ReadRoundInput, type RoundSummary, RoundTable } from '../contracts/steps.js';
import { activity, type Deps } from './activity.js';

/** A new table with the round at its end; a round that is in the table already is replaced, with those after it. */
export const srlmKeepRound = ({ store }: Deps) =>
  activity('record', KeepRoundInput, async ({ table, preparation, round }): Promise<ObjectRef> => {
    const before = table && (await store.objects.readJson(table, RoundTable));
    const rounds = (before?.rounds ?? []).filter((one) => one.round < round.round);
    const next: RoundTable = {
      version: 2,
      preparation: preparation ?? before?.preparation ?? [],
      rounds: [...rounds, round],
    };
    return store.objects.putJson(next);
  });

export const srlmReadRound = ({ store }: Deps) =>
  activity('promote', ReadRoundInput, async ({ table, round }): Promise<RoundSummary> => {
    const { rounds } = await store.objects.readJson(table, RoundTable);
    const found = rounds.find((one) => one.round === round);
    if (!found) throw artifactDamaged(`round table ${table.sha256.slice(0, 12)}`, `it has no round ${round}.`);
    return found;
  });
