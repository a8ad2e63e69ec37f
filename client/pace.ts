/**
 * How long to wait before the next look at a run that is followed: as long as the first wait after each change, longer and
 * longer while nothing changes.
 */
import type { RunStatus } from '../contracts/run.js';

const GROWTH = 1.5;
const MOST = 10;

export class Pace {
  private seen = '';
  private waitMs: number;

  constructor(private readonly leastMs = 1000) {
    this.waitMs = leastMs;
  }

  after({ live, ...rest }: RunStatus): number {
    // A rate and what is left change without any progress.
    const progress = live.map(({ step, done, attempt, lastFailure }) => [step, done, attempt, lastFailure]);
    const seen = JSON.stringify([progress, rest]);
    this.waitMs = seen === this.seen ? Math.min(this.waitMs * GROWTH, MOST * this.leastMs) : this.leastMs;
    this.seen = seen;
    return this.waitMs;
  }
}
