/** Faults around continue-as-new, where one execution of a run ends and the next begins; and commands of operators. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChaosHarness } from '../chaos-harness.js';
import { anywhere, continueAsNew, type Kind } from './fault.js';

/** Temporal has started the workflow task, and its completion never arrives: another worker has to do the task again. */
const killedBefore: Kind = (draw) => {
  const ms = draw.whole(0, 3000);
  return {
    moment: continueAsNew(),
    detail: `away for ${ms} ms`,
    inject: async (chaos, held) => {
      await chaos.harness.killWorker();
      held!.drop();
      const at = Date.now();
      await sleep(ms);
      await chaos.startWorker();
      return at;
    },
  };
};

/** The completion arrives, and its worker is gone before or while the next execution begins. */
const killedAfter: Kind = (draw) => {
  const [until, ms] = [draw.one([0, draw.whole(1, 50), draw.whole(50, 1500)]), draw.whole(0, 3000)];
  return {
    moment: continueAsNew(),
    detail: `${until} ms after it, away for ${ms} ms`,
    inject: async (chaos, held) => {
      held!.release();
      await sleep(until);
      await chaos.harness.killWorker();
      const at = Date.now();
      await sleep(ms);
      await chaos.startWorker();
      return at;
    },
  };
};

const temporalKilled: Kind = (draw) => {
  const arrives = draw.one([true, false]);
  return {
    moment: continueAsNew(),
    detail: arrives ? 'the completion has just arrived' : 'the completion is on its way',
    inject: async (chaos, held) => {
      if (arrives) held!.release();
      await chaos.harness.killTemporal();
      held!.release();
      return Date.now();
    },
  };
};

/** Commands arrive while the task that ends the execution is under way, and until the next execution has begun. */
const commands: Kind = (draw) => {
  const [ms, again, kills] = [draw.whole(50, 1500), draw.one([true, false]), draw.whole(1, 4) === 1];
  return {
    moment: continueAsNew(),
    detail: `held for ${ms} ms${again ? ', sent twice' : ''}${kills ? ', the worker killed meanwhile' : ''}`,
    inject: async (chaos, held) => {
      const sent = pauseAndResume(chaos, again, async () => {});
      await sleep(ms);
      if (kills) {
        await chaos.harness.killWorker();
        held!.drop();
        await chaos.startWorker();
      } else held!.release();
      await sent;
      return Date.now();
    },
  };
};

const paused: Kind = (draw) => {
  const ms = draw.whole(0, 4000);
  return {
    moment: anywhere(draw),
    detail: `for ${ms} ms`,
    inject: async (chaos) => {
      await pauseAndResume(chaos, false, () => sleep(ms));
      return Date.now();
    },
  };
};

/** Four commands that change nothing of the result: every one that is answered must be on record exactly once. */
async function pauseAndResume({ commands }: ChaosHarness, again: boolean, between: () => Promise<unknown>) {
  await commands.setBudget(again);
  await commands.send('pause', {}, again);
  await between();
  await commands.setBudget(again);
  await commands.send('resume', {}, again);
}

export const CHAIN_FAULTS: Record<string, Kind> = {
  'worker killed before continue-as-new': killedBefore,
  'worker killed after continue-as-new': killedAfter,
  'Temporal killed at continue-as-new': temporalKilled,
  'commands at continue-as-new': commands,
  'paused and resumed': paused,
};
