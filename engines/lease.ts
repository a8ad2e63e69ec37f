/**
 * One GPU, one tenant. A tenant is a model being served or a training job; holders of the same tenant share the
 * lease, others wait their turn, first come first served: once somebody waits, newcomers of the sitting tenant queue
 * behind him, so that no run starves another. Holds within one process; a host runs one GPU worker.
 */
interface Waiter {
  tenant: string;
  admit: () => void;
}

export class Lease {
  private tenant: string | null = null;
  private holders = 0;
  private readonly waiting: Waiter[] = [];

  /** Resolves to a function that gives the lease back. Rejects with the signal's reason. */
  async acquire(tenant: string, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (!(this.waiting.length === 0 && (this.holders === 0 || this.tenant === tenant))) {
      await new Promise<void>((resolve, reject) => {
        const waiter = { tenant, admit: resolve };
        this.waiting.push(waiter);
        signal.addEventListener(
          'abort',
          () => {
            const at = this.waiting.indexOf(waiter);
            if (at < 0) return;
            this.waiting.splice(at, 1);
            this.admitNext();
            reject(signal.reason);
          },
          { once: true },
        );
      });
    } else {
      this.tenant = tenant;
      this.holders++;
    }
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.holders--;
      this.admitNext();
    };
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
