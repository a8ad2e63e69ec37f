/**
 * Alarms: a round whose numbers look like the beginning of a collapse. An alarm is shown and rolls nothing back; the gate
 * does that, by limits of the spec. docs/method.md says what the thresholds come from. Pure.
 */
import { type Breach, METRICS, metricText, type WatchLimits } from '../../contracts/watch.js';
import { breaches, firstValue, type Watched } from './limits.js';

export const ALARMS: WatchLimits = {
  distinct2: { drop: 0.5 },
  entropy: { drop: 0.25 },
  repeats: { max: 0.9 },
  guarded: { max: 0.7 },
  setChars: { drop: 0.25 },
  shorter: { max: 0.95 },
};

export interface Alarm extends Breach {
  round: number;
  /** A sentence. */
  text: string;
}

/** Those of each round, in order. `rounds`: all finished ones. */
export function alarms(rounds: readonly Watched[]): Alarm[] {
  return rounds.flatMap(({ round, watch }, i) => {
    if (!watch) return [];
    const before = rounds.slice(0, i);
    return breaches(ALARMS, watch, before).map((breach) => ({
      ...breach,
      round,
      text: sentence(breach, round, before),
    }));
  });
}

/** `round 3: distinct2 (candidates: different pairs of words / all pairs) is 0.31, 41 % of round 1's: a sign of collapse`. */
function sentence({ metric, value }: Breach, round: number, before: readonly Watched[]): string {
  const limit = ALARMS[metric]!;
  const first = limit.drop === undefined && limit.rise === undefined ? null : firstValue(before, metric);
  const compared = first ? `, ${Math.round((100 * value) / first.value)} % of round ${first.round}'s` : '';
  return `round ${round}: ${metric} (${METRICS[metric].what}) is ${metricText(metric, value)}${compared}: a sign of collapse (docs/method.md)`;
}
