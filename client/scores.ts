/**
 * The table of a round, candidates x guards x scores, and what selectors make of it: without one request, since all that
 * they read is kept. Read from the store, one chunk in memory. Throws artifact.damaged.
 */
import { askOwn, type NamedSelector } from '../activities/own-selector.js';
import { Decision, Example, INCUMBENT } from '../contracts/rows.js';
import type { Selection } from '../contracts/spec.js';
import type { RoundSummary } from '../contracts/steps.js';
import { groupById } from '../method/rows.js';
import { canCompare, choose, decide, withChosen } from '../method/selectors/index.js';
import type { Store } from '../storage/store.js';

/** A round that compared candidates. */
export type ScoredRound = RoundSummary & { decisions: NonNullable<RoundSummary['decisions']> };

/** What a selector makes of a round, as far as it can compare anything. */
export interface Chosen {
  rows: number;
  /** Rows in which it takes a candidate. */
  enriched: number;
  /** Rows whose incumbent, or all of whose candidates, it cannot compare: what it reads is not there. */
  uncompared: number;
  /** Characters, summed over the rows. */
  chars: number;
}

export interface Agreement {
  /** As the round itself chose, first. */
  names: string[];
  chosen: Chosen[];
  /** Rows in which two choose the same, by position in `names`. */
  same: number[][];
}

/** What the round chose, and what each of these selectors would have. `seed`: of the run. */
export async function agreement(
  store: Store,
  round: ScoredRound,
  selections: ReadonlyMap<string, Selection>,
  seed: number,
): Promise<Agreement> {
  const names = ['as run', ...selections.keys()];
  const chosen = names.map((): Chosen => ({ rows: 0, enriched: 0, uncompared: 0, chars: 0 }));
  const same = names.map(() => names.map(() => 0));
  for await (const [id, lines] of rowsOf(store, round)) {
    const choices = [kOf(lines), ...[...selections.values()].map((one) => choose(lines, one, seedOf(seed, round, id)))];
    for (const [i, k] of choices.entries()) {
      const selection = i === 0 ? null : [...selections.values()][i - 1]!;
      count(chosen[i]!, lines, k, selection === null || canCompare(lines, selection.selector));
      for (const [j, other] of choices.entries()) if (k === other) same[i]![j]!++;
    }
  }
  return { names, chosen, same };
}

/** A row for which another selector chooses another rationale. */
export interface Difference {
  id: string;
  before: Decision;
  after: Decision;
}

const SHOWN_EXAMPLES = 3;

export interface Reselection {
  before: Chosen;
  after: Chosen;
  /** Rows in which both choose the same. */
  same: number;
  /** The first of the others. */
  examples: Difference[];
}

/** `own`: the function of the user's that the selection names, if it names one. Throws selector.failed, too. */
export async function reselect(
  store: Store,
  round: ScoredRound,
  selection: Selection,
  { seed, own }: { seed: number; own: NamedSelector | null },
): Promise<Reselection> {
  const nothing = (): Chosen => ({ rows: 0, enriched: 0, uncompared: 0, chars: 0 });
  const found: Reselection = { before: nothing(), after: nothing(), same: 0, examples: [] };
  const examples = own && store.datasets.rows(round.set.dataset, Example);
  for await (const [id, lines] of rowsOf(store, round)) {
    const rowSeed = seedOf(seed, round, id);
    // Rows and their candidates are in the same order.
    const row: Example | null = examples && (await examples.next()).value;
    const decided =
      own && row
        ? withChosen(lines, selection, await askOwn(own, row, lines, rowSeed))
        : decide(lines, selection, rowSeed);
    const before = lines.find(({ chosen }) => chosen)!;
    const after = decided.find(({ chosen }) => chosen)!;
    count(found.before, lines, before.k, true);
    count(found.after, lines, after.k, canCompare(lines, selection.selector));
    if (before.k === after.k) found.same++;
    else if (found.examples.length < SHOWN_EXAMPLES)
      found.examples.push({ id, before: decided.find(({ k }) => k === before.k)!, after });
  }
  return found;
}

export type ScoredLine = Decision & { round: number };

/** Every line of the table, as it is kept. */
export async function* tableLines({ datasets }: Store, { round, decisions }: ScoredRound): AsyncGenerator<ScoredLine> {
  for await (const line of datasets.rows(decisions, Decision)) yield { round, ...line };
}

async function* rowsOf({ objects, datasets }: Store, { decisions }: ScoredRound): AsyncGenerator<[string, Decision[]]> {
  for (const chunk of await datasets.chunks(decisions)) yield* groupById(await objects.readRows(chunk, Decision));
}

/** As srlmSelect draws. */
const seedOf = (seed: number, { round }: ScoredRound, id: string): string => `${seed} ${round} ${id}`;

const kOf = (lines: readonly Decision[]): number => lines.find(({ chosen }) => chosen)?.k ?? INCUMBENT;

function count(chosen: Chosen, lines: readonly Decision[], k: number, isCompared: boolean): void {
  chosen.rows++;
  if (k !== INCUMBENT) chosen.enriched++;
  if (!isCompared) chosen.uncompared++;
  chosen.chars += lines.find((line) => line.k === k)?.chars ?? 0;
}
