/**
 * The order in which rows are drawn: at random, and every beginning of it has the strata (source, and length by powers of
 * two) in the proportions of the data. The order depends on the seed and on the ids, not on how many rows are wanted, so
 * that more rows can be drawn later. Memory: two numbers a row. Pure.
 */
import type { Example } from '../../contracts/rows.js';
import { hash32, rowSeed } from '../random.js';

/** Enters the keys of what is drawn. */
export const VERSION = 1;

export class StratifiedOrder {
  private readonly rowsOf = new Map<string, number[]>();
  private readonly lots: number[] = [];

  constructor(private readonly seed: number) {}

  add({ id, instruction, original, source = '' }: Example): void {
    const stratum = stratumOf(source, instruction.length + (original?.length ?? 0));
    const row = this.lots.push(rowSeed(this.seed, 0, 'draw', id)) - 1;
    const rows = this.rowsOf.get(stratum);
    if (rows) rows.push(row);
    else this.rowsOf.set(stratum, [row]);
  }

  /** Places [from, from + count) of the order: numbers of rows, counted as they were added. */
  slice(from: number, count: number): number[] {
    const { lots } = this;
    const places = new Float64Array(lots.length);
    for (const rows of this.rowsOf.values()) {
      rows.sort((a, b) => lots[a]! - lots[b]! || a - b);
      for (const [i, row] of rows.entries()) places[row] = (i + 0.5) / rows.length;
    }
    const order = Uint32Array.from(lots.keys());
    order.sort((a, b) => places[a]! - places[b]! || lots[a]! - lots[b]! || a - b);
    return [...order.subarray(from, from + count)];
  }
}

const stratumOf = (source: string, chars: number): string =>
  `${Math.floor(Math.log2(1 + chars))} ${source === '' ? '' : hash32(source)}`;
