/**
 * The short form of the fault suite (npm run chaos): one run with many faults, with a fixed seed. What must hold
 * of each run is checked by chaos-harness.ts; here it is only reported.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { type Campaign, campaign } from './campaign.js';
import { kinds } from './faults/index.js';

const RUNS = 1;
const FAULTS_EACH = 7;

describe('runs with faults of many kinds', () => {
  const lines: string[] = [];
  let ended: Campaign;

  beforeAll(async () => {
    ended = await campaign({
      runs: RUNS,
      seed: 1,
      parallel: 1,
      faultsEach: FAULTS_EACH,
      say: (line) => {
        lines.push(line);
        console.log(line);
      },
    });
    console.log(ended.table);
  }, 1_200_000);

  it('end with the digests of an undisturbed run, with no more repeated than is promised, and leave nothing behind', () => {
    expect(lines.filter((line) => line.includes('WRONG'))).toEqual([]);
    expect(ended.held).toBe(RUNS);
  });

  it('met a tenth of the kinds or more', () => {
    expect(ended.injected.length).toBeGreaterThan(kinds.length / 10);
  });
});
