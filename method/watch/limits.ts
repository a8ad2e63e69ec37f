/** Limits on the numbers of a round: those of a spec, by which the gate rolls back, and those of the alarms. Pure. */
import type { Breach, MetricName, RoundWatch, WatchLimit, WatchLimits } from '../../contracts/watch.js';

/** A round whose numbers are known. */
export interface Watched {
  round: number;
  watch?: RoundWatch | null | undefined;
}

/** The first value of a number in a run: that of the earliest round that has it. */
export function firstValue(rounds: readonly Watched[], metric: MetricName): { round: number; value: number } | null {
  for (const { round, watch } of rounds) {
    const value = watch?.[metric];
    if (value !== undefined) return { round, value };
  }
  return null;
}

/** What of `watch` is beyond a limit. `before`: the earlier rounds of the run, in order. */
export function breaches(limits: WatchLimits, watch: RoundWatch, before: readonly Watched[]): Breach[] {
  return (Object.entries(limits) as [MetricName, WatchLimit][]).flatMap(([metric, limit]) => {
    const value = watch[metric];
    if (value === undefined) return [];
    const bound = passed(limit, value, firstValue(before, metric)?.value ?? null);
    return bound === null ? [] : [{ metric, value, limit: rounded(bound) }];
  });
}

/** The bound that is passed, as an absolute number; null: none. */
function passed({ min, max, drop, rise }: WatchLimit, value: number, first: number | null): number | null {
  const lower = [min, ...(drop !== undefined && first !== null ? [first * (1 - drop)] : [])];
  const upper = [max, ...(rise !== undefined && first !== null ? [first * (1 + rise)] : [])];
  return (
    lower.find((bound) => bound !== undefined && value < bound) ??
    upper.find((bound) => bound !== undefined && value > bound) ??
    null
  );
}

const rounded = (value: number) => Math.round(value * 1e4) / 1e4;
