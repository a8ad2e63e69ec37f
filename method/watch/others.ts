/** Numbers that other steps of a round have measured: evaluation sets that are watched, and votes of samples. Pure. */

/** What of a report of evaluation sets is read here. `set` null: the gate's. */
export interface Reported {
  evaluations: { readonly [set: string]: { watch: boolean } };
  comparisons: readonly { set: string | null; against: readonly string[]; difference: number }[];
}

/** The worst of the watched sets: this round minus round 0; null: there is none. */
export function watchGain({ evaluations, comparisons }: Reported): number | null {
  const watched = comparisons.filter(
    ({ set, against }) => set !== null && against.includes('first') && evaluations[set]?.watch,
  );
  return watched.length === 0 ? null : Math.min(...watched.map(({ difference }) => difference));
}

/** What of curves is read here. */
export interface Curved {
  depths: readonly { majority: { mean_N: readonly number[] } }[];
}

/** Majority vote over all samples minus a single one, of replies as they came; null: there are no samples. */
export function majorityGain({ depths }: Curved): number | null {
  const mean_N = depths[0]?.majority.mean_N ?? [];
  return mean_N.length < 2 ? null : mean_N.at(-1)! - mean_N[0]!;
}
