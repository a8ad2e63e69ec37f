/**
 * Commands to a run: one `send` over the table in contracts/commands.ts. A command is an Update to the run's workflow
 * id, whichever of its executions takes it. Throws run.unknown, run.not-parked, run.refused.
 */
import { randomUUID } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, WorkflowNotFoundError, WorkflowUpdateFailedError } from '@temporalio/client';
import type { z } from 'zod';
import { COMMANDS, type CommandName, updateName } from '../contracts/commands.js';
import { commandRefused, runNotParked } from '../contracts/errors.js';
import type { Intervention, Parked, RunState, Waiting } from '../contracts/run.js';
import { describe } from './executions.js';
import { COMMAND_QUERY_MS, hasEnded, type RunReader } from './status.js';

/** The fields of a command, but for those that `send` fills in. */
export type CommandFields<Name extends CommandName> = Omit<z.input<(typeof COMMANDS)[Name]>, 'who' | 'answers'>;

/** What a command answers: the step that is parked, an approval, or (`abort`) whichever of them there is. */
const ANSWERED: Partial<Record<CommandName, 'parked' | 'waiting' | 'any'>> = {
  ...{ retry: 'parked', skip: 'parked', approve: 'waiting', reject: 'waiting', abort: 'any' },
};

/** gRPC codes: CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE. */
const PASSING = [1, 4, 8, 14];
const FAILED_PRECONDITION = 9;
const RETRY_MS = 250;
const RETRY_FOR_MS = 30_000;
const WAITING_MS = 5000;

export class Operator {
  constructor(
    private readonly temporal: Client,
    private readonly reader: RunReader,
  ) {}

  /** Returns what the command was about: a step, an approval or a round. */
  async send<Name extends CommandName>(runId: string, name: Name, fields: CommandFields<Name>): Promise<string> {
    const { state, halt, described } = await this.reader.look(runId, COMMAND_QUERY_MS);
    const answered: 'parked' | 'waiting' | 'any' | undefined = ANSWERED[name];
    const open = halt && (answered === 'any' || answered === halt.kind) ? halt : null;
    const ended = hasEnded(described.status.name);
    // Where no worker answered, the run itself will say whether there is something to answer.
    if ((answered === 'parked' || answered === 'waiting') && !open && (state || ended)) {
      throw runNotParked(runId, WORDS[answered], lastAnswer(state));
    }
    if (ended) throw commandRefused(runId, name, 'it has ended');
    const command = COMMANDS[name].safeParse({
      who: `${userInfo().username}@${hostname()}`.slice(0, 120),
      ...(open ? { answers: open.since } : {}),
      ...fields,
    });
    if (!command.success) {
      const issue = command.error.issues[0]!;
      throw commandRefused(runId, name, `${issue.path.join('.')}: ${issue.message}`);
    }
    return this.update(runId, name, command.data);
  }

  /**
   * One id for all tries: an execution applies a command once, however often it arrives. Waits for a worker as long as it
   * takes; errors that pass are retried for a while.
   */
  private async update(runId: string, name: CommandName, command: unknown): Promise<string> {
    const options = { args: [command] as [unknown], updateId: randomUUID() };
    const handle = this.temporal.workflow.getHandle(runId);
    for (let failingSince: number | null = null; ; await sleep(RETRY_MS)) {
      const startedAt = Date.now();
      try {
        return await handle.executeUpdate<string, [unknown]>(updateName(name), options);
      } catch (error) {
        if (error instanceof WorkflowUpdateFailedError)
          throw commandRefused(runId, name, (error.cause?.message ?? error.message).replace(/\.$/, ''));
        if (!(await this.mayPass(runId, name, error))) throw error;
        // A try that lasted was waiting for a worker.
        if (failingSince === null || Date.now() - startedAt > WAITING_MS) failingSince = startedAt;
        if (Date.now() - failingSince > RETRY_FOR_MS) throw error;
      }
    }
  }

  /** The execution ended before it took the command, and another follows; or Temporal could not take it just now. */
  private async mayPass(runId: string, name: CommandName, error: unknown): Promise<boolean> {
    if (error instanceof WorkflowNotFoundError) {
      const { status } = await describe(this.temporal, runId);
      if (hasEnded(status.name)) throw commandRefused(runId, name, 'it has ended');
      return true;
    }
    const { code, details } = ((error as Error).cause ?? error) as { code?: number; details?: string };
    // A task that was to end in continue-as-new failed: nothing of it was applied.
    if (code === FAILED_PRECONDITION) return details?.includes('unexpected workflow task failure') === true;
    return code !== undefined && PASSING.includes(code);
  }
}

const WORDS: Record<(Parked | Waiting)['kind'], string> = { parked: 'parked', waiting: 'waiting for approval' };

function lastAnswer(state: RunState | null): string | undefined {
  const last = state?.interventions.findLast(({ answers }) => answers !== null);
  return last && describeAnswer(last);
}

const describeAnswer = ({ kind, at, step, who, why }: Intervention): string =>
  `${kind} at ${at}, ${step}, by ${who}${why && `: ${why}`}`;
