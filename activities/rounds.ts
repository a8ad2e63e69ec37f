/** The table of a run's finished rounds, an object of the store: the run's state carries its reference only. */
import { artifactDamaged } from '../contracts/errors.js';
import type { ObjectRef } from '../contracts/refs.js';
import {
  KeepRoundInput,
  ReadRoundInput,
  type RoundSummary,
  RoundTable,
  type StepCost,
  StepCounts,
} from '../contracts/steps.js';
import { RoundWatch } from '../contracts/watch.js';
import { activity, type Deps } from './activity.js';

const Input = KeepRoundInput.extend({ counts: StepCounts, watch: RoundWatch.nullable() });

/** A new table with the round at its end; a round that is in the table already is replaced, with those after it. */
export const srlmKeepRound = ({ store }: Deps) => {
  const keep = activity('record', Input, async ({ table, preparation, round, counts, watch }): Promise<ObjectRef> => {
    const before = table && (await store.objects.readJson(table, RoundTable));
    const rounds = (before?.rounds ?? []).filter((one) => one.round < round.round);
    const next: RoundTable = {
      version: 2,
      preparation: preparation ? withCounts(preparation, null, counts) : (before?.preparation ?? []),
      rounds: [
        ...rounds,
        { ...round, ...(watch ? { watch } : {}), steps: withCounts(round.steps, round.round, counts) },
      ],
    };
    return store.objects.putJson(next);
  });
  /** `drawn`: counts of the samples of an evaluation, where it drew some. */
  return (input: KeepRoundInput, counts: StepCounts = [], watch: RoundWatch | null = null, drawn: StepCounts = []) =>
    keep({ ...input, counts: [...counts, ...drawn], watch });
};

function withCounts(steps: readonly StepCost[], round: number | null, all: StepCounts): StepCost[] {
  return steps.map((cost) => {
    const found = all.find((one) => one.round === round && one.step === cost.step);
    return found ? { ...cost, counts: found.counts } : cost;
  });
}

export const srlmReadRound = ({ store }: Deps) =>
  activity('promote', ReadRoundInput, async ({ table, round }): Promise<RoundSummary> => {
    const { rounds } = await store.objects.readJson(table, RoundTable);
    const found = rounds.find((one) => one.round === round);
    if (!found) throw artifactDamaged(`round table ${table.sha256.slice(0, 12)}`, `it has no round ${round}.`);
    // What was counted and measured is for who looks at the table, and may be too much for a payload.
    const { watch: _watch, ...rest } = found;
    return { ...rest, steps: found.steps.map(({ counts: _, ...cost }) => cost) };
  });
