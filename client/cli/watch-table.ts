/** The collapse watch of a run as a table, and why rounds were rolled back by it. Pure. */
import type { RoundSummary } from '../../contracts/steps.js';
import { breachText, type MetricName, metricText, type RoundWatch } from '../../contracts/watch.js';
import { table } from '../../text/columns.js';

/** Those that say most, in the order in which a round makes them; --json has all. */
const SHOWN: MetricName[] = [
  ...(['distinct2', 'entropy', 'repeats', 'candidateChars', 'guarded'] as const),
  ...(['changed', 'shorter', 'ownGain', 'heldOutGain', 'distance', 'replyDistinct2', 'replyEntropy'] as const),
];
/** What a terminal of 80 columns holds. */
const NARROW: MetricName[] = ['distinct2', 'entropy', 'repeats', 'guarded', 'shorter', 'ownGain', 'heldOutGain'];
const WIDE = 140;

/** A line for each round that was measured; empty where none was. */
export function watchTable(rounds: readonly Pick<RoundSummary, 'round' | 'watch' | 'gate'>[], width: number): string[] {
  const watched = rounds.filter((one): one is typeof one & { watch: RoundWatch } => one.watch !== undefined);
  const shown = (width < WIDE ? NARROW : SHOWN).filter((name) =>
    watched.some(({ watch }) => watch[name] !== undefined),
  );
  if (shown.length === 0) return [];
  const cell = (watch: RoundWatch, name: MetricName) => {
    const value = watch[name];
    return value === undefined ? '-' : metricText(name, value);
  };
  return [
    ...table(
      ['watch', ...shown],
      watched.map(({ round, watch }) => [String(round), ...shown.map((name) => cell(watch, name))]),
    ),
    ...rounds.flatMap(({ round, gate }) =>
      gate?.watch ? [`round ${round} was rolled back: ${gate.watch.map(breachText).join('; ')}`] : [],
    ),
  ];
}
