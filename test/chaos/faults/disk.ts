/** A disk that is full for a while. */

import { signal } from '../chaos-harness.js';
import { anywhere, type Fault, type Kind, serving } from './fault.js';

const PAGE = 4096;

/** Full until the run has parked (or has not noticed for a while); then there is room again, and the step is retried. */
const full =
  (bytes: number, freezes: boolean): Fault['inject'] =>
  async (chaos) => {
    const trainers = freezes ? chaos.trainers() : [];
    for (const pid of trainers) signal(pid, 'SIGSTOP');
    chaos.fill(bytes);
    for (const pid of trainers) signal(pid, 'SIGCONT');
    await chaos.parks(10_000);
    chaos.empty();
    return Date.now();
  };

const fullInChunk: Kind = (draw) => ({ moment: serving(draw), fills: true, inject: full(0, false) });

/** There is room for the rows, but not for their record. */
const fullInRecord: Kind = (draw) => {
  const pages = draw.whole(1, 3);
  return { moment: serving(draw), detail: `${pages} pages left`, fills: true, inject: full(pages * PAGE, false) };
};

const fullInCheckpoint: Kind = (draw) => {
  const kilobytes = draw.whole(4, 900);
  return {
    moment: { in: 'training', round: draw.one([0, 1]), steps: draw.whole(1, 24) },
    detail: `${kilobytes} KB left`,
    fills: true,
    inject: full(kilobytes * 1024, true),
  };
};

const fullAnywhere: Kind = (draw) => {
  const kilobytes = draw.one([0, draw.whole(0, 40), draw.whole(0, 2000)]);
  return { moment: anywhere(draw), detail: `${kilobytes} KB left`, fills: true, inject: full(kilobytes * 1024, true) };
};

export const DISK_FAULTS: Record<string, Kind> = {
  'disk full in a chunk': fullInChunk,
  'disk full in a record': fullInRecord,
  'disk full in a checkpoint': fullInCheckpoint,
  'disk full anywhere': fullAnywhere,
};
