/**
 * Which candidate becomes r(t), or does the incumbent r(t-1) stay? [paper] three selectors, none of which assumes an
 * instruction type or an answer format. [ours] what the three are, and how they are combined: the paper's own could not
 * be obtained. A selector compares one measure with the incumbent's, or several, together. Pure: a table of what was seen
 * -> k, so another selector needs no new samples.
 * Throws a plain Error for a table without an incumbent.
 */
import { INCUMBENT, SCORES, type ScoreName } from '../../contracts/rows.js';
import type { AnswerScore, Combination, Measure, Selection } from '../../contracts/spec.js';
import { answerScore } from './answer-score.js';
import { judge } from './judge.js';
import { length } from './length.js';
import { efficiency, likelihoodRank } from './nover.js';
import { COMBINATIONS, SCORES as NAMED_SCORES } from './presets.js';
import { draw } from './random.js';
import { lowestRankSum } from './rank-sum.js';
import { best, type CandidateRow, type Choice, type Measured, type Table } from './selector.js';
import { majority } from './vote.js';

export type { CandidateRow };

type Selector = Selection['selector'];

/** One version for all selectors, which a new one does not change. Enters the keys of selections. */
export const VERSION = 1;

/** The log-probabilities that a selector reads. */
export const scoresOf = (selector: Selector): ScoreName[] => {
  const read = measuresOf(selector).flatMap((measure) => measured(measure).reads);
  return SCORES.filter((name) => read.includes(name));
};

/** The log-probabilities to compute: what the selector reads, or all, so that another one can be tried later. */
export function scoresToKeep({ selector, scores }: Selection): { names: ScoreName[]; withoutRationale: ScoreName[] } {
  const needed = scoresOf(selector);
  // What a function of the user's reads, nobody knows.
  const isAll = scores === 'all' || (scores === undefined && (needed.length > 0 || isOwn(selector)));
  if (isAll) return { names: [...SCORES], withoutRationale: [...SCORES] };
  const alone = measuresOf(selector)
    .map(measured)
    .filter((measure) => measure.withoutRationale);
  const names = alone.flatMap(({ reads }) => reads);
  return { names: needed, withoutRationale: SCORES.filter((name) => names.includes(name)) };
}

/** Whether a function of the user's decides. */
const isOwn = (selector: Selector): boolean => typeof selector === 'object' && 'own' in selector;

/** Whether its choice depends on the seed, which then is in the key of the selection. */
export const draws = (selector: Selector): boolean => selector === 'random';

/**
 * The chosen k. Never chosen: a candidate with a guard, and one without what the selector reads, since it cannot be
 * compared. An incumbent without that stays, for the same reason.
 * `seed`: for a selector that draws; it differs between examples.
 */
export function choose(table: readonly CandidateRow[], selection: Selection, seed: string): number {
  if (isOwn(selection.selector)) throw new Error('a function of the user decides: see activities/own-selector.ts');
  const rows_N = comparable(table, selection.selector);
  if (rows_N.length < 2) return INCUMBENT;
  const choice = draws(selection.selector) ? draw(rows_N.length - 1, seed) : choiceOf(rows_N, selection);
  return choice === 'incumbent' ? INCUMBENT : rows_N[choice]!.k;
}

/** What a table holds whatever selector chose from it. */
const KEPT = [...SCORES, 'judge'] as const;

/** The lines with what the selector compared, and which one it chooses. What another selector compared is left out. */
export function decide<Line extends CandidateRow>(
  lines: readonly Line[],
  selection: Selection,
  seed: string,
): (Line & { scores: Record<string, number | null>; chosen: boolean })[] {
  return withChosen(lines, selection, choose(lines, selection, seed));
}

/** The same for a choice that was made elsewhere. */
export function withChosen<Line extends CandidateRow>(
  lines: readonly Line[],
  selection: Selection,
  chosen: number,
): (Line & { scores: Record<string, number | null>; chosen: boolean })[] {
  const values = Object.entries(valuesOf(lines, selection)).filter(([name]) => !KEPT.includes(name as ScoreName));
  return lines.map((line) => ({
    ...line,
    scores: {
      ...Object.fromEntries(KEPT.flatMap((name) => (name in line.scores ? [[name, line.scores[name] ?? null]] : []))),
      ...Object.fromEntries(values.map(([name, of]) => [name, of.get(line.k) ?? null])),
    },
    chosen: line.k === chosen,
  }));
}

/** What the selector compares: for each of its measures by name, the value of each row that it can compare, by k. */
function valuesOf(table: readonly CandidateRow[], selection: Selection): Record<string, Map<number, number>> {
  const rows_N = comparable(table, selection.selector);
  if (rows_N.length < 2) return {};
  const named = measuresOf(selection.selector).map((measure) => {
    const values_N = measured(measure).values(rows_N, selection);
    return [nameOf(measure), new Map(rows_N.map(({ k }, i) => [k, values_N[i]!]))] as const;
  });
  return Object.fromEntries(named);
}

/** What the selector compared of a decided line; null: it compares no values, or not those of this line. */
export function comparedValue(
  { scores }: { scores: Record<string, number | null> },
  selector: Selector,
): number | null {
  const { combine, weights } = combinationOf(selector) ?? { combine: 'weights', weights: [1] };
  const measures = measuresOf(selector);
  if (combine !== 'weights' || measures.length === 0) return null;
  const values_M = measures.map((measure) => scores[nameOf(measure)] ?? null);
  if (values_M.includes(null)) return null;
  return values_M.reduce<number>((sum, value, m) => sum + weights![m]! * value!, 0);
}

/** Whether the table holds what the selector reads, for the incumbent and for a candidate at least, if there is one. */
export function canCompare(table: readonly CandidateRow[], selector: Selector): boolean {
  return comparable(table, selector).length > 1 || !table.some(({ k, guard }) => k !== INCUMBENT && guard === null);
}

/** Sound candidates by ascending k, then the incumbent; empty if the incumbent cannot be compared. */
function comparable(table: readonly CandidateRow[], selector: Selector): Table {
  const incumbent = table.find(({ k }) => k === INCUMBENT);
  if (!incumbent) throw new Error('the table has no incumbent');
  const measures = measuresOf(selector).map(measured);
  const isComparable = (row: CandidateRow) => measures.every((measure) => canRead(measure, row, incumbent));
  if (!isComparable(incumbent)) return [];
  const sound_K = table.filter((row) => row.k !== INCUMBENT && row.guard === null && isComparable(row));
  return [...sound_K.sort((a, b) => a.k - b.k), incumbent];
}

function choiceOf(table_N: Table, selection: Selection): Choice {
  const values_MN = measuresOf(selection.selector).map((measure) => measured(measure).values(table_N, selection));
  const { combine, weights } = combinationOf(selection.selector) ?? { combine: 'weights', weights: [1] };
  if (combine === 'vote') return majority(values_MN.map((values_N) => best(values_N)));
  if (combine === 'rank-sum') return lowestRankSum(values_MN);
  const sums_N = table_N.map((_, i) => values_MN.reduce((sum, values_N, m) => sum + weights![m]! * values_N[i]!, 0));
  return best(sums_N, selection.minGain);
}

/** `nover`, or `vote of length, rlpr`. */
export const describeSelector = (selector: Selector): string =>
  typeof selector === 'string'
    ? selector
    : 'own' in selector
      ? `own ${selector.own}`
      : 'combine' in selector
        ? `${selector.combine} of ${selector.of.map(nameOf).join(', ')}`
        : nameOf(selector);

/** `rlpr`, or `current mean-prob minus no-rationale`. */
export const nameOf = (measure: Measure): string =>
  typeof measure === 'string'
    ? measure
    : `${measure.model} ${measure.reduce}${measure.minus === 'nothing' ? '' : ` minus ${measure.minus}`}`;

function canRead(
  { reads, tokens, withoutRationale, judged }: Measured,
  row: CandidateRow,
  incumbent: CandidateRow,
): boolean {
  if (judged && typeof row.scores.judge !== 'number') return false;
  return reads.every(
    (name) =>
      typeof row.scores[name] === 'number' &&
      (!tokens || row.logprobs?.[name] !== undefined) &&
      (!withoutRationale || incumbent.withoutRationale?.[name] !== undefined),
  );
}

function measuresOf(selector: Selector): readonly Measure[] {
  const combination = combinationOf(selector);
  if (combination) return combination.of;
  return selector === 'random' || isOwn(selector) ? [] : [selector as Measure];
}

function combinationOf(selector: Selector): Combination | undefined {
  if (typeof selector === 'string') return COMBINATIONS[selector];
  return 'combine' in selector ? selector : undefined;
}

function measured(measure: Measure): Measured {
  const score = typeof measure === 'string' ? NAMED_SCORES[measure] : measure;
  if (score) return answerScore(score as AnswerScore);
  const others: Partial<Record<string, Measured>> = { length, efficiency, judge, 'likelihood-rank': likelihoodRank };
  return others[measure as string]!;
}
