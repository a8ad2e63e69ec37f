/**
 * The gate: is a round kept, given its graded replies and those of the best round so far, and the numbers that it is
 * watched by? Cheap, so it keeps no record.
 */
import { Grade } from '../contracts/rows.js';
import { type EvalResult, GateInput, RoundTable } from '../contracts/steps.js';
import { decideGate } from '../method/gate.js';
import { breaches } from '../method/watch/limits.js';
import type { Store } from '../storage/store.js';
import { activity, type Deps } from './activity.js';

export const srlmGate = ({ store }: Deps) =>
  activity('gate', GateInput, async ({ best, current, gate, rollbacksInARow, seed, watch, table }) => {
    const isPaired = best !== null && current !== null;
    const best_E = isPaired ? await correctOf(store, best) : null;
    const current_E = isPaired ? await correctOf(store, current) : null;
    const { rounds } = table ? await store.objects.readJson(table, RoundTable) : { rounds: [] };
    const beyond = watch ? breaches(gate.watch, watch, rounds) : [];
    return decideGate(best_E, current_E, gate, rollbacksInARow, seed, beyond);
  });

async function correctOf(store: Store, { grades }: EvalResult): Promise<boolean[]> {
  const correct_E: boolean[] = [];
  for await (const { correct, leftOut } of store.datasets.rows(grades, Grade)) if (!leftOut) correct_E.push(correct);
  return correct_E;
}
