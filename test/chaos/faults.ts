/**
 * The faults a run can meet, one function each: it draws when, and how, and gives what strikes. Everything is drawn
 * before anything runs, so that a seed and a run's number give the same faults again; only the moment they are met is
 * the machine's. `strike` resolves when the fault is over, with the time from which recovering from it counts; null
 * where what it was meant for is not there.
 */
import { existsSync, readdirSync } from 'node:fs';
import { readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Dataset } from '../../contracts/artifacts.js';
import type { SelectOutput } from '../../contracts/steps.js';
import { hash32, random } from '../../method/random.js';
import { type Arena, signal } from './arena.js';
import { MISDEEDS, type Misdeed } from './proxies.js';

/** Reached once the run has done so much, or has run for so long. */
export type Moment =
  | { in: 'start'; ms: number }
  | { in: 'training'; round: 0 | 1; steps: number }
  | { in: 'sampling' | 'scoring' | 'evaluation 0' | 'evaluation 1'; requests: number };

export interface Fault {
  kind: string;
  moment: Moment;
  /** What was drawn, beside the moment. */
  says: string;
  /** Attempts it may end: each costs the chunk in work of each shard in flight. */
  interrupts: number;
  /** What it damaged may not be looked at again before the run is started again. */
  again: boolean;
  /** Strikes whatever other fault is at work. */
  beside: boolean;
  /** Needs a store that can be filled. */
  fills: boolean;
  strike(arena: Arena): Promise<number | null>;
}

type Drawn = Pick<Fault, 'moment' | 'strike'> & Partial<Fault>;

class Draw {
  private readonly next: () => number;
  constructor(seed: number) {
    this.next = random(seed);
  }
  /** From `low` to `high`, both among them. */
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

const training = (draw: Draw): Moment => ({
  in: 'training',
  round: draw.one([0, 1]),
  // 0: as soon as it has begun, which is some seconds before its first step.
  steps: draw.one([0, draw.whole(1, 28)]),
});
const serving = (draw: Draw): Moment =>
  draw.one([
    { in: 'sampling', requests: draw.whole(1, 20) },
    { in: 'scoring', requests: draw.whole(1, 6) },
    { in: draw.one(['evaluation 0', 'evaluation 1'] as const), requests: draw.whole(1, 6) },
  ]);
const anywhere = (draw: Draw): Moment =>
  draw.one([training, serving, () => ({ in: 'start', ms: draw.whole(0, 12_000) }) as const])(draw);

// --- processes --------------------------------------------------------------------------------------------------------

const workerKilled = (draw: Draw): Drawn => {
  const ms = draw.whole(0, 3000);
  return {
    moment: anywhere(draw),
    says: `away for ${ms} ms`,
    strike: async (arena) => {
      await arena.lab.killWorker();
      const at = Date.now();
      await sleep(ms);
      await arena.startWorker();
      return at;
    },
  };
};

const serverKilled = (draw: Draw): Drawn => ({
  moment: serving(draw),
  strike: async (arena) => killed(arena.servers()),
});

const trainerKilled = (draw: Draw): Drawn => ({
  moment: training(draw),
  strike: async (arena) => killed(arena.trainers()),
});

const temporalKilled = (draw: Draw): Drawn => ({
  moment: anywhere(draw),
  strike: async (arena) => {
    await arena.lab.killTemporal();
    return Date.now();
  },
});

const severalKilled = (draw: Draw): Drawn => {
  const who = draw.some(['worker', 'server', 'trainer', 'temporal'] as const, 2);
  return {
    moment: anywhere(draw),
    says: who.join(', '),
    strike: async (arena) => {
      if (who.includes('worker')) await arena.lab.killWorker();
      if (who.includes('server')) killed(arena.servers());
      if (who.includes('trainer')) killed(arena.trainers());
      if (who.includes('temporal')) await arena.lab.killTemporal();
      const at = Date.now();
      if (who.includes('worker')) await arena.startWorker();
      return at;
    },
  };
};

function killed(pids: number[]): number | null {
  return pids.filter((pid) => signal(pid, 'SIGKILL')).length > 0 ? Date.now() : null;
}

/** Longer than the heartbeat timeout (4 s). */
const long = (draw: Draw) => draw.whole(5000, 8000);

const workerFrozen = (draw: Draw): Drawn => {
  const ms = long(draw);
  return {
    moment: anywhere(draw),
    says: `${ms} ms`,
    strike: async (arena) => frozen(arena.workers(), ms),
  };
};

/** Another worker takes its attempts over before it wakes, and both are there for a while. */
const workerReplaced = (draw: Draw): Drawn => {
  const [ms, together] = [long(draw), draw.whole(500, 3000)];
  return {
    moment: anywhere(draw),
    says: `${ms} ms, then two for ${together} ms`,
    // Its attempt, and once more when it is stopped.
    interrupts: 2,
    strike: async (arena) => {
      const old = arena.workers();
      for (const pid of old) signal(pid, 'SIGSTOP');
      const woken = sleep(ms).then(() => {
        for (const pid of old) signal(pid, 'SIGCONT');
        return Date.now();
      });
      await arena.startWorker();
      const at = await woken;
      await sleep(together);
      for (const pid of old) signal(pid, 'SIGTERM');
      for (const until = Date.now() + 15_000; Date.now() < until; await sleep(50)) {
        if (!arena.workers().some((pid) => old.includes(pid))) return at;
      }
      killed(old);
      return at;
    },
  };
};

const serverFrozen = (draw: Draw): Drawn => {
  const worker = draw.whole(1, 3) === 1;
  // So long that the next worker, which waits 10 s for it, starts another one.
  const ms = worker ? 13_000 : long(draw);
  return {
    moment: serving(draw),
    says: `${ms} ms${worker ? ', the worker killed meanwhile' : ''}`,
    strike: async (arena) => frozen(arena.servers(), ms, worker ? arena : null),
  };
};

const trainerFrozen = (draw: Draw): Drawn => {
  const worker = draw.one([true, false]);
  const ms = long(draw);
  return {
    moment: training(draw),
    says: `${ms} ms${worker ? ', the worker killed meanwhile' : ''}`,
    strike: async (arena) => frozen(arena.trainers(), ms, worker ? arena : null),
  };
};

async function frozen(pids: number[], ms: number, killsWorkerOf: Arena | null = null): Promise<number | null> {
  if (pids.filter((pid) => signal(pid, 'SIGSTOP')).length === 0) return null;
  const woken = sleep(ms).then(() => {
    for (const pid of pids) signal(pid, 'SIGCONT');
    return Date.now();
  });
  if (killsWorkerOf) {
    await killsWorkerOf.lab.killWorker();
    await killsWorkerOf.startWorker();
  }
  return woken;
}

// --- the disk ---------------------------------------------------------------------------------------------------------

const PAGE = 4096;

/** Full until the run has parked (or has not minded for a while); then there is room again, and it is retried. */
const full =
  (bytes: number, freezes: boolean): Fault['strike'] =>
  async (arena) => {
    const trainers = freezes ? arena.trainers() : [];
    for (const pid of trainers) signal(pid, 'SIGSTOP');
    arena.fill(bytes);
    for (const pid of trainers) signal(pid, 'SIGCONT');
    await arena.parks(10_000);
    arena.empty();
    return Date.now();
  };

const fullInChunk = (draw: Draw): Drawn => ({
  moment: serving(draw),
  fills: true,
  strike: full(0, false),
});

/** The rows still fit; what says that they are there does not. */
const fullInRecord = (draw: Draw): Drawn => {
  const pages = draw.whole(1, 3);
  return { moment: serving(draw), says: `${pages} pages left`, fills: true, strike: full(pages * PAGE, false) };
};

const fullInCheckpoint = (draw: Draw): Drawn => {
  const kilobytes = draw.whole(4, 900);
  return {
    moment: { in: 'training', round: draw.one([0, 1]), steps: draw.whole(1, 24) },
    says: `${kilobytes} KB left`,
    fills: true,
    strike: full(kilobytes * 1024, true),
  };
};

const fullAnywhere = (draw: Draw): Drawn => {
  const kilobytes = draw.one([0, draw.whole(0, 40), draw.whole(0, 2000)]);
  return { moment: anywhere(draw), says: `${kilobytes} KB left`, fills: true, strike: full(kilobytes * 1024, true) };
};

// --- files ------------------------------------------------------------------------------------------------------------

type Damage = 'truncated' | 'altered' | 'deleted';

/** A chunk that the run has yet to read: rows or questions while the first round trains, candidates while others come. */
const chunkDamaged =
  (damage: Damage) =>
  (draw: Draw): Drawn => {
    const [which, at] = [draw.whole(0, 2 ** 20), draw.whole(0, 2 ** 20)];
    return {
      moment: draw.one([
        { in: 'training', round: 0, steps: draw.whole(0, 20) },
        { in: 'sampling', requests: draw.whole(5, 18) },
      ]),
      again: true,
      strike: async (arena) => {
        const { lab } = arena;
        if ((await lab.records('select')).length > 0) return null; // All have been read.
        const sampled = (await lab.records('sample-chunk')).filter(({ inputs }) => purposeOf(inputs) === 'enrich');
        const paths = sampled.map(({ files }) => lab.store.path(files[0]!.uri));
        if (paths.length === 0) {
          const rows = (await lab.records('rows')).map(({ output }) => (output as unknown as SelectOutput).data);
          const questions = (await lab.records('ingest'))
            .filter(({ inputs }) => (inputs as { kind: string }).kind === 'questions')
            .map(({ output }) => Dataset.parse((output as { data: unknown }).data));
          for (const dataset of [...rows, ...questions]) paths.push(...(await lab.chunkPaths(dataset)));
        }
        const path = paths[which % paths.length];
        if (!path) return null;
        await spoil(path, damage, at);
        return Date.now();
      },
    };
  };

const recordDamaged =
  (damage: 'truncated' | 'deleted') =>
  (draw: Draw): Drawn => {
    const [which, at] = [draw.whole(0, 2 ** 20), draw.whole(0, 2 ** 20)];
    return {
      moment: anywhere(draw),
      again: true,
      strike: async (arena) => {
        const root = join(arena.lab.artifactRoot, 'steps');
        const all = existsSync(root) ? readdirSync(root, { recursive: true }).map(String) : [];
        // A chunk's record has done its work once all chunks of its step are listed: nobody looks for it again.
        const paths = all.filter((path) => path.endsWith('.json') && !path.includes('-chunk/')).sort();
        const path = paths[which % paths.length];
        if (!path) return null;
        await spoil(join(root, path), damage, at);
        return Date.now();
      },
    };
  };

/** A chunk's record, while the other chunks of its step are still being made. */
const chunkRecordDamaged = (draw: Draw): Drawn => {
  const [which, at] = [draw.whole(0, 2 ** 20), draw.whole(0, 2 ** 20)];
  const damage = draw.one(['truncated', 'deleted'] as const);
  return {
    moment: { in: 'sampling', requests: draw.whole(5, 14) },
    says: damage,
    again: true,
    strike: async ({ lab }) => {
      const records = (await lab.records('sample-chunk')).filter(({ inputs }) => purposeOf(inputs) === 'enrich');
      const record = records[which % records.length];
      if (!record || records.length > 4) return null;
      const path = join(lab.artifactRoot, 'steps/sample-chunk', record.key.slice(0, 2), `${record.key}.json`);
      await spoil(path, damage, at);
      return Date.now();
    },
  };
};

const purposeOf = (inputs: unknown) => (inputs as { purpose?: string }).purpose;

async function spoil(path: string, damage: Damage, at: number): Promise<void> {
  const { size } = await stat(path);
  if (damage === 'deleted') await rm(path);
  else if (damage === 'truncated') await truncate(path, at % size);
  else {
    const content = await readFile(path);
    content[at % size]! ^= 1;
    await writeFile(path, content);
  }
}

// --- answers ----------------------------------------------------------------------------------------------------------

const hostedMisbehaves =
  (misdeed: Misdeed) =>
  (draw: Draw): Drawn => {
    // More than the client tries by itself, and less.
    const times = ['hang', 'refused'].includes(misdeed) ? draw.whole(1, 2) : draw.one([1, 3, 12]);
    const [after, ms] = [draw.whole(0, 2), misdeed === 'refused' ? draw.one([2000, 12_000]) : 60_000];
    return {
      moment: { in: 'start', ms: 0 },
      says: `${times} x after ${after} answers${misdeed === 'refused' ? `, for ${ms} ms` : ''}`,
      beside: true,
      interrupts: times > 3 || ms === 12_000 ? 4 : 1,
      strike: ({ teacher }) => teacher.order({ misdeed, matches: /^rationalize:/, after, times, ms }),
    };
  };

const serverMisbehaves =
  (misdeed: Misdeed) =>
  (draw: Draw): Drawn => {
    const [step, matches] = draw.one([
      ['sampling', /^enrich:/],
      ['scoring', /^score:/],
      ['evaluating', /^answer:/],
    ] as const);
    const [after, ms] = [draw.whole(0, step === 'scoring' ? 4 : 7), long(draw)];
    return {
      moment: { in: 'start', ms: 0 },
      says: `after ${after} answers of ${step}${misdeed === 'hang' ? `, for ${ms} ms` : ''}`,
      beside: true,
      strike: ({ server }) => server.order({ misdeed, matches, after, times: 1, ms }),
    };
  };

// --- the network ------------------------------------------------------------------------------------------------------

const temporalCut = (draw: Draw): Drawn => {
  const ms = draw.whole(1000, 8000);
  return {
    moment: anywhere(draw),
    says: `${ms} ms`,
    strike: async ({ line }) => {
      line.cut();
      await sleep(ms);
      line.heal();
      return Date.now();
    },
  };
};

const temporalSilent = (draw: Draw): Drawn => {
  const ms = long(draw);
  return {
    moment: anywhere(draw),
    says: `${ms} ms`,
    strike: async ({ line }) => {
      line.silence();
      await sleep(ms);
      line.heal();
      return Date.now();
    },
  };
};

// --- all of them ------------------------------------------------------------------------------------------------------

const KINDS: Record<string, (draw: Draw) => Drawn> = {
  'worker killed': workerKilled,
  'model server killed': serverKilled,
  'trainer killed': trainerKilled,
  'Temporal killed': temporalKilled,
  'several killed at once': severalKilled,
  'worker frozen': workerFrozen,
  'worker frozen, another takes over': workerReplaced,
  'model server frozen': serverFrozen,
  'trainer frozen': trainerFrozen,
  'disk full in a chunk': fullInChunk,
  'disk full in a record': fullInRecord,
  'disk full in a checkpoint': fullInCheckpoint,
  'disk full anywhere': fullAnywhere,
  'chunk truncated': chunkDamaged('truncated'),
  'chunk altered': chunkDamaged('altered'),
  'chunk deleted': chunkDamaged('deleted'),
  'record truncated': recordDamaged('truncated'),
  'record deleted': recordDamaged('deleted'),
  'record of a chunk damaged': chunkRecordDamaged,
  ...Object.fromEntries(MISDEEDS.map((misdeed) => [`hosted endpoint: ${misdeed}`, hostedMisbehaves(misdeed)])),
  // A built-in server that is refused is one that was killed.
  ...Object.fromEntries(
    MISDEEDS.filter((misdeed) => misdeed !== 'refused').map((misdeed) => [
      `model server: ${misdeed}`,
      serverMisbehaves(misdeed),
    ]),
  ),
  'Temporal cut off': temporalCut,
  'Temporal silent': temporalSilent,
};
export const kinds = Object.keys(KINDS);

/**
 * The faults of each run. Kinds are dealt like cards, so that all come about equally often; `faultsEach`: how many a
 * run meets, else one, and two every third time.
 */
export function plan(seed: number, runs: number, faultsEach?: number): Fault[][] {
  const draw = new Draw(hash32(`chaos ${seed}`));
  let deck: string[] = [];
  return Array.from({ length: runs }, () =>
    Array.from({ length: faultsEach ?? draw.one([1, 1, 2]) }, (): Fault => {
      if (deck.length === 0) deck = draw.shuffled(kinds);
      const kind = deck.pop()!;
      return { kind, says: '', interrupts: 1, again: false, beside: false, fills: false, ...KINDS[kind]!(draw) };
    }),
  );
}

export function tell({ kind, moment, says }: Fault): string {
  const when =
    moment.in === 'start'
      ? moment.ms === 0
        ? ''
        : ` after ${moment.ms} ms`
      : moment.in === 'training'
        ? ` at step ${moment.steps} of training ${moment.round}`
        : ` at request ${moment.requests} of ${moment.in}`;
  return `${kind}${when}${says ? ` (${says})` : ''}`;
}
