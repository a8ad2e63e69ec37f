/** How a command reaches its run. Temporal is a table of answers. */
import { ServiceError, WorkflowNotFoundError, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { type CommandFields, send } from '../../client/operate.js';
import type { CommandName } from '../../contracts/commands.js';
import type { Intervention, RunState } from '../../contracts/run.js';
import { at, describedAs, PARKED, stateOf } from './states.js';

vi.mock('node:timers/promises', () => ({
  setTimeout: async (ms: number) => void vi.advanceTimersByTime(ms),
}));

interface Sent {
  name: string;
  command: Record<string, unknown>;
  updateId: string;
}

/** `answers`: what the tries of an Update give, an error or a value. */
function operator(
  state: RunState | null,
  { status = 'RUNNING', type = 'srlmRun', answers = ['sample'] as unknown[] } = {},
) {
  const sent: Sent[] = [];
  const described = describedAs({ status, type });
  const handle = {
    describe: async () => described,
    executeUpdate: async (name: string, { args, updateId }: { args: [object]; updateId: string }) => {
      sent.push({ name, command: { ...args[0] }, updateId });
      const answer = answers[Math.min(sent.length, answers.length) - 1];
      if (answer instanceof Error) throw answer;
      return answer;
    },
  };
  const look = async () => ({ described, memo: null, state, phase: 'running', halt: state?.halt ?? null });
  const temporal = { workflow: { getHandle: () => handle } };
  return { operator: sender(temporal, look), sent };
}

const sender = (temporal: object, look: () => Promise<object>) => ({
  send: <Name extends CommandName>(runId: string, name: Name, fields: CommandFields<Name>) =>
    send(temporal as never, { look } as never, runId, name, fields),
});

const refusal = (message: string) => new WorkflowUpdateFailedError('', ApplicationFailure.nonRetryable(message));
const busy = (code: number, details = '') => new ServiceError('failed', { cause: { code, details } as never });
const closing = () => new WorkflowNotFoundError('workflow update was aborted by closing workflow', 'run', undefined);

describe('a command', () => {
  it('goes to the workflow as one Update, with who sends it', async () => {
    const { operator: ours, sent } = operator(stateOf());
    await ours.send('run', 'set', { set: { 'sampling.k': 2 }, why: 'faster' });
    expect(sent).toMatchObject([
      { name: 'srlmSet', command: { set: { 'sampling.k': 2 }, why: 'faster', fromRound: null } },
    ]);
    expect(sent[0]!.command.who).toMatch(/@/);
    expect(sent[0]!.command.answers).toBeUndefined();
  });

  it('that answers something names what it answers', async () => {
    const { operator: ours, sent } = operator(stateOf({ halt: PARKED }));
    expect(await ours.send('run', 'retry', {})).toBe('sample');
    expect(sent[0]!.command.answers).toBe(PARKED.since);
  });

  it('to abort is sent whatever the run is doing', async () => {
    const { operator: ours, sent } = operator(stateOf());
    await ours.send('run', 'abort', { why: 'enough' });
    expect(sent).toMatchObject([{ name: 'srlmAbort', command: { why: 'enough' } }]);
  });

  it('is sent where no worker answered the query: the run will judge it', async () => {
    const { operator: ours, sent } = operator(null);
    await ours.send('run', 'approve', {});
    expect(sent).toHaveLength(1);
  });
});

describe('a command is refused', () => {
  const retried: Intervention = {
    ...{ kind: 'retry', at: at(70), who: 'ann@host', why: 'the key is right', round: 1, step: 'sample' },
    ...{ answers: PARKED.since, set: null, id: null },
  };

  it.each([
    [
      'when there is nothing to answer',
      stateOf(),
      'RUNNING',
      'retry' as const,
      'Run "run" is not parked. See `srlm status run`. [run.not-parked]',
    ],
    [
      'when somebody has answered before',
      stateOf({ interventions: [retried] }),
      'RUNNING',
      'skip' as const,
      `Run "run" is not parked; already resolved by an earlier answer (retry at ${at(70)}, sample, by ann@host: the key is right). See \`srlm status run\`. [run.not-parked]`,
    ],
    [
      'when the question is another one',
      stateOf({ halt: PARKED }),
      'RUNNING',
      'approve' as const,
      'Run "run" is not waiting for approval. See `srlm status run`. [run.not-parked]',
    ],
    [
      'when the run has ended',
      stateOf(),
      'COMPLETED',
      'pause' as const,
      'Run "run" refuses "pause": it has ended (done). Start another run, or fork this one with `srlm fork run --from-round N`. [run.refused]',
    ],
    [
      'when there was nothing to answer before the run ended',
      stateOf(),
      'COMPLETED',
      'approve' as const,
      'Run "run" refuses "approve": it has ended (done). Start another run, or fork this one with `srlm fork run --from-round N`. [run.refused]',
    ],
  ])('%s', async (_, state, status, name, message) => {
    const { operator: ours, sent } = operator(state, { status });
    await expect(ours.send('run', name, {})).rejects.toThrow(message);
    expect(sent).toHaveLength(0);
  });

  it('when a sample run has ended, without advice to fork it', async () => {
    const { operator: ours } = operator(stateOf(), { status: 'COMPLETED', type: 'srlmSample' });
    await expect(ours.send('run', 'pause', {})).rejects.toThrow(
      'Run "run" refuses "pause": it has ended (done). Start another run. [run.refused]',
    );
  });

  it('by the run, with its reason', async () => {
    const { operator: ours } = operator(stateOf(), { answers: [refusal('already paused by ann')] });
    await expect(ours.send('run', 'pause', {})).rejects.toThrow(
      'Run "run" refuses "pause": already paused by ann. See `srlm status run`. [run.refused]',
    );
  });

  it('when it does not fit its schema', async () => {
    const { operator: ours, sent } = operator(stateOf());
    await expect(ours.send('run', 'pause', { why: 'x'.repeat(501) })).rejects.toThrow(
      'Run "run" refuses "pause": why: expected at most 500 characters, found 501. See `srlm status run`. [run.refused]',
    );
    await expect(ours.send('run', 'pause', { set: 1 } as never)).rejects.toThrow(
      'set: there is no such field (the fields of pause are who, why).',
    );
    expect(sent).toHaveLength(0);
  });
});

describe('a command that meets the end of an execution', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['Date', 'performance'] });
    return () => vi.useRealTimers();
  });

  it('is sent again with the same id, so that it counts once', async () => {
    const answers = [closing(), busy(9, 'unexpected workflow task failure.'), busy(8), busy(14), ''];
    const { operator: ours, sent } = operator(stateOf(), { answers });
    await ours.send('run', 'pause', {});
    expect(sent).toHaveLength(5);
    expect(new Set(sent.map(({ updateId }) => updateId)).size).toBe(1);
  });

  it('is refused when the run has ended with it', async () => {
    const statuses = ['RUNNING', 'COMPLETED'];
    const handle = {
      executeUpdate: async () => {
        throw closing();
      },
      describe: async () => describedAs({ status: statuses.shift()! }),
    };
    const look = async () => ({ described: describedAs({}), state: stateOf(), halt: null });
    const ours = sender({ workflow: { getHandle: () => handle } }, look);
    await expect(ours.send('run', 'pause', {})).rejects.toThrow('Run "run" refuses "pause": it has ended (done).');
  });

  it('is given up after half a minute of errors, and at once after an error that does not pass', async () => {
    const { operator: ours, sent } = operator(stateOf(), { answers: [busy(14)] });
    await expect(ours.send('run', 'pause', {})).rejects.toThrow(ServiceError);
    expect(sent.length).toBeGreaterThan(50);
    const { operator: other, sent: once } = operator(stateOf(), { answers: [busy(7)] });
    await expect(other.send('run', 'pause', {})).rejects.toThrow(ServiceError);
    expect(once).toHaveLength(1);
  });
});
