/**
 * The gate [ours]: is a round kept? A round is rolled back only when it is surely worse than the best one so far, by
 * more than the tolerance, on the same questions. In doubt it is kept. A verdict is not stored under a key, so there is no
 * VERSION here. Throws a plain Error where the answers do not pair.
 */
import type { Gate } from '../contracts/spec.js';
import type { GateOutput } from '../contracts/steps.js';
import { pairedBootstrap } from './statistics.js';

/** `rollbacksInARow`: rounds rolled back in a row before this one. */
export function decideGate(
  best_E: readonly boolean[],
  current_E: readonly boolean[],
  gate: Gate,
  rollbacksInARow: number,
  seed: number,
): GateOutput {
  const paired = pairedBootstrap(best_E, current_E, gate.confidence, seed);
  const worse = paired.high < -gate.tolerance;
  const verdict = !worse ? 'keep' : rollbacksInARow + 1 >= gate.patience ? 'stop' : 'roll-back';
  return { verdict, ...paired };
}
