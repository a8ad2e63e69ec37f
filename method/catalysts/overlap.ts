/**
 * Overlap of catalysts with other data, row by row of these: by 8-grams, which two texts rarely share by chance.
 * `question`: the share of a row's question that stands in a catalyst. `text`: the share of a catalyst's enriched text
 * that stands in a row's rationale and answer. Memory: the grams of the catalysts, whatever the size of the data. Pure.
 */
import type { Catalyst } from '../../contracts/rows.js';
import { grams, words } from './ngrams.js';

const WORDS = 8;
/** From these shares on, the catalyst holds the question, or copies the text. */
export const HOLDS_QUESTION = 0.5;
export const COPIES_TEXT = 0.8;
/** A gram that more catalysts share is a phrase. */
const MAX_SHARED_BY = 256;

export interface Overlap {
  share: number;
  /** The id of the row that has it. */
  row: string;
}

export class OverlapIndex {
  private readonly byGram = new Map<number, number[]>();
  private readonly byEnrichedGram = new Map<number, number[]>();
  private readonly sizes: number[] = [];
  /** For each catalyst, in the order of adding, its largest overlap; null: none. */
  readonly question: (Overlap | null)[] = [];
  readonly text: (Overlap | null)[] = [];

  add({ instruction, rationale, enriched }: Pick<Catalyst, 'instruction' | 'rationale' | 'enriched'>): void {
    const at = this.question.push(null) - 1;
    this.text.push(null);
    const own = grams(words(enriched), WORDS);
    this.sizes.push(own.size);
    for (const gram of own) put(this.byEnrichedGram, gram, at);
    // Each text alone: a gram across two of them stands in neither.
    for (const gram of new Set([...own, ...grams(words(instruction), WORDS), ...grams(words(rationale), WORDS)]))
      put(this.byGram, gram, at);
  }

  compare(row: { id: string; question: string; text: string }): void {
    const asked = grams(words(row.question), WORDS);
    raise(this.question, row.id, counted(this.byGram, asked), () => asked.size);
    raise(this.text, row.id, counted(this.byEnrichedGram, grams(words(row.text), WORDS)), (at) => this.sizes[at]!);
  }
}

function put(map: Map<number, number[]>, gram: number, at: number): void {
  const list = map.get(gram);
  if (!list) map.set(gram, [at]);
  else if (list.length < MAX_SHARED_BY) list.push(at);
}

function counted(map: ReadonlyMap<number, readonly number[]>, found: ReadonlySet<number>): Map<number, number> {
  const counts = new Map<number, number>();
  for (const gram of found) for (const at of map.get(gram) ?? []) counts.set(at, (counts.get(at) ?? 0) + 1);
  return counts;
}

function raise(
  most: (Overlap | null)[],
  row: string,
  counts: ReadonlyMap<number, number>,
  of: (at: number) => number,
): void {
  for (const [at, count] of counts) {
    const share = count / of(at);
    if (share > (most[at]?.share ?? 0)) most[at] = { share, row };
  }
}
