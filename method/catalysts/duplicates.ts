/**
 * Near-duplicates among many texts: the share of 5-grams that two texts have in common (Jaccard), estimated from the 256
 * smallest of each text, and exact for texts of up to about 260 words. An index leads from a gram to the texts that have
 * it, so that a text is compared only with those that share some. No npm library for this is maintained (2026).
 * Memory: 256 numbers a text. Pure.
 */
import { grams, wordPrint, words } from './ngrams.js';

/** From this share on, two texts count as the same. */
export const SAME = 0.6;
const WORDS = 5;
const SKETCH = 256;
/** A gram that more texts share is a phrase, and says nothing about two of them. */
const MAX_SHARED_BY = 256;

export interface Near {
  id: string;
  /** 0 to 1; 1: the words are equal. */
  share: number;
}

export class NearDuplicates {
  private readonly ids: string[] = [];
  private readonly sketches: Uint32Array[] = [];
  private readonly textsOf = new Map<number, number[]>();
  private readonly prints = new Map<string, string>();

  /** The text that is most like this one, among those that were added; null: none is at least SAME. */
  find(text: string): Near | null {
    const words_T = words(text);
    const equal = this.prints.get(wordPrint(words_T));
    if (equal !== undefined) return { id: equal, share: 1 };
    const sketch = sketchOf(words_T);
    const shared = new Map<number, number>();
    for (const gram of sketch) for (const at of this.textsOf.get(gram) ?? []) shared.set(at, (shared.get(at) ?? 0) + 1);
    let best: Near | null = null;
    for (const [at, count] of shared) {
      // Two sketches of equal length that share less cannot be of texts that share enough.
      if (count < (SAME / 2) * Math.min(sketch.length, this.sketches[at]!.length)) continue;
      const share = likeness(sketch, this.sketches[at]!);
      if (share >= SAME && share > (best?.share ?? 0)) best = { id: this.ids[at]!, share };
    }
    return best;
  }

  add(id: string, text: string): void {
    const words_T = words(text);
    const print = wordPrint(words_T);
    if (print === '') return;
    if (!this.prints.has(print)) this.prints.set(print, id);
    const sketch = sketchOf(words_T);
    const at = this.ids.push(id) - 1;
    this.sketches.push(sketch);
    for (const gram of sketch) {
      const texts = this.textsOf.get(gram);
      if (!texts) this.textsOf.set(gram, [at]);
      else if (texts.length < MAX_SHARED_BY) texts.push(at);
    }
  }
}

/** The smallest grams, in order: the same for the same text, and a fair sample of it. */
const sketchOf = (words_T: readonly string[]): Uint32Array =>
  Uint32Array.from(grams(words_T, WORDS)).sort().subarray(0, SKETCH);

/** The share of the smallest grams of both together that both have. */
function likeness(a: Uint32Array, b: Uint32Array): number {
  const most = a.length < SKETCH && b.length < SKETCH ? Number.POSITIVE_INFINITY : SKETCH;
  let [i, j, both, all] = [0, 0, 0, 0];
  while ((i < a.length || j < b.length) && all < most) {
    const [left, right] = [a[i] ?? Number.POSITIVE_INFINITY, b[j] ?? Number.POSITIVE_INFINITY];
    if (left === right) both++;
    if (left <= right) i++;
    if (right <= left) j++;
    all++;
  }
  return all === 0 ? 0 : both / all;
}
