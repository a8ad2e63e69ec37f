/** Progress of an activity as heartbeats: units done and in total, rate, time left. Temporal's SDK throttles them. */
import { Context } from '@temporalio/activity';
import type { Heartbeat } from '../contracts/run.js';

export class ProgressReporter {
  private done = 0;
  private readonly startedAt = Date.now();
  /** Already done at the start: excluded from the rate. */
  private found = 0;
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly step: string,
    private readonly unit: Heartbeat['unit'],
    private total: number,
    private note?: string,
  ) {
    // A worker that is silent is considered dead: a slow request must not end the attempt.
    this.timer = setInterval(() => this.beat(), 1000);
    this.beat();
  }

  add(units: number, found = false): void {
    this.done += units;
    if (found) this.found += units;
  }

  set(done: number, total: number, note?: string): void {
    if (this.total === 0) this.found = done;
    this.done = done;
    this.total = total;
    if (note !== undefined) this.note = note;
  }

  end(): void {
    clearInterval(this.timer);
  }

  private beat(): void {
    const seconds = (Date.now() - this.startedAt) / 1000;
    const rate = seconds > 0.5 && this.done > this.found ? (this.done - this.found) / seconds : null;
    const beat: Heartbeat = {
      step: this.step,
      unit: this.unit,
      done: this.done,
      total: this.total,
      rate,
      secondsLeft: rate ? (this.total - this.done) / rate : null,
      ...(this.note === undefined ? {} : { note: this.note }),
    };
    Context.current().heartbeat(beat);
  }
}

/** Runs `work` with a reporter that ends with it. */
export async function withProgress<T>(
  step: string,
  unit: Heartbeat['unit'],
  total: number,
  work: (progress: ProgressReporter) => Promise<T>,
): Promise<T> {
  const progress = new ProgressReporter(step, unit, total);
  try {
    return await work(progress);
  } finally {
    progress.end();
  }
}
