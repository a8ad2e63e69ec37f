/** How varied texts are: distinct n-grams and entropy of their words, and their length. A reducer of bounded memory. Pure. */
import { tokens } from '../guards/tokens.js';
import { DistinctCount, hashOf, ItemEntropy, mixed } from './sketch.js';

const SIZES = [1, 2, 4] as const;
type Size = (typeof SIZES)[number];

/** Another hash of the same item. */
const OTHER = 0x9e3779b9;

export class Diversity {
  texts = 0;
  private chars = 0;
  private readonly words = new ItemEntropy();
  private readonly grams = new Map<Size, { all: number; distinct: DistinctCount }>(
    SIZES.map((size) => [size, { all: 0, distinct: new DistinctCount() }]),
  );

  add(text: string): void {
    this.texts++;
    this.chars += text.length;
    const hashes_T = tokens(text).map((token) => hashOf(token));
    for (const hash of hashes_T) this.words.add(hash);
    for (const size of SIZES) {
      const counted = this.grams.get(size)!;
      for (let end = size; end <= hashes_T.length; end++) {
        let a: number = size;
        for (let t = end - size; t < end; t++) a = mixed(Math.imul(a, 31) + hashes_T[t]!);
        counted.distinct.add(a, mixed(a ^ OTHER));
        counted.all++;
      }
    }
  }

  /** Different n-grams / all n-grams; null: there are none. */
  distinct(size: Size): number | null {
    const { all, distinct } = this.grams.get(size)!;
    return all === 0 ? null : Math.min(1, distinct.count / all);
  }

  get entropy(): number | null {
    return this.grams.get(1)!.all === 0 ? null : this.words.bits;
  }

  get meanChars(): number | null {
    return this.texts === 0 ? null : this.chars / this.texts;
  }
}
