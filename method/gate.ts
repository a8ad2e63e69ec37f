/**
 * The gate [ours]: is a round kept? A round is rolled back when it is surely worse than the best one so far, by more than
 * the tolerance, on the same questions, or when a number of the collapse watch is beyond a limit of the spec. In doubt it
 * is kept. A verdict is not stored under a key, so there is no VERSION here. Throws a plain Error where the answers do
 * not pair.
 */
import type { Gate } from '../contracts/spec.js';
import type { GateOutput } from '../contracts/steps.js';
import type { Breach } from '../contracts/watch.js';
import { pairedBootstrap } from './statistics.js';

/**
 * `best_E`, `current_E`: whether the questions were answered right; null: there is no evaluation to compare.
 * `rollbacksInARow`: rounds rolled back in a row before this one. `beyond`: numbers beyond a limit.
 */
export function decideGate(
  best_E: readonly boolean[] | null,
  current_E: readonly boolean[] | null,
  gate: Gate,
  rollbacksInARow: number,
  seed: number,
  beyond: readonly Breach[] = [],
): GateOutput {
  const paired = best_E && current_E && pairedBootstrap(best_E, current_E, gate.confidence, seed);
  const isWorse = paired !== null && paired.high < -gate.tolerance;
  const isKept = !isWorse && beyond.length === 0;
  return {
    verdict: isKept ? 'keep' : rollbacksInARow + 1 >= gate.patience ? 'stop' : 'roll-back',
    ...(paired ?? { difference: null, low: null, high: null }),
    ...(beyond.length > 0 ? { watch: [...beyond] } : {}),
  };
}
