/** All kinds of fault, and the plan of a campaign. */
import { hash32 } from '../../../method/random.js';
import { CHAIN_FAULTS } from './chain.js';
import { DISK_FAULTS } from './disk.js';
import { Draw, type Fault, type Kind } from './fault.js';
import { FILE_FAULTS } from './files.js';
import { PROCESS_FAULTS } from './processes.js';
import { REPLY_FAULTS } from './replies.js';

export { describeFault, type Fault, type Moment } from './fault.js';

const KINDS: Record<string, Kind> = {
  ...PROCESS_FAULTS,
  ...DISK_FAULTS,
  ...FILE_FAULTS,
  ...REPLY_FAULTS,
  ...CHAIN_FAULTS,
};
export const kinds = Object.keys(KINDS);

/**
 * The faults of each run. Kinds are dealt like cards, so that all of them occur about equally often. `faultsEach`: how
 * many a run gets; default: one, and every third time two.
 */
export function plan(seed: number, runs: number, faultsEach?: number, among: readonly string[] = kinds): Fault[][] {
  const draw = new Draw(hash32(`chaos ${seed}`));
  let deck: string[] = [];
  return Array.from({ length: runs }, () =>
    Array.from({ length: faultsEach ?? draw.one([1, 1, 2]) }, (): Fault => {
      if (deck.length === 0) deck = draw.shuffled(among);
      const kind = deck.pop()!;
      const defaults = { detail: '', interrupts: 1, rerun: false, concurrent: false, fills: false };
      return { kind, ...defaults, ...KINDS[kind]!(draw) };
    }),
  );
}
