/**
 * Watches a model server while somebody works with it: one watch for all requests. A server that has work and makes no
 * progress for too long, or does not answer at all, is given up: whoever works with it is interrupted by the signal, and
 * the process is ended. A server of which nobody asks anything is not looked at.
 */
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Problem } from '../../contracts/errors.js';
import { ProgressWatch } from '../../processes/stall.js';

const EVERY_MS = 5000;

/** What a look finds: `at work` with a mark that changes with each progress, nothing to do, or no answer. */
export type Look = { progress: string } | 'at rest' | 'silent';

interface Session {
  users: number;
  progress: ProgressWatch;
  /** Aborts when the server is given up. */
  stalled: AbortController;
}

export class ServerWatch {
  private session: Session | null = null;

  constructor(
    private readonly stallMs: number,
    private readonly look: (withinMs: number) => Promise<Look>,
    /** Ends the process; returns why. */
    private readonly giveUp: () => Problem,
  ) {}

  /** How long the server has made no progress although it has work. */
  get quietMs(): number {
    return this.session?.progress.quietMs ?? 0;
  }

  /** Runs `work`, whose requests end with `stalled`. */
  async during<T>(work: (stalled: AbortSignal) => Promise<T>): Promise<T> {
    const session = this.session ?? this.begin();
    session.users++;
    try {
      return await work(session.stalled.signal);
    } finally {
      if (--session.users === 0 && this.session === session) this.session = null;
    }
  }

  private begin(): Session {
    const session = { users: 0, progress: new ProgressWatch(this.stallMs), stalled: new AbortController() };
    // Each request in flight listens.
    setMaxListeners(0, session.stalled.signal);
    this.session = session;
    void this.follow(session);
    return session;
  }

  private async follow(session: Session): Promise<void> {
    const { progress, stalled } = session;
    const everyMs = Math.min(EVERY_MS, this.stallMs / 4);
    for (;;) {
      await sleep(everyMs, undefined, { ref: false });
      if (this.session !== session) return;
      const found = await this.look(2 * everyMs).catch((): Look => 'silent');
      if (found === 'at rest') progress.rest();
      else progress.look(found === 'silent' ? null : found.progress);
      if (progress.isStalled) break;
    }
    if (this.session !== session) return;
    // Its requests may never end by themselves: a process that waits for a device is not ended even by SIGKILL.
    this.session = null;
    stalled.abort(this.giveUp());
  }
}
