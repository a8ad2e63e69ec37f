import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planShards } from '../../workflows/steps.js';

const chunksAndLanes = [fc.integer({ min: 1, max: 100_000 }), fc.integer({ min: 1, max: 200 })] as const;

describe('the plan of shards', () => {
  it('covers all chunks once and in order, leaving no shard empty', () => {
    fc.assert(
      fc.property(...chunksAndLanes, (chunks, inFlight) => {
        const shards = planShards(chunks, inFlight);
        expect(shards[0]?.from).toBe(0);
        expect(shards.at(-1)?.to).toBe(chunks);
        for (const [i, { from, to }] of shards.entries()) {
          expect(to).toBeGreaterThan(from);
          if (i > 0) expect(from).toBe(shards[i - 1]?.to);
        }
      }),
    );
  });

  it('never has more than 800 shards, so that the history of a step stays bounded', () => {
    fc.assert(
      fc.property(...chunksAndLanes, (chunks, inFlight) => {
        expect(planShards(chunks, inFlight).length).toBeLessThanOrEqual(800);
      }),
    );
  });

  it('fills the window as soon as there are chunks enough', () => {
    fc.assert(
      fc.property(...chunksAndLanes, (chunks, inFlight) => {
        expect(planShards(chunks, inFlight).length).toBeGreaterThanOrEqual(Math.min(chunks, inFlight));
      }),
    );
  });

  it('makes shards of sizes that differ by one chunk at most', () => {
    fc.assert(
      fc.property(...chunksAndLanes, (chunks, inFlight) => {
        const sizes = planShards(chunks, inFlight).map(({ from, to }) => to - from);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('has no shard where there is no chunk', () => {
    expect(planShards(0, 8)).toEqual([]);
  });
});
