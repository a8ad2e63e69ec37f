/**
 * Whether a process still makes progress: whoever works with it looks at it from time to time, and what counts is time
 * without progress between looks. A machine that slept, or an observer that was stopped, did not look meanwhile: a gap
 * between two looks counts for MAX_GAP_MS at most, so that no healthy process is taken for a stalled one when it ends.
 */
const MAX_GAP_MS = 30_000;

export class ProgressWatch {
  private mark: string | null = null;
  private lookedAt: number;
  /** Time without progress. */
  quietMs = 0;

  /** `now`: for tests. */
  constructor(
    private readonly limitMs: number,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.lookedAt = now();
  }

  /** `mark` changes whenever there is progress; null: the process does not say. */
  look(mark: string | null): void {
    const at = this.now();
    const isProgress = mark !== null && mark !== this.mark;
    this.quietMs = isProgress ? 0 : this.quietMs + Math.min(at - this.lookedAt, MAX_GAP_MS);
    this.mark = mark ?? this.mark;
    this.lookedAt = at;
  }

  /** There is nothing to do, so nothing is late. */
  rest(): void {
    this.quietMs = 0;
    this.lookedAt = this.now();
  }

  get isStalled(): boolean {
    return this.quietMs >= this.limitMs;
  }
}
