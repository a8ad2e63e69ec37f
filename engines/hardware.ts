/**
 * The hardware of this host, one tenant at a time: a server that holds one model, or a trainer. Whoever gets the lease
 * first makes the others give their memory back. All it knows of a server is that it can unload. Holds within one
 * process: worker/gpu-lock.ts keeps a second one away.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/** A process of this host that can hold weights. */
export interface WeightServer {
  /** Frees the weights; does nothing where no process runs. */
  unload(): Promise<void>;
  stop(): Promise<void>;
}

/** `signal` is that of the caller who prepares the servers for this tenant. */
interface Prepared {
  tenant: string;
  done: Promise<unknown>;
  signal: AbortSignal;
}

const TRAINER_POLL_MS = 1000;

export class Hardware {
  private readonly lease = new Lease();
  private prepared: Prepared | null = null;

  /** `servers`: all of this host, of every engine. `trainers`: the jobs whose trainer is at work on this host. */
  constructor(
    private readonly servers: () => readonly WeightServer[],
    private readonly trainers: () => Promise<readonly string[]>,
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
    const release = await this.acquire(tenant, signal);
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

  /** Runs `work` while no server holds weights. Callers with the same `job` share the hardware. */
  async withTrainer<T>(job: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const release = await this.acquire(`train:${job}`, signal, job);
    try {
      this.prepared = null;
      for (const server of this.servers()) await server.unload();
      return await work();
    } finally {
      release();
    }
  }

  /** The lease, once no trainer but that of `job` is at work. */
  private async acquire(tenant: string, signal: AbortSignal, job?: string): Promise<() => void> {
    for (;;) {
      const release = await this.lease.acquire(tenant, signal);
      try {
        if (this.prepared?.tenant === tenant || (await this.trainers()).every((other) => other === job)) return release;
      } catch (error) {
        release();
        throw error;
      }
      // A trainer whose worker died keeps the hardware; its run returns to it, and needs the lease for that.
      release();
      await sleep(TRAINER_POLL_MS, undefined, { signal });
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
    const prepared = { tenant, signal, done: this.makeRoom(server).then(load) };
    this.prepared = prepared;
    prepared.done.catch(() => {
      if (this.prepared === prepared) this.prepared = null;
    });
  }

  private async makeRoom(server: WeightServer): Promise<void> {
    for (const other of this.servers()) if (other !== server) await other.unload();
  }
}

interface Waiter {
  tenant: string;
  admit: () => void;
}

/**
 * One GPU, one tenant. Holders of the same tenant share the lease; others wait in order of arrival. As soon as somebody
 * waits, newcomers queue behind it even if they belong to the current tenant, so that no run starves another.
 */
export class Lease {
  private tenant: string | null = null;
  private holders = 0;
  private readonly waiting: Waiter[] = [];

  /** Resolves to a function that releases the lease, to be called once. Rejects with the signal's reason. */
  async acquire(tenant: string, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.waiting.length === 0 && (this.holders === 0 || this.tenant === tenant)) {
      this.tenant = tenant;
      this.holders++;
    } else {
      await this.admitted(tenant, signal);
    }
    return () => {
      this.holders--;
      this.admitNext();
    };
  }

  private admitted(tenant: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.waiting.splice(this.waiting.indexOf(waiter), 1);
        this.admitNext();
        reject(signal.reason);
      };
      const waiter: Waiter = {
        tenant,
        admit: () => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      this.waiting.push(waiter);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  private admitNext(): void {
    for (let next = this.waiting[0]; next; next = this.waiting[0]) {
      if (this.holders > 0 && this.tenant !== next.tenant) return;
      this.waiting.shift();
      this.tenant = next.tenant;
      this.holders++;
      next.admit();
    }
  }
}
