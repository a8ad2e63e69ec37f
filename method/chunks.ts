/**
 * Rows in chunks whose boundaries depend on the ids of the rows near them, never on positions: without one row, or with
 * one more, all other chunks are the same, and so are the keys of what was made of them.
 * A chunk has at most `most` rows. Where there are more, they are divided before the row whose hash is the smallest, and
 * so on, so that a chunk has half of `most` on average. Pure. Throws nothing.
 */
import { hash32 } from './random.js';

/** Enters the keys of ingested data. */
export const VERSION = 1;

/**
 * What is divided at once, in chunks: it ends before a row whose hash is among the smallest, which would be divided there
 * in any case. `least` on average; `most` and `chars` bound the memory, whatever the ids are.
 */
const SEGMENT = { least: 8, most: 64, chars: 64_000_000 };

/** `chars`: the length of a row's texts. */
export class Chunker<Row extends { id: string }> {
  private rows: Row[] = [];
  private hashes: number[] = [];
  private chars = 0;

  constructor(private readonly most: number) {}

  /** Chunks that are complete now that `row` follows. */
  add(row: Row, chars: number): Row[][] {
    const { length } = this.rows;
    const hash = hash32(row.id);
    const ends = length >= this.most && hash < 2 ** 32 / (SEGMENT.least * this.most);
    const isFull = length >= SEGMENT.most * this.most || (length > 0 && this.chars + chars > SEGMENT.chars);
    const chunks = ends || isFull ? this.end() : [];
    this.rows.push(row);
    this.hashes.push(hash);
    this.chars += chars;
    return chunks;
  }

  /** The last ones. */
  end(): Row[][] {
    const ends = divided(this.hashes, this.most);
    const chunks = ends.map((end, i) => this.rows.slice(ends[i - 1] ?? 0, end));
    this.rows = [];
    this.hashes = [];
    this.chars = 0;
    return chunks;
  }
}

/** Where chunks end. Without recursion: the hashes may be in order. */
function divided(hashes: readonly number[], most: number): number[] {
  const ends: number[] = [];
  const todo = hashes.length > 0 ? [{ from: 0, to: hashes.length }] : [];
  for (let part = todo.pop(); part; part = todo.pop()) {
    const { from, to } = part;
    if (to - from <= most) {
      ends.push(to);
      continue;
    }
    let at = from + 1;
    for (let i = from + 2; i < to; i++) if (hashes[i]! < hashes[at]!) at = i;
    todo.push({ from: at, to }, { from, to: at });
  }
  return ends;
}
