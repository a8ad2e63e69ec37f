/**
 * Counting in bounded memory, whatever the number of texts: distinct items by HyperLogLog (standard error 0.8 %, far less
 * for few items), and the entropy of items by a table of 65,536 counters (items that share a counter are one). Both
 * depend on the items alone, not on their order. Pure; throws nothing.
 */

const INDEX_BITS = 14;
const REGISTERS = 2 ** INDEX_BITS;
const BUCKETS = 2 ** 16;

/** 32 bits; the finalizer of MurmurHash3. */
export function mixed(hash: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** 32 bits of a text; FNV-1a, mixed. */
export function hashOf(text: string, seed = 0x811c9dc5): number {
  let h = seed;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return mixed(h);
}

export class DistinctCount {
  private readonly registers = new Uint8Array(REGISTERS);

  /** `a` and `b`: two independent hashes of the item, of 32 bits each. */
  add(a: number, b: number): void {
    const at = a >>> (32 - INDEX_BITS);
    const rank = Math.clz32(b) + 1;
    if (rank > this.registers[at]!) this.registers[at] = rank;
  }

  get count(): number {
    let sum = 0;
    let empty = 0;
    for (const rank of this.registers) {
      sum += 2 ** -rank;
      if (rank === 0) empty++;
    }
    const estimate = ((0.7213 / (1 + 1.079 / REGISTERS)) * REGISTERS * REGISTERS) / sum;
    // Few items: how many registers are empty says it better.
    return estimate <= 2.5 * REGISTERS && empty > 0 ? REGISTERS * Math.log(REGISTERS / empty) : estimate;
  }
}

export class ItemEntropy {
  private readonly counts = new Float64Array(BUCKETS);
  private total = 0;

  add(hash: number): void {
    const at = hash & (BUCKETS - 1);
    this.counts[at] = this.counts[at]! + 1;
    this.total++;
  }

  /** Bits; 0 where there is at most one kind of item. */
  get bits(): number {
    let sum = 0;
    for (const count of this.counts) if (count > 0) sum += count * Math.log2(count);
    return this.total === 0 ? 0 : Math.max(0, Math.log2(this.total) - sum / this.total);
  }
}
