/**
 * The hardware of this host, one tenant at a time (lease.ts): a server that holds one model, or a trainer. Whoever gets
 * the lease first makes the others give their memory back. All it knows of a server is that it can unload.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { runningJobs } from '../processes/jobs.js';
import { Lease } from './lease.js';

/** A process of this host that can hold weights. */
export interface WeightServer {
  /** Frees the weights; does nothing where no process runs. */
  unload(): Promise<void>;
  stop(): Promise<void>;
}

/** The tenant that the servers are prepared for; `signal` is that of the caller who prepares them. */
interface Prepared {
  tenant: string;
  done: Promise<unknown>;
  signal: AbortSignal;
}

const TRAINER_POLL_MS = 1000;

export class Hardware {
  private readonly lease = new Lease();
  private prepared: Prepared | null = null;

  /** `servers`: all of this host, of every engine. `jobsRoot`: where trainers have their folders. */
  constructor(
    private readonly servers: () => readonly WeightServer[],
    private readonly jobsRoot: () => string,
  ) {}

  /**
   * Runs `work` while `server` holds the weights that `load` puts there. Callers of one tenant share one load; after a
   * failure of `load` or of `work` the next caller loads again, for the server may have died.
   */
  async withServer<Loaded, T>(
    tenant: string,
    server: WeightServer,
    load: () => Promise<Loaded>,
    signal: AbortSignal,
    work: (loaded: Loaded) => Promise<T>,
  ): Promise<T> {
    const release = await this.lease.acquire(tenant, signal);
    try {
      const loaded = await this.prepare(tenant, server, load, signal);
      try {
        return await work(loaded);
      } catch (error) {
        if (this.prepared?.tenant === tenant) this.prepared = null;
        throw error;
      }
    } finally {
      release();
    }
  }

  /** Runs `work` with the hardware to itself: no server holds weights meanwhile. */
  async withTrainer<T>(job: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const release = await this.lease.acquire(`train:${job}`, signal);
    try {
      this.prepared = null;
      for (const server of this.servers()) await server.unload();
      return await work();
    } finally {
      release();
    }
  }

  private async prepare<Loaded>(
    tenant: string,
    server: WeightServer,
    load: () => Promise<Loaded>,
    signal: AbortSignal,
  ): Promise<Loaded> {
    for (;;) {
      if (this.prepared?.tenant !== tenant) this.start(tenant, server, load, signal);
      const { done, signal: preparing } = this.prepared!;
      try {
        return (await done) as Loaded;
      } catch (error) {
        // The caller who loaded was cancelled, which is no reason for the others to fail.
        if (!preparing.aborted || signal.aborted) throw error;
      }
    }
  }

  private start(tenant: string, server: WeightServer, load: () => Promise<unknown>, signal: AbortSignal): void {
    const prepared = { tenant, signal, done: this.makeRoom(server, signal).then(load) };
    this.prepared = prepared;
    prepared.done.catch(() => {
      if (this.prepared === prepared) this.prepared = null;
    });
  }

  private async makeRoom(server: WeightServer, signal: AbortSignal): Promise<void> {
    // A trainer whose worker died keeps the hardware until its run attaches to it again.
    while ((await runningJobs(this.jobsRoot())).length > 0) await sleep(TRAINER_POLL_MS, undefined, { signal });
    for (const other of this.servers()) if (other !== server) await other.unload();
  }
}
