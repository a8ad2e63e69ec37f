/**
 * The short form of the fault suite (npm run chaos): a few runs, each met by many faults one after the other, with a
 * fixed seed. What is promised of each of them is checked by arena.ts; here it is only told.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { type Campaign, campaign } from './campaign.js';
import { kinds } from './faults.js';

const RUNS = 4;
const FAULTS_EACH = 6;

describe('the loop, met by faults of many kinds', () => {
  const lines: string[] = [];
  let ended: Campaign;

  beforeAll(async () => {
    ended = await campaign({
      runs: RUNS,
      seed: 1,
      parallel: 2,
      faultsEach: FAULTS_EACH,
      say: (line) => {
        lines.push(line);
        console.log(line);
      },
    });
    console.log(ended.table);
  }, 900_000);

  it('ends with the digests of an undisturbed run, nothing done twice beyond what is promised, nothing left over', () => {
    expect(lines.filter((line) => line.includes('WRONG'))).toEqual([]);
    expect(ended.held).toBe(RUNS);
  });

  it('was met by most kinds of fault', () => {
    expect(ended.met.length).toBeGreaterThan(kinds.length / 2);
  });
});
