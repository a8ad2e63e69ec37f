/** The gate: is a round kept, given its graded replies and those of the best round so far? Cheap, so it keeps no record. */
import { Grade } from '../contracts/rows.js';
import { type EvalResult, GateInput } from '../contracts/steps.js';
import { decideGate } from '../method/gate.js';
import type { Store } from '../storage/store.js';
import { activity, type Deps } from './activity.js';

export const srlmGate = ({ store }: Deps) =>
  activity('gate', GateInput, async ({ best, current, gate, rollbacksInARow, seed }) => {
    const [best_E, current_E] = await Promise.all([correctOf(store, best), correctOf(store, current)]);
    return decideGate(best_E, current_E, gate, rollbacksInARow, seed);
  });

async function correctOf(store: Store, { grades }: EvalResult): Promise<boolean[]> {
  const correct_E: boolean[] = [];
  for await (const { correct, leftOut } of store.datasets.rows(grades, Grade)) if (!leftOut) correct_E.push(correct);
  return correct_E;
}
