/** Progress of an activity as heartbeats: units done and in total, rate, time left. Temporal's SDK throttles them. */
import { Context } from '@temporalio/activity';
import type { Heartbeat } from '../contracts/run.js';

/** Every process is quiet between two looks at it. */
const LEAST_QUIET_SECONDS = 15;

/** Units, seconds and the share of the work from which on an estimate means something. */
const LEAST = { units: 3, seconds: 30, share: 0.2 };

/**
 * Seconds for what is left, by what this attempt has done; null: too little of it to say. A step begins slowly (a model
 * loads), and its first rows come all at once.
 */
export function timeLeft({ done, left, seconds }: { done: number; left: number; seconds: number }): number | null {
  if (left < 0 || done < LEAST.units) return null;
  const isKnown = seconds >= LEAST.seconds || done / (done + left) >= LEAST.share;
  return isKnown ? (left * seconds) / done : null;
}

export class ProgressReporter {
  private unit: Heartbeat['unit'] = 'rows';
  private done = 0;
  /** 0: not known. */
  private total = 0;
  /** Already done at the start: excluded from the rate. */
  private found = 0;
  private note: string | undefined;
  /** How long the process that does the work has made no progress. */
  quietMs: () => number = () => 0;
  private readonly startedAt = performance.now();
  private readonly timer: NodeJS.Timeout;

  /** `step`: as the run's status names it. */
  constructor(private step: string) {
    // A worker that is silent is considered dead: a slow request must not end the attempt.
    this.timer = setInterval(() => this.beat(), 1000);
    this.beat();
  }

  /** How many rows there are to do. */
  expect(total: number, step = this.step): void {
    this.total = total;
    this.step = step;
  }

  add(rows: number, found = false): void {
    this.done += rows;
    if (found) this.found += rows;
  }

  /** For work that counts itself. */
  set(done: number, total: number, unit: Heartbeat['unit'], note?: string): void {
    if (this.total === 0) this.found = done;
    this.done = done;
    this.total = total;
    this.unit = unit;
    if (note !== undefined) this.note = note;
  }

  /** What there is to say beside numbers; nothing: no more. */
  remark(note?: string): void {
    this.note = note;
  }

  end(): void {
    clearInterval(this.timer);
  }

  private beat(): void {
    const { step, unit, done, total, found, note } = this;
    const seconds = (performance.now() - this.startedAt) / 1000;
    const rate = seconds > 0.5 && done > found ? (done - found) / seconds : null;
    const secondsLeft = timeLeft({ done: done - found, left: total - done, seconds });
    const secondsQuiet = Math.floor(this.quietMs() / 1000);
    const beat: Heartbeat = {
      ...{ step, unit, done, total, rate, secondsLeft },
      ...(note === undefined ? {} : { note }),
      ...(secondsQuiet < LEAST_QUIET_SECONDS ? {} : { secondsQuiet }),
    };
    Context.current().heartbeat(beat);
  }
}
