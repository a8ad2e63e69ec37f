/**
 * The gate [ours]: is a round kept? A round is rolled back only when it is surely worse than the best one so far, by
 * more than the tolerance, on the same questions. Doubt keeps it. Throws a plain Error on answers that do not pair.
 */
import type { Gate } from '../contracts/spec.js';
import type { GateOutput } from '../contracts/steps.js';
import { pairedBootstrap } from './statistics.js';

/** `failedInARow`: rounds rolled back in a row before this one. */
export function decideGate(
  best_E: boolean[],
  current_E: boolean[],
  gate: Gate,
  failedInARow: number,
  seed: number,
): GateOutput {
  const paired = pairedBootstrap(best_E, current_E, gate.confidence, seed);
  const worse = paired.high < -gate.tolerance;
  const verdict = !worse ? 'keep' : failedInARow + 1 >= gate.patience ? 'stop' : 'roll-back';
  return { verdict, ...paired };
}
