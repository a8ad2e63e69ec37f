/**
 * Sends operators' commands to a run while faults are at work, and checks afterwards that every one that was answered is
 * on record exactly once. Each has an id of its own and is sent again under it until it is answered, as client/operate.ts
 * does; unlike there, the run is not looked at first, so that a command can arrive at any moment.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowNotFoundError, WorkflowUpdateFailedError } from '@temporalio/client';
import type { SrlmClient } from '../../client/client.js';
import { type CommandName, STATE_QUERY, updateName } from '../../contracts/commands.js';
import type { RunState } from '../../contracts/run.js';

const ANSWERED_WITHIN_MS = 60_000;
const RETRY_MS = 200;
/** No run uses so many tokens. */
const PLENTY = 1_000_000_000;

export class Commands {
  private runId = '';
  private answered = 0;
  /** No answer came: the run may have taken it or not. */
  private unknown = 0;
  private budget: number | null = null;
  private budgets = 0;

  constructor(private readonly client: () => SrlmClient) {}

  begin(runId: string): void {
    Object.assign(this, { runId, answered: 0, unknown: 0, budget: null });
  }

  /** `twice`: it is sent once more under its id after it was answered, as by a client that missed the answer. */
  async send(name: CommandName, fields: object, twice = false): Promise<boolean> {
    const { workflow } = this.client().temporal;
    const options = { args: [{ who: 'chaos', why: '', ...fields }] as [object], updateId: randomUUID() };
    let sent = 0;
    for (const until = Date.now() + ANSWERED_WITHIN_MS; Date.now() < until; await sleep(RETRY_MS)) {
      try {
        await workflow.getHandle(this.runId).executeUpdate<string, [object]>(updateName(name), options);
        if (sent++ === 0) this.answered++;
        if (!twice || sent === 2) return true;
      } catch (error) {
        // Refused, or the run has ended.
        if (error instanceof WorkflowUpdateFailedError) return sent > 0;
        if (error instanceof WorkflowNotFoundError && (await this.hasEnded())) return sent > 0;
      }
    }
    if (sent === 0) this.unknown++;
    return sent > 0;
  }

  async setBudget(twice: boolean): Promise<void> {
    const tokens = PLENTY + ++this.budgets;
    if (await this.send('set', { set: { 'budget.tokens': tokens }, fromRound: null }, twice)) this.budget = tokens;
  }

  /** A command that was sent by the client itself. `answered` false: it threw. */
  count(answered: boolean): void {
    if (answered) this.answered++;
    else this.unknown++;
  }

  /** What does not hold, in words. */
  async problems(): Promise<string[]> {
    const state = await this.state();
    if (!state) return ['its state cannot be read'];
    const { interventionCount: known, changes, paused } = state;
    const { answered, unknown, budget } = this;
    const set = changes.findLast(({ set }) => 'budget.tokens' in set)?.set['budget.tokens'] ?? null;
    return [
      ...(known < answered || known > answered + unknown
        ? [`${answered} commands were answered, ${unknown} may have been, and ${known} are on record`]
        : []),
      ...(set !== budget && unknown === 0 ? [`the budget was set to ${budget} and is ${set}`] : []),
      ...(paused ? ['it ended paused'] : []),
    ];
  }

  private async state(): Promise<RunState | null> {
    const { temporal } = this.client();
    for (let tries = 0; tries < 5; tries++) {
      const handle = temporal.workflow.getHandle(this.runId);
      const asked = temporal.withDeadline(Date.now() + 15_000, () => handle.query<RunState>(STATE_QUERY));
      const state = await asked.catch(() => null);
      if (state) return state;
    }
    return null;
  }

  private async hasEnded(): Promise<boolean> {
    const described = await this.client().temporal.workflow.getHandle(this.runId).describe();
    return described.status.name !== 'RUNNING' && described.status.name !== 'CONTINUED_AS_NEW';
  }
}
