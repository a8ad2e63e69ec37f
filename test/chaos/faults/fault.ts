/**
 * What a fault is, and how it is drawn: everything is decided by the seed before anything runs, so that a seed and the
 * number of a run give the same faults again. Only when exactly a moment comes is up to the machine.
 */
import { random } from '../../../method/random.js';
import type { ChaosHarness } from '../chaos-harness.js';
import type { HeldRequest } from '../proxies.js';

/**
 * Comes once the run has done so much, or has run for so long. `continue-as-new`: a worker has sent the completion of the
 * workflow task that ends an execution; it is held, and the fault decides what becomes of it.
 */
export type Moment =
  | { in: 'start'; ms: number }
  | { in: 'training'; round: 0 | 1; steps: number }
  | { in: Serving; requests: number }
  | { in: 'continue-as-new' };
export type Serving = 'sampling' | 'logprob' | 'evaluation 0' | 'evaluation 1';

export interface Fault {
  kind: string;
  moment: Moment;
  /** What was drawn, beside the moment. */
  detail: string;
  /** Attempts that it may end: each costs the chunk in work of each shard in flight. */
  interrupts: number;
  /** The run may never read what is damaged: the same run is started again afterwards. */
  rerun: boolean;
  /** Happens whatever other fault is at work. */
  concurrent: boolean;
  /** Needs a store that can be filled. */
  fills: boolean;
  /**
   * Resolves when the fault is over, with the time from which recovery is counted; null: what it was meant for does not
   * exist. `held`: the completion, where the moment is `continue-as-new`.
   */
  inject(chaos: ChaosHarness, held: HeldRequest | null): Promise<number | null>;
}

/** A kind of fault: draws everything but the defaults. */
export type Kind = (draw: Draw) => Pick<Fault, 'moment' | 'inject'> & Partial<Fault>;

export class Draw {
  private readonly next: () => number;
  constructor(seed: number) {
    this.next = random(seed);
  }
  /** From `low` to `high`, both included. */
  whole(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }
  one<T>(list: readonly T[]): T {
    return list[this.whole(0, list.length - 1)]!;
  }
  some<T>(list: readonly T[], least: number): T[] {
    return this.shuffled(list).slice(0, this.whole(least, list.length));
  }
  shuffled<T>(list: readonly T[]): T[] {
    const rest = [...list];
    return list.map(() => rest.splice(this.whole(0, rest.length - 1), 1)[0]!);
  }
}

// --- moments ----------------------------------------------------------------------------------------------------------
export const training = (draw: Draw): Moment => ({
  in: 'training',
  round: draw.one([0, 1]),
  // 0: as soon as it has begun, which is some seconds before its first step.
  steps: draw.one([0, draw.whole(1, 28)]),
});

export const serving = (draw: Draw): Moment & { in: Serving } =>
  draw.one([
    { in: 'sampling', requests: draw.whole(1, 20) },
    { in: 'logprob', requests: draw.whole(1, 6) },
    { in: draw.one(['evaluation 0', 'evaluation 1'] as const), requests: draw.whole(1, 6) },
  ]);

export const anywhere = (draw: Draw): Moment =>
  draw.one([training, serving, () => ({ in: 'start', ms: draw.whole(0, 12_000) }) as const])(draw);

export const continueAsNew = (): Moment => ({ in: 'continue-as-new' });

export function describeFault({ kind, moment, detail }: Fault): string {
  return `${kind}${describeMoment(moment)}${detail ? ` (${detail})` : ''}`;
}

function describeMoment(moment: Moment): string {
  switch (moment.in) {
    case 'start':
      return moment.ms === 0 ? '' : ` after ${moment.ms} ms`;
    case 'training':
      return ` at step ${moment.steps} of training ${moment.round}`;
    case 'continue-as-new':
      return '';
    default:
      return ` at request ${moment.requests} of ${moment.in}`;
  }
}
