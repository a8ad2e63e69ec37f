/** Processes that are killed or frozen: worker, model server, trainer, Temporal. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ChaosHarness, signal } from '../chaos-harness.js';
import { anywhere, type Draw, type Kind, serving, training } from './fault.js';

const workerKilled: Kind = (draw) => {
  const ms = draw.whole(0, 3000);
  return {
    moment: anywhere(draw),
    detail: `away for ${ms} ms`,
    inject: async (chaos) => {
      await chaos.harness.killWorker();
      const at = Date.now();
      await sleep(ms);
      await chaos.startWorker();
      return at;
    },
  };
};

const serverKilled: Kind = (draw) => ({
  moment: serving(draw),
  inject: async (chaos) => killed(chaos.servers()),
});

const trainerKilled: Kind = (draw) => ({
  moment: training(draw),
  inject: async (chaos) => killed(chaos.trainers()),
});

const temporalKilled: Kind = (draw) => ({
  moment: anywhere(draw),
  inject: async (chaos) => {
    await chaos.harness.killTemporal();
    return Date.now();
  },
});

const severalKilled: Kind = (draw) => {
  const who = draw.some(['worker', 'server', 'trainer', 'temporal'] as const, 2);
  return {
    moment: anywhere(draw),
    detail: who.join(', '),
    inject: async (chaos) => {
      if (who.includes('worker')) await chaos.harness.killWorker();
      if (who.includes('server')) killed(chaos.servers());
      if (who.includes('trainer')) killed(chaos.trainers());
      if (who.includes('temporal')) await chaos.harness.killTemporal();
      const at = Date.now();
      if (who.includes('worker')) await chaos.startWorker();
      return at;
    },
  };
};

function killed(pids: number[]): number | null {
  return pids.filter((pid) => signal(pid, 'SIGKILL')).length > 0 ? Date.now() : null;
}

/** Milliseconds; longer than the heartbeat timeout (4 s). */
export const beyondHeartbeat = (draw: Draw) => draw.whole(5000, 8000);

const workerFrozen: Kind = (draw) => {
  const ms = beyondHeartbeat(draw);
  return {
    moment: anywhere(draw),
    detail: `${ms} ms`,
    inject: async (chaos) => frozen(chaos.workers(), ms),
  };
};

/** Another worker takes over its attempts before it wakes, and both run for a while: their lock is lost. */
const workerReplaced: Kind = (draw) => {
  const [ms, together] = [beyondHeartbeat(draw), draw.whole(500, 3000)];
  return {
    moment: anywhere(draw),
    detail: `${ms} ms, then two for ${together} ms`,
    // Its attempt, and another one when it is stopped.
    interrupts: 2,
    inject: async (chaos) => {
      const old = chaos.workers();
      for (const pid of old) signal(pid, 'SIGSTOP');
      const woken = sleep(ms).then(() => {
        for (const pid of old) signal(pid, 'SIGCONT');
        return Date.now();
      });
      rmSync(join(chaos.harness.folder, 'work/gpu.json'), { force: true });
      await chaos.startWorker();
      const at = await woken;
      await sleep(together);
      for (const pid of old) signal(pid, 'SIGTERM');
      for (const until = Date.now() + 15_000; Date.now() < until; await sleep(50)) {
        if (!chaos.workers().some((pid) => old.includes(pid))) return at;
      }
      killed(old);
      return at;
    },
  };
};

const serverFrozen: Kind = (draw) => {
  const worker = draw.whole(1, 3) === 1;
  // So long that the next worker, which waits 10 s for it, starts another one.
  const ms = worker ? 13_000 : beyondHeartbeat(draw);
  return {
    moment: serving(draw),
    detail: `${ms} ms${worker ? ', the worker killed meanwhile' : ''}`,
    inject: async (chaos) => frozen(chaos.servers(), ms, worker ? chaos : null),
  };
};

const trainerFrozen: Kind = (draw) => {
  const worker = draw.one([true, false]);
  const ms = beyondHeartbeat(draw);
  return {
    moment: training(draw),
    detail: `${ms} ms${worker ? ', the worker killed meanwhile' : ''}`,
    inject: async (chaos) => frozen(chaos.trainers(), ms, worker ? chaos : null),
  };
};

/** SIGSTOP, and nobody wakes them: they are ended as stalled, and their step is tried again. */
const serverFrozenForGood: Kind = (draw) => ({
  moment: serving(draw),
  inject: async (chaos) => frozenForGood(chaos.servers()),
});

const trainerFrozenForGood: Kind = (draw) => ({
  moment: training(draw),
  inject: async (chaos) => frozenForGood(chaos.trainers()),
});

const frozenForGood = (pids: number[]): number | null =>
  pids.filter((pid) => signal(pid, 'SIGSTOP')).length > 0 ? Date.now() : null;

async function frozen(pids: number[], ms: number, killsWorkerOf: ChaosHarness | null = null): Promise<number | null> {
  if (pids.filter((pid) => signal(pid, 'SIGSTOP')).length === 0) return null;
  const woken = sleep(ms).then(() => {
    for (const pid of pids) signal(pid, 'SIGCONT');
    return Date.now();
  });
  if (killsWorkerOf) {
    await killsWorkerOf.harness.killWorker();
    await killsWorkerOf.startWorker();
  }
  return woken;
}

export const PROCESS_FAULTS: Record<string, Kind> = {
  'worker killed': workerKilled,
  'model server killed': serverKilled,
  'trainer killed': trainerKilled,
  'Temporal killed': temporalKilled,
  'several killed at once': severalKilled,
  'worker frozen': workerFrozen,
  'worker frozen, another takes over': workerReplaced,
  'model server frozen': serverFrozen,
  'trainer frozen': trainerFrozen,
  'model server frozen for good': serverFrozenForGood,
  'trainer frozen for good': trainerFrozenForGood,
};
