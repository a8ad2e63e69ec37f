/** Following a run while Temporal comes and goes. */
import { expect, it } from 'vitest';
import { isAway } from '../../client/away.js';
import { beforeStart, EXIT, exitOf, untilInterrupted } from '../../client/cli/context.js';
import { untilHalted } from '../../client/cli/follow.js';
import { fileEmpty } from '../../contracts/errors.js';
import type { RunStatus } from '../../contracts/run.js';

const status = (state: RunStatus['state'], endedAt: string | null = null) =>
  ({
    state,
    endedAt,
    stale: false,
    round: null,
    steps: [],
    live: [],
    rounds: [],
    warnings: [],
  }) as unknown as RunStatus;
const unavailable = Object.assign(new Error('away'), { code: 14 });

async function followed(answers: (RunStatus | Error)[], now: () => number = () => 0) {
  const seen: string[] = [];
  const client = {
    temporal: { withDeadline: (_: number, work: () => unknown) => work() },
    status: async () => {
      const answer = answers.length > 1 ? answers.shift()! : answers[0]!;
      if (answer instanceof Error) throw answer;
      return answer;
    },
  };
  const display = {
    show: ({ state }: RunStatus) => void seen.push(state),
    note: (text: string) => void seen.push(text),
  };
  const last = await untilHalted(client as never, 'run', display, { everyMs: 0, now }).catch((error) => error);
  return { seen, last };
}

it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('stops waiting at %s, and says what continues', async (signal) => {
  const waiting = untilInterrupted('The run continues.', new Promise(() => {}));
  process.emit(signal);
  await expect(waiting).rejects.toThrow('The run continues.');
  expect(process.listenerCount('SIGHUP')).toBe(0);
});

it('ends when the run parks, waits for approval or has ended', async () => {
  for (const end of [status('parked'), status('waiting'), status('done', 'now')]) {
    const { seen } = await followed([status('running'), end]);
    expect(seen).toEqual(['running', end.state]);
  }
});

it('says that Temporal does not answer, waits, and says that it answers again', async () => {
  const { seen } = await followed([status('running'), unavailable, unavailable, status('done', 'now')]);
  expect(seen).toEqual([
    'running',
    'Temporal does not answer; the run is safe in its database. Trying again ...',
    'Temporal answers again.',
    'done',
  ]);
});

it('gives up after half an hour', async () => {
  let minutes = 0;
  const { last } = await followed([unavailable], () => 60_000 * minutes++);
  expect(last.message).toBe(
    'Temporal has not answered for 30 minutes. Start it again; then `srlm watch run`. [temporal.lost]',
  );
});

it('throws what is not the absence of Temporal', async () => {
  const wrong = new Error('wrong');
  expect((await followed([wrong])).last).toBe(wrong);
  expect(isAway(Object.assign(new Error(''), { name: 'ServiceError', cause: { code: 4 } }))).toBe(true);
  expect(isAway(undefined)).toBe(false);
});

it('gives the exit code of the state', () => {
  expect(
    (['done', 'parked', 'waiting', 'failed', 'aborted', 'stopped'] as const).map((state) => exitOf(status(state))),
  ).toEqual([EXIT.done, EXIT.parked, EXIT.parked, EXIT.failed, EXIT.failed, EXIT.failed]);
});

it('a problem before the start says that nothing was started, after what to do', async () => {
  const failing = beforeStart(async () => {
    throw fileEmpty('data.jsonl');
  });
  await expect(failing).rejects.toThrow('data.jsonl: the file is empty. Nothing was started. [file.empty]');
});
