/**
 * One GPU, one tenant. A tenant is a served model or a training job. Holders of the same tenant share the lease; others
 * wait their turn in order of arrival. As soon as somebody waits, newcomers queue behind him even if they belong to the
 * current tenant, so that no run starves another. Holds within one process: a host runs one GPU worker.
 */
interface Waiter {
  tenant: string;
  admit: () => void;
}

export class Lease {
  private tenant: string | null = null;
  private holders = 0;
  private readonly waiting: Waiter[] = [];

  /** Resolves to a function that releases the lease. Rejects with the signal's reason. */
  async acquire(tenant: string, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.waiting.length === 0 && (this.holders === 0 || this.tenant === tenant)) {
      this.tenant = tenant;
      this.holders++;
    } else {
      await this.admitted(tenant, signal);
    }
    let released = false;
    return () => {
      if (released) return;
      released = true;
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
