/**
 * What a run is doing: its state by a query, which a worker answers; without one, what its memo says. Finished rounds
 * are read from the store, the progress of running activities from their heartbeats. A description is read first: while
 * the history has not grown, the last answer still holds, and a query costs money on Temporal Cloud.
 */
import type { Client } from '@temporalio/client';
import { TerminatedFailure } from '@temporalio/common';
import pLimit from 'p-limit';
import { STATE_QUERY } from '../contracts/commands.js';
import type { Deployment } from '../contracts/deployment.js';
import { Problem } from '../contracts/errors.js';
import type { ObjectRef, Usage } from '../contracts/refs.js';
import { RoundReport } from '../contracts/report.js';
import {
  type CodeFailure,
  type Phase,
  phaseOf,
  type RunMemo,
  RunState,
  type RunStatus,
  type StepState,
} from '../contracts/run.js';
import { RoundTable } from '../contracts/steps.js';
import { addUsage, NO_USAGE } from '../method/budget.js';
import { alarms } from '../method/watch/alarms.js';
import type { Store } from '../storage/store.js';
import { codeFailureOf, unpolledQueues } from './diagnosis.js';
import {
  chainStartedAt,
  type Described,
  describe,
  exportWarnings,
  hasEnded,
  isOver,
  listExecutions,
  liveActivities,
  memoOf,
  phaseBy,
} from './executions.js';

/** Temporal's own search attribute of an execution whose workflow task has failed five times. */
const REPORTED = 'TemporalReportedProblems';
/** Descriptions read at the same time. */
const AT_ONCE = 4;
/** A worker that has just taken a run over answers within this. */
const QUERY_MS = 5000;
/** Before a command it is worth waiting longer: right after a worker was killed, an answer takes 10 s. */
export const COMMAND_QUERY_MS = 15_000;

export interface RunListing {
  runId: string;
  kind: 'run' | 'sample' | 'catalysts';
  state: Phase;
  round: number | null;
  lastRound: number | null;
  step: string | null;
  startedAt: string;
  endedAt: string | null;
  codeFailure: CodeFailure | null;
  /** Why what the run shows of itself is missing here; absent: nothing is missing. */
  undecoded?: string;
}

/** What is known of a run in one look: `state` is null where no worker answered, and the memo is the last known. */
export interface Look {
  described: Described;
  memo: RunMemo | null;
  codeFailure: CodeFailure | null;
  state: RunState | null;
  phase: Phase;
  halt: RunState['halt'];
}

export class RunReader {
  /** The last table that was read: `watch` asks every second. */
  private table: { sha256: string; content: RoundTable } | null = null;
  private readonly reports = new Map<string, RoundReport>();
  /** By run, the last answer of a worker and how long the history was before it. */
  private readonly answers = new Map<string, { at: string; state: RunState }>();

  constructor(
    private readonly temporal: Client,
    private readonly deployment: Deployment,
    private readonly store: () => Store,
  ) {}

  async look(runId: string, withinMs = QUERY_MS): Promise<Look> {
    const described = await describe(this.temporal, runId);
    const memo = memoOf(described.memo);
    const codeFailure = await codeFailureOf(this.temporal, described);
    // Code that fails answers nothing, and would be waited for.
    const state = codeFailure ? null : await this.stateOf(described, withinMs);
    const phase = phaseBy(described.status.name, state ? phaseOf(state) : (memo?.phase ?? null));
    const halt = hasEnded(described.status.name) ? null : ((state ?? memo)?.halt ?? null);
    return { described, memo, codeFailure, state, phase, halt };
  }

  /** Throws run.unknown. */
  async status(runId: string): Promise<RunStatus> {
    const look = await this.look(runId);
    const { described, memo, codeFailure, state, phase, halt } = look;
    const { table, problem } = await this.tableOf((state ?? memo)?.table ?? null);
    const { reports, problem: unreported } = await this.reportsOf(table);
    const hasFailed = phase === 'failed' || phase === 'aborted' || phase === 'stopped';
    return {
      runId,
      state: phase,
      stale: state === null,
      codeFailure,
      unpolled: await unpolledQueues(this.temporal, this.deployment, described, codeFailure !== null || state !== null),
      startedAt: state?.startedAt ?? (await chainStartedAt(this.temporal, described)).toISOString(),
      endedAt: endedAtOf(described),
      round: (state ?? memo)?.round ?? null,
      lastRound: (state ?? memo)?.lastRound ?? null,
      steps: stepsOf(state, table),
      live: await liveActivities(this.temporal, described),
      halt,
      best: state?.best?.round ?? null,
      final: (state?.final === 'last' ? state.head?.round : null) ?? state?.best?.round ?? null,
      rounds: table?.rounds ?? [],
      ...(reports.length > 0 ? { reports } : {}),
      warnings: [
        ...(state?.warnings ?? []),
        ...endingWarnings(look),
        ...[problem, unreported].filter((one) => one !== null),
        ...alarmsOf(table),
      ],
      interventions: state?.interventions ?? [],
      interventionCount: state?.interventionCount ?? 0,
      usage: state?.usage ?? usageOf(table),
      forkOf: memo?.forkOf ?? null,
      failure: hasFailed ? (state?.end?.message ?? (await this.failureOf(runId))) : null,
    };
  }

  /**
   * All runs, in the order of Temporal's list. Asks no run: the memo has what is listed. Of those that Temporal itself
   * reports a problem of, the failure of their code is read.
   */
  async list(): Promise<RunListing[]> {
    const byId = new Map<string, Listed[]>();
    const reported: string[] = [];
    for await (const info of listExecutions(this.temporal)) {
      if (REPORTED in info.searchAttributes && info.status.name === 'RUNNING') reported.push(info.workflowId);
      const known = byId.get(info.workflowId);
      if (known) known.push(info);
      else byId.set(info.workflowId, [info]);
    }
    const runs = [...byId.values()].flatMap(chainsOf);
    const limit = pLimit(AT_ONCE);
    const describing = runs.map((run) =>
      limit(async () => {
        if (run.endedAt || !reported.includes(run.runId)) return;
        const described = await describe(this.temporal, run.runId);
        run.codeFailure = await codeFailureOf(this.temporal, described);
      }),
    );
    await Promise.all(describing);
    return runs;
  }

  private async stateOf(described: Described, withinMs: number): Promise<RunState | null> {
    const { workflowId, runId, historyLength } = described;
    const at = `${runId} ${historyLength}`;
    const known = this.answers.get(workflowId);
    if (known?.at === at) return known.state;
    const state = await this.query(workflowId, withinMs);
    if (state) this.answers.set(workflowId, { at, state });
    return state;
  }

  private async query(runId: string, withinMs: number): Promise<RunState | null> {
    try {
      const handle = this.temporal.workflow.getHandle(runId);
      const answer = await this.temporal.withDeadline(Date.now() + withinMs, () => handle.query(STATE_QUERY));
      return RunState.parse(answer);
    } catch {
      return null; // No worker, or a run of another version.
    }
  }

  private async tableOf(ref: ObjectRef | null): Promise<{ table: RoundTable | null; problem: string | null }> {
    if (!ref) return { table: null, problem: null };
    try {
      if (this.table?.sha256 !== ref.sha256)
        this.table = { sha256: ref.sha256, content: await this.store().objects.readJson(ref, RoundTable) };
      return { table: this.table.content, problem: null };
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return {
        table: null,
        problem: `The finished rounds cannot be shown: ${error.message} (Is the worker's artifactRoot another one?)`,
      };
    }
  }

  /** Reports never change, so each is read once. */
  private async reportsOf(
    table: RoundTable | null,
  ): Promise<{ reports: NonNullable<RunStatus['reports']>; problem: string | null }> {
    const reports: NonNullable<RunStatus['reports']> = [];
    try {
      for (const { round, report: ref } of table?.rounds ?? []) {
        if (!ref) continue;
        const report = this.reports.get(ref.sha256) ?? (await this.store().objects.readJson(ref, RoundReport));
        this.reports.set(ref.sha256, report);
        reports.push({ round, report });
      }
      return { reports, problem: null };
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return { reports, problem: `Not every report can be shown: ${error.message}` };
    }
  }

  private async failureOf(runId: string): Promise<string | null> {
    try {
      await this.temporal.workflow.getHandle(runId).result();
      return null;
    } catch (error) {
      let cause = error as Error;
      while (cause.cause instanceof Error) cause = cause.cause;
      return cause instanceof TerminatedFailure ? `Terminated: ${cause.message}` : cause.message;
    }
  }
}

/** Steps of the preparation are in the state of the first execution only, and in the table from then on. */
function stepsOf(state: RunState | null, table: RoundTable | null): StepState[] {
  if (!state) return [];
  if (!table || state.steps.some(({ round }) => round === null)) return state.steps;
  const preparation = table.preparation.map(
    ({ counts = null, ...cost }): StepState => ({
      ...cost,
      counts,
      round: null,
      state: 'done',
      rowsDone: null,
      rowsTotal: null,
      startedAt: state.startedAt,
    }),
  );
  return [...preparation, ...state.steps];
}

/** Signs of a collapse in the finished rounds. */
const alarmsOf = (table: RoundTable | null): string[] => alarms(table?.rounds ?? []).map(({ text }) => text);

/** What the finished rounds used: all that is known when no worker answers. */
function usageOf(table: RoundTable | null): Usage {
  const costs = table ? [...table.preparation, ...table.rounds.flatMap(({ steps }) => steps)] : [];
  return costs.reduce((sum, { usage }) => (usage ? addUsage(sum, usage) : sum), NO_USAGE);
}

/** The last export takes seconds; longer than this, something keeps it from ending. */
const EXPORT_MS = 60_000;

/** What cannot be shown; and why its histories are not exported, also where that keeps a finished run from ending. */
function endingWarnings({ described, memo, state }: Look): string[] {
  const { undecoded } = described;
  const unknown = undecoded ? [`what the run shows of itself is missing here: ${undecoded.message}`] : [];
  const warnings = [...unknown, ...exportWarnings(described)];
  const over = state ? state.end?.kind : isOver(memo?.phase ?? null) && memo?.phase;
  const sinceMs = state?.end ? Date.now() - Date.parse(state.end.at) : Number.POSITIVE_INFINITY;
  if (hasEnded(described.status.name) || !over || sinceMs < EXPORT_MS) return warnings;
  return [`the run is over (${over}) and exports its history, for which a worker has to be up`, ...warnings];
}

const endedAtOf = ({ status, closeTime }: Pick<Listed, 'status' | 'closeTime'>): string | null =>
  hasEnded(status.name) ? (closeTime?.toISOString() ?? null) : null;

type Listed = Pick<Described, 'workflowId' | 'type' | 'status' | 'memo' | 'startTime' | 'closeTime' | 'undecoded'>;

/** Executions of one workflow id -> runs: those that continued as new belong to the one after them. */
export function chainsOf(executions: readonly Listed[]): RunListing[] {
  const inOrder = [...executions].sort((a, b) => a.startTime.getTime() - b.startTime.getTime());
  const runs: RunListing[] = [];
  let startedAt: Date | null = null;
  for (const [i, execution] of inOrder.entries()) {
    const { workflowId, type, status, startTime } = execution;
    startedAt ??= startTime;
    // The next execution may not be listed yet: then this one is the newest there is.
    if (status.name === 'CONTINUED_AS_NEW' && i < inOrder.length - 1) continue;
    const memo = memoOf(execution.memo);
    runs.push({
      runId: workflowId,
      kind: type === 'srlmRun' ? 'run' : type === 'srlmSample' ? 'sample' : 'catalysts',
      state: phaseBy(status.name, memo?.phase ?? null),
      round: memo?.round ?? null,
      lastRound: memo?.lastRound ?? null,
      step: memo?.halt?.kind === 'parked' ? memo.halt.step : (memo?.step ?? null),
      startedAt: startedAt.toISOString(),
      endedAt: endedAtOf(execution),
      codeFailure: null,
      ...(execution.undecoded ? { undecoded: execution.undecoded.message } : {}),
    });
    startedAt = null;
  }
  return runs;
}
