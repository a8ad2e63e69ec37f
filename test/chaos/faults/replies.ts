/** Model server and endpoint that answer wrongly or not at all, and a network without a way to Temporal. */
import { setTimeout as sleep } from 'node:timers/promises';
import { BAD_REPLIES, type BadReply } from '../proxies.js';
import { anywhere, type Kind } from './fault.js';
import { beyondHeartbeat } from './processes.js';

const endpointMisbehaves =
  (reply: BadReply): Kind =>
  (draw) => {
    // More often than the client tries by itself, and less often.
    const times = ['hang', 'refused'].includes(reply) ? draw.whole(1, 2) : draw.one([1, 3, 12]);
    const [after, ms] = [draw.whole(0, 2), reply === 'refused' ? draw.one([2000, 12_000]) : 60_000];
    return {
      moment: { in: 'start', ms: 0 },
      detail: `${times} x after ${after} answers${reply === 'refused' ? `, for ${ms} ms` : ''}`,
      concurrent: true,
      interrupts: times > 3 || ms === 12_000 ? 4 : 1,
      inject: ({ teacher }) => teacher.misbehave({ reply, matches: /^rationalize:/, after, times, ms }),
    };
  };

const serverMisbehaves =
  (reply: BadReply): Kind =>
  (draw) => {
    const [step, matches] = draw.one([
      ['sampling', /^enrich:/],
      ['logprob', /^logprob:/],
      ['evaluation', /^evaluate:/],
    ] as const);
    const [after, ms] = [draw.whole(0, step === 'logprob' ? 4 : 7), beyondHeartbeat(draw)];
    return {
      moment: { in: 'start', ms: 0 },
      detail: `after ${after} answers of ${step}${reply === 'hang' ? `, for ${ms} ms` : ''}`,
      concurrent: true,
      inject: ({ server }) => server.misbehave({ reply, matches, after, times: 1, ms }),
    };
  };

const temporalCut: Kind = (draw) => {
  const ms = draw.whole(1000, 8000);
  return {
    moment: anywhere(draw),
    detail: `${ms} ms`,
    inject: async ({ temporal }) => {
      temporal.cut();
      await sleep(ms);
      temporal.heal();
      return Date.now();
    },
  };
};

const temporalSilent: Kind = (draw) => {
  const ms = beyondHeartbeat(draw);
  return {
    moment: anywhere(draw),
    detail: `${ms} ms`,
    inject: async ({ temporal }) => {
      temporal.silence();
      await sleep(ms);
      temporal.heal();
      return Date.now();
    },
  };
};

export const REPLY_FAULTS: Record<string, Kind> = {
  ...Object.fromEntries(BAD_REPLIES.map((reply) => [`endpoint: ${reply}`, endpointMisbehaves(reply)])),
  // A built-in server that refuses connections is one that was killed.
  ...Object.fromEntries(
    BAD_REPLIES.filter((reply) => reply !== 'refused').map((reply) => [
      `model server: ${reply}`,
      serverMisbehaves(reply),
    ]),
  ),
  'Temporal cut off': temporalCut,
  'Temporal silent': temporalSilent,
};
