import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Chunker } from '../../method/chunks.js';

const chunked = (ids: readonly string[], most: number): string[][] => {
  const chunker = new Chunker<{ id: string }>(most);
  const chunks = [...ids.flatMap((id) => chunker.add({ id }, id.length)), ...chunker.end()];
  return chunks.map((chunk) => chunk.map(({ id }) => id));
};
const ids = (count: number) => Array.from({ length: count }, (_, i) => `row ${i}`);

/** Rows that are in another chunk than before. */
function changed(before: string[][], after: string[][]): number {
  const known = new Set(before.map((chunk) => chunk.join()));
  return after.filter((chunk) => !known.has(chunk.join())).reduce((sum, chunk) => sum + chunk.length, 0);
}

describe('chunks', () => {
  it('hold all rows in their order, none more than the most', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), fc.integer({ min: 1, max: 9 }), (rows, most) => {
        const chunks = chunked(rows, most);
        expect(chunks.flat()).toEqual(rows);
        for (const { length } of chunks) expect(length > 0 && length <= most).toBe(true);
        if (rows.length > 0 && rows.length <= most) expect(chunks).toHaveLength(1);
      }),
    );
  });

  it('stay as they are when a row goes or comes, but for the one that it is in, or those beside it', () => {
    const all = ids(2000);
    const before = chunked(all, 32);
    const costs = all.map((id) =>
      changed(
        before,
        chunked(
          all.filter((one) => one !== id),
          32,
        ),
      ),
    );
    // A row at which rows are divided joins two chunks.
    expect(Math.max(...costs)).toBeLessThanOrEqual(2 * 32);
    expect(costs.filter((cost) => cost > 32).length).toBeLessThan(0.05 * all.length);
  });

  it('are as few as half-full ones would be', () => {
    for (const most of [32, 64, 256]) expect(chunked(ids(4000), most).length).toBeLessThan(1.2 * (4000 / (most / 2)));
  });

  it('take no more memory than a bound, whatever the ids are, and however long the rows', () => {
    // Equal ids have equal hashes, and so no row at which they would be divided.
    const chunker = new Chunker<{ id: string }>(4);
    let held = 0;
    for (let i = 0; i < 10_000; i++) {
      held += 1 - chunker.add({ id: 'same' }, 1).flat().length;
      expect(held).toBeLessThanOrEqual(64 * 4);
    }
    const long = new Chunker<{ id: string }>(1024);
    expect(long.add({ id: 'a' }, 60e6)).toEqual([]);
    expect(long.add({ id: 'b' }, 60e6)).toEqual([[{ id: 'a' }]]);
  });
});
