import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hash32, random, rowSeed } from '../../method/random.js';

describe('seeds', () => {
  it('never change: stored runs were drawn with them', () => {
    expect([hash32(''), hash32('srlm'), hash32('日本')]).toEqual([0, 2522168209, 322114415]);
    expect(rowSeed(0, 1, 'enrich', 'r000001')).toBe(545966754);
    const next = random(1);
    expect([next(), next()]).toEqual([0.6270739405881613, 0.002735721180215478]);
  });
  it('leave room for 64 samples below 2^31', () =>
    fc.assert(
      fc.property(fc.nat(), fc.nat(100), fc.string(), fc.string(), (seed, round, purpose, id) => {
        const found = rowSeed(seed, round, purpose, id);
        expect(Number.isInteger(found) && found >= 0 && found <= 2 ** 31 - 1 - 64).toBe(true);
      }),
    ));
  it('differ between rows, rounds, purposes and runs, and spread evenly', () => {
    const seeds: number[] = [];
    for (let i = 0; i < 4000; i++)
      seeds.push(rowSeed(0, 1, 'enrich', `r${String(i).padStart(6, '0')}`), rowSeed(i + 1, 1, 'enrich', 'r'));
    for (let round = 0; round < 4000; round++) seeds.push(rowSeed(0, round, 'evaluate', 'r'));
    expect(seeds.length - new Set(seeds).size).toBeLessThan(3);
    const buckets = Array.from(
      { length: 16 },
      (_, b) => seeds.filter((seed) => Math.floor(seed / 2 ** 27) === b).length,
    );
    for (const count of buckets) expect(Math.abs(count - seeds.length / 16)).toBeLessThan(150);
  });
});
