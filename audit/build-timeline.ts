/** Histories of a run and its rounds, and the step records behind them, as one account in order of time. Pure. */
import { RunInput } from '../contracts/steps.js';
import { Account, type Entry } from './account.js';
import { type Execution, instant, isoOf, type Recorded, startOf } from './events.js';
import type { Records } from './records.js';
import type { Told } from './told.js';
import { readWorkflow } from './workflow.js';

/** The first history is the run's; the others are of its rounds, in any order. */
export function tell([run, ...rounds]: readonly [Recorded, ...Recorded[]], records: Records): Account {
  const { workflowId } = run;
  const { type, runId, input } = startOf(run);
  const told = [
    ...readWorkflow(run, workflowId, null, records),
    ...rounds.flatMap((round) => readWorkflow(round, workflowId, roundOf(round), records)),
    ...gaps(run, rounds),
  ].sort((a, b) => (a.order < b.order ? -1 : a.order > b.order ? 1 : 0));
  const entries = withoutEchoes(told.map(({ entry }) => entry));
  const end = entries.findLast((entry) => entry.kind === 'ended');
  const fork = RunInput.safeParse(input).data?.fork;
  return Account.parse({
    version: 1,
    run: workflowId,
    execution: runId,
    type: type === 'srlmSample' ? 'sample' : 'run',
    state: end?.state ?? stateOf(entries),
    startedAt: isoOf(run.history.events[0]!),
    endedAt: end?.at ?? null,
    // What the fork was for is the last of its changes; the others it has from its parent.
    fork: fork ? { of: fork.of, fromRound: fork.fromRound, set: fork.changes.at(-1)?.set ?? {} } : null,
    entries,
  });
}

export function roundOf(recorded: Recorded): number | null {
  const { round } = (startOf(recorded).input ?? {}) as { round?: number };
  return round ?? null;
}

/** Run and rounds have the same worker: one that is told once need not be told again. */
function withoutEchoes(entries: Entry[]): Entry[] {
  let known = '';
  return entries.filter((entry) => {
    if (entry.kind !== 'worker') return true;
    const worker = `${entry.identity} ${entry.version}`;
    const isNew = worker !== known;
    known = worker;
    return isNew;
  });
}

function gaps(run: Recorded, rounds: readonly Recorded[]): Told[] {
  const known = new Set(rounds.map((round) => startOf(round).runId));
  return run.history.events.flatMap((event): Told[] => {
    const { workflowExecution: child } = event.childWorkflowExecutionStartedEventAttributes ?? {};
    if (!child || known.has(child.runId)) return [];
    const message = `The history of ${child.workflowId} is no longer there.`;
    return [{ order: instant(event), entry: { kind: 'gap', at: isoOf(event), round: numberOf(child), message } }];
  });
}

const numberOf = ({ workflowId }: Execution) => Number(/\.round-(\d+)$/.exec(workflowId)?.[1] ?? Number.NaN) || 0;

/** Of a run that goes on. */
function stateOf(entries: readonly Entry[]): Account['state'] {
  if (entries.some((entry) => entry.kind === 'parked' && entry.until === null)) return 'parked';
  if (entries.some((entry) => entry.kind === 'waiting' && entry.until === null)) return 'waiting';
  const pause = entries.findLast(
    (entry) => entry.kind === 'intervention' && ['pause', 'resume', 'stop'].includes(entry.what),
  );
  return pause?.kind === 'intervention' && pause.what === 'pause' ? 'paused' : 'running';
}
