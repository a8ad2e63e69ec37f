/**
 * Reads the executions of a run, in order, into the entries of its timeline. Keeps no history, so a run of a hundred
 * rounds need not fit into memory. Workers, commands, halts and the end are read here, steps and rounds in files of
 * their own. Where a step begins, and where the run is parked or waiting, comes from the memo. Pure.
 */
import { CommandName, type Settings, updateName } from '../contracts/commands.js';
import { End, OperatorRecord, type Phase, RunMemo, RunProgress, RunResult } from '../contracts/run.js';
import { EntryLog } from './entry-log.js';
import {
  decoded,
  type Event,
  type Execution,
  isClosed,
  isoOf,
  rootOf,
  secondsBetween,
  value,
  values,
  versionOf,
} from './events.js';
import { RoundReader } from './rounds-of-history.js';
import { type Activity, type RecordRef, StepReader } from './steps-of-history.js';
import type { Entry, EntryOf, InterventionEntry } from './timeline.js';

export interface ExecutionFacts {
  runId: string;
  /** false: its history is no longer available. */
  known: boolean;
  startedAt: string | null;
  /** The last round it has begun; null: none. */
  round: number | null;
  events: number;
  closed: boolean;
}

interface Start {
  type: string;
  identity: string;
  /** When the run began: known even where its first history is missing. */
  at: string;
  args: unknown[];
}

type EndKind = End['kind'];

const isEnd = (phase: Phase): phase is EndKind => End.shape.kind.safeParse(phase).success;
const COMMANDS = new Map<string, CommandName>(CommandName.options.map((name) => [updateName(name), name]));
/** They answer a parked step or an approval. */
const ANSWERS = new Set<string>(['retry', 'skip', 'approve', 'reject', 'abort'] satisfies CommandName[]);

export class HistoryReader {
  readonly executions: ExecutionFacts[] = [];
  start: Start | null = null;
  phase: Phase = 'running';
  /** Settings that operators have changed, in the order in which they are applied. */
  settings: Settings[] = [];
  private readonly log = new EntryLog();
  private readonly steps = new StepReader(this.log);
  private readonly rounds = new RoundReader(this.log);
  /** Decisions of the execution that is being read. */
  private readonly decisions = new Set<string>();
  private microBatchSize: number | undefined;
  private halt: { since: string; entry: EntryOf<'parked'> | EntryOf<'waiting'> } | null = null;
  private worker = '';
  private lost: string[] = [];
  private lastEvent: Event | null = null;
  private isEnded = false;

  read({ runId, history }: Execution): void {
    const first = history?.events[0];
    if (!history || !first) {
      this.lost.push(runId);
      this.executions.push({ runId, known: false, startedAt: null, round: null, events: 0, closed: true });
      return;
    }
    this.log.nextExecution();
    this.addGaps({ ...first, eventId: '0' });
    this.decisions.clear();
    this.microBatchSize = undefined;
    for (const event of history.events) this.readEvent(event);
    this.lastEvent = history.events.at(-1)!;
    const closed = isClosed({ history });
    // An export that a run makes of itself ends before the run does; its memo has the end already.
    if (!closed && isEnd(this.phase)) this.addEnd(this.lastEvent, this.phase, { message: null });
    this.steps.endExecution(closed || this.isEnded);
    const { current: round } = this.rounds;
    this.executions.push({ runId, known: true, startedAt: isoOf(first), round, events: history.events.length, closed });
  }

  entries(): Entry[] {
    if (this.lastEvent) this.addGaps({ ...this.lastEvent, eventId: String(Number(this.lastEvent.eventId) + 1) });
    return this.log.entries();
  }

  recordRefs(): RecordRef[] {
    return this.steps.recordRefs();
  }

  private readEvent(event: Event): void {
    this.readStart(event);
    this.readWorker(event);
    this.readCommand(event);
    this.readMemo(event);
    this.readActivity(event);
    this.readEnd(event);
  }

  private addGaps(event: Event): void {
    for (const runId of this.lost)
      this.log.add(event, null, 'gap', { message: `The history of execution ${runId} is no longer available.` });
    this.lost = [];
  }

  private readStart(event: Event): void {
    const started = event.workflowExecutionStartedEventAttributes;
    if (!started) return;
    const args = values(started.input);
    const [input, record, progress] = args;
    this.rounds.startExecution(args);
    this.settings = settingsOf(record);
    if (this.start) return;
    const { identity = '', workflowType, continuedExecutionRunId } = started;
    const at = RunProgress.safeParse(progress).data?.startedAt ?? isoOf(event);
    this.start = { type: workflowType.name, identity, at, args };
    if (continuedExecutionRunId) return;
    const { settings } = (input ?? {}) as { settings?: { rounds?: number } };
    this.log.add(event, null, 'started', { by: identity, lastRound: settings?.rounds ?? null });
  }

  private readWorker(event: Event): void {
    const task = event.workflowTaskCompletedEventAttributes;
    if (!task) return;
    const worker = { identity: task.identity ?? '', version: versionOf(task) };
    if (JSON.stringify(worker) === this.worker) return;
    this.worker = JSON.stringify(worker);
    this.log.add(event, this.rounds.current, 'worker', worker);
  }

  // --- interventions ------------------------------------------------------------------------------------------------

  private readCommand(event: Event): void {
    const { name, args } = event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.input ?? {};
    const command = COMMANDS.get(name ?? '');
    if (command) {
      const sent = (value(args) ?? {}) as Partial<InterventionEntry> & { round?: number };
      const { who = '', why = '', set = null, fromRound = null, after = null, round: promoted = null } = sent;
      const step = ANSWERS.has(command) ? this.halted() : null;
      this.intervene(event, { command, who, why, set, fromRound, after, promoted, step });
      if (set) this.settings.push(set);
    }
    const cancel = event.workflowExecutionCancelRequestedEventAttributes;
    if (cancel) this.intervene(event, { command: 'cancel', who: cancel.identity ?? '', why: cancel.cause ?? '' });
  }

  private halted(): string | null {
    const entry = this.halt?.entry;
    return entry ? (entry.kind === 'parked' ? entry.step : entry.approval) : null;
  }

  private intervene(
    event: Event,
    fields: Pick<InterventionEntry, 'command' | 'who' | 'why'> & Partial<InterventionEntry>,
  ) {
    const blank = { step: null, set: null, fromRound: null, after: null, promoted: null };
    this.log.add(event, this.rounds.current, 'intervention', { ...blank, ...fields });
  }

  /** A choice of the run itself. Each shard in flight reports what happens to the engine that all of them share. */
  private decide(event: Event, why: string, set: Settings | null): void {
    const known = JSON.stringify([why, set]);
    if (this.decisions.has(known)) return;
    this.decisions.add(known);
    this.intervene(event, { command: 'decision', who: 'srlm', why, set, step: this.steps.current });
  }

  // --- memo: where the run is ---------------------------------------------------------------------------------------

  private readMemo(event: Event): void {
    const memo = RunMemo.safeParse(
      decoded(event.workflowPropertiesModifiedEventAttributes?.upsertedMemo?.fields?.srlm),
    );
    if (!memo.success) return;
    const { phase, round, step, halt } = memo.data;
    this.phase = phase;
    this.rounds.enter(event, round);
    if (this.halt && this.halt.since !== halt?.since) {
      this.halt.entry.until = isoOf(event);
      this.halt = null;
    }
    if (halt && !this.halt) {
      const entry =
        halt.kind === 'waiting'
          ? this.log.add(event, round, 'waiting', { approval: halt.approval, until: null })
          : this.log.add(event, round, 'parked', {
              ...{ step: halt.step, type: halt.type, message: halt.message, attempts: halt.attempts, until: null },
            });
      this.halt = { since: halt.since, entry };
    }
    this.steps.enter(halt || isEnd(phase) ? null : step, round);
  }

  // --- activities ---------------------------------------------------------------------------------------------------

  private readActivity(event: Event): void {
    if (event.activityTaskScheduledEventAttributes) {
      const activity = this.steps.scheduled(event, this.rounds.current);
      this.rounds.scheduled(activity);
      this.readMicroBatch(event, activity);
    }
    if (event.activityTaskStartedEventAttributes) this.steps.started(event);
    const closed = this.steps.closed(event);
    if (!closed) return;
    this.rounds.closed(event, closed);
    if (!closed.failure) return;
    const { type, message } = rootOf(closed.failure);
    if (type === 'engine.batch-halved') this.decide(event, message, null);
  }

  private readMicroBatch(event: Event, { type, input }: Activity): void {
    if (type !== 'srlmFineTune') return;
    const { microBatchSize } = (input ?? {}) as { microBatchSize?: number };
    if (microBatchSize !== undefined && microBatchSize !== this.microBatchSize)
      this.decide(event, 'memory ran out; gradients are accumulated', { microBatchSize });
    this.microBatchSize = microBatchSize;
  }

  // --- end ----------------------------------------------------------------------------------------------------------

  private readEnd(event: Event): void {
    const continued = event.workflowExecutionContinuedAsNewEventAttributes;
    if (continued) {
      const args = values(continued.input);
      this.rounds.continued(event, args);
      this.settings = settingsOf(args[1]);
    }
    const done = event.workflowExecutionCompletedEventAttributes;
    const failed = event.workflowExecutionFailedEventAttributes;
    const killed = event.workflowExecutionTerminatedEventAttributes;
    const isCanceled = event.workflowExecutionCanceledEventAttributes !== undefined;
    const isTimedOut = event.workflowExecutionTimedOutEventAttributes !== undefined;
    const root = rootOf(failed?.failure);
    if (done) {
      const result = RunResult.safeParse(value(done.result)).data;
      this.addEnd(event, result?.stopped ? 'stopped' : 'done', { message: null, result });
    } else if (failed) {
      const state = root.type === 'run.stopped' ? 'stopped' : root.type === 'run.aborted' ? 'aborted' : 'failed';
      this.addEnd(event, state, { message: root.message });
    } else if (killed) {
      this.addEnd(event, 'aborted', { message: `Terminated by ${killed.identity}: ${killed.reason}` });
    } else if (isCanceled) this.addEnd(event, 'aborted', { message: null });
    else if (isTimedOut) this.addEnd(event, 'failed', { message: 'It took longer than it may.' });
  }

  private addEnd(
    event: Event,
    state: EndKind,
    { message, result }: { message: string | null; result?: RunResult | undefined },
  ) {
    this.isEnded = true;
    this.phase = state;
    if (this.halt) this.halt.entry.until = isoOf(event);
    this.rounds.end(event, state);
    this.log.add(event, null, 'ended', {
      ...{ state, message, best: result?.best ?? null, model: result?.model.sha256 ?? null },
      seconds: secondsBetween(this.start?.at ?? isoOf(event), isoOf(event)),
    });
  }
}

const settingsOf = (record: unknown): Settings[] =>
  (OperatorRecord.safeParse(record).data?.changes ?? []).map(({ set }) => set);
