import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Lease } from '../../engines/hardware.js';

const never = new AbortController().signal;
const soon = () => new Promise((resolve) => setImmediate(resolve));

/** Asks for the lease, and adds the name to `order` once it is granted. */
function ask(lease: Lease, tenant: string, order: string[], name = tenant, signal: AbortSignal = never) {
  const given = lease.acquire(tenant, signal).then((release) => {
    order.push(name);
    return release;
  });
  given.catch(() => {});
  return given;
}

describe('the lease of a GPU', () => {
  it('leaves no listener on the signal of a waiter that it has admitted', async () => {
    const lease = new Lease();
    const { signal } = new AbortController();
    const release = await lease.acquire('a', never);
    const waiting = lease.acquire('b', signal);
    release();
    await waiting;
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  it('is shared by holders of one tenant', async () => {
    const lease = new Lease();
    const order: string[] = [];
    await Promise.all([ask(lease, 'a', order), ask(lease, 'a', order), ask(lease, 'a', order)]);
    expect(order).toEqual(['a', 'a', 'a']);
  });

  it('makes another tenant wait until the last holder has released it', async () => {
    const lease = new Lease();
    const order: string[] = [];
    const [one, two] = await Promise.all([ask(lease, 'a', order), ask(lease, 'a', order)]);
    const waiting = ask(lease, 'train', order);
    one();
    await soon();
    expect(order).toEqual(['a', 'a']);
    two();
    await waiting;
    expect(order).toEqual(['a', 'a', 'train']);
  });

  it('makes newcomers of the current tenant queue behind whoever waits, so that nobody starves', async () => {
    const lease = new Lease();
    const order: string[] = [];
    const first = await ask(lease, 'a', order, 'a1');
    const other = ask(lease, 'b', order);
    const late = ask(lease, 'a', order, 'a2');
    await soon();
    expect(order).toEqual(['a1']);
    first();
    (await other)();
    await late;
    expect(order).toEqual(['a1', 'b', 'a2']);
  });

  it('rejects with the reason of the signal, at once if that is aborted already', async () => {
    const lease = new Lease();
    const cancelled = new AbortController();
    await lease.acquire('a', never);
    const waiting = lease.acquire('b', cancelled.signal);
    cancelled.abort(new Error('the run was cancelled'));
    await expect(waiting).rejects.toThrow('the run was cancelled');
    await expect(lease.acquire('a', cancelled.signal)).rejects.toThrow('the run was cancelled');
  });

  it('admits those behind a waiter who gives up', async () => {
    const lease = new Lease();
    const order: string[] = [];
    const cancelled = new AbortController();
    await ask(lease, 'a', order, 'a1');
    ask(lease, 'b', order, 'b', cancelled.signal);
    const behind = ask(lease, 'a', order, 'a2');
    cancelled.abort();
    await behind;
    expect(order).toEqual(['a1', 'a2']);
  });

  it('never has two tenants, and admits all who do not give up in order of arrival', async () => {
    const Move = fc.oneof(
      fc.record({ do: fc.constant('ask' as const), tenant: fc.constantFrom('a', 'b', 'train') }),
      fc.record({ do: fc.constant('release' as const), which: fc.nat() }),
      fc.record({ do: fc.constant('give up' as const), which: fc.nat() }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(Move, { maxLength: 40 }), async (moves) => {
        const lease = new Lease();
        const asked: {
          n: number;
          tenant: string;
          controller: AbortController;
          release?: () => void;
          gone?: boolean;
        }[] = [];
        const admitted: number[] = [];
        const holding = () => asked.filter((one) => one.release && !one.gone);
        const settle = async () => {
          await soon();
          expect(new Set(holding().map(({ tenant }) => tenant)).size).toBeLessThanOrEqual(1);
        };
        for (const move of moves) {
          if (move.do === 'ask') {
            const one: (typeof asked)[number] = {
              n: asked.length,
              tenant: move.tenant,
              controller: new AbortController(),
            };
            asked.push(one);
            lease.acquire(move.tenant, one.controller.signal).then(
              (release) => {
                one.release = release;
                admitted.push(one.n);
              },
              () => {
                one.gone = true;
              },
            );
          } else if (move.do === 'release' && holding().length > 0) {
            const one = holding()[move.which % holding().length]!;
            one.gone = true;
            one.release?.();
          } else if (move.do === 'give up') {
            const waiting = asked.filter((one) => !one.release && !one.gone);
            waiting[move.which % Math.max(1, waiting.length)]?.controller.abort();
          }
          await settle();
        }
        while (holding().length > 0) {
          for (const one of holding()) {
            one.gone = true;
            one.release?.();
          }
          await settle();
        }
        expect(asked.filter((one) => !one.gone)).toEqual([]);
        expect(admitted).toEqual([...admitted].sort((a, b) => a - b));
      }),
      { numRuns: 60 },
    );
  });
});
