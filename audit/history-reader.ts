/**
 * Reads the executions of a run, in order, into its timeline. Keeps no history, so a run of a hundred rounds need not
 * fit into memory. Workers, commands, halts and the end are read here, steps and rounds in files of their own. Where a
 * step begins, and where the run is parked or waiting, comes from the memo. What cannot be read is left out. Pure.
 */
import { z } from 'zod';
import { answeredBy, CommandName, Settings, updateName } from '../contracts/commands.js';
import { runUnknown } from '../contracts/errors.js';
import {
  End,
  type Halt,
  OperatorRecord,
  type Phase,
  RunInput,
  RunMemo,
  RunProgress,
  RunResult,
} from '../contracts/run.js';
import {
  continuedOf,
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
import type { RunHistories } from './load.js';
import { RoundReader } from './rounds-of-history.js';
import { type Activity, StepReader } from './steps-of-history.js';
import { EntryLog, type EntryOf, type InterventionEntry, type Timeline } from './timeline.js';

interface ExecutionFacts {
  runId: string;
  /** false: its history is no longer available. */
  known: boolean;
  startedAt: string | null;
  /** The last round it has begun; null: none. */
  round: number | null;
  events: number;
  closed: boolean;
  /** What of it could not be decoded; null: nothing. */
  undecoded: string | null;
}

interface Start {
  type: string;
  /** When the run began: known even where its first history is missing. */
  at: string;
  args: unknown[];
}

type EndKind = End['kind'];
/** Workflow type -> what kind of run it is. */
const TYPES: Record<string, Timeline['type']> = { srlmSample: 'sample', srlmCatalysts: 'catalysts' };

const isEnd = (phase: Phase): phase is EndKind => End.shape.kind.safeParse(phase).success;

interface RunEnd {
  state: EndKind;
  message: string | null;
  result?: RunResult | undefined;
}

/** Under a codec it is among the details (client/operate.ts). */
const reasonOf = (terminated: Event['workflowExecutionTerminatedEventAttributes']): string => {
  const detail = value(terminated?.details);
  return typeof detail === 'string' ? detail : (terminated?.reason ?? '');
};

/** By the type of an execution's last event. One that continues as another has not ended the run. */
const ENDS: Record<string, (event: Event) => RunEnd> = {
  EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: ({ workflowExecutionCompletedEventAttributes: completed }) => {
    const result = RunResult.safeParse(value(completed?.result)).data;
    return { state: result?.stopped ? 'stopped' : 'done', message: null, result };
  },
  EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: ({ workflowExecutionFailedEventAttributes: failed }) => {
    const { type, message } = rootOf(failed?.failure);
    return { state: type === 'run.stopped' ? 'stopped' : type === 'run.aborted' ? 'aborted' : 'failed', message };
  },
  EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: ({ workflowExecutionTerminatedEventAttributes: terminated }) => ({
    state: 'aborted',
    message: `Terminated by ${terminated?.identity}: ${reasonOf(terminated)}`,
  }),
  EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: () => ({ state: 'aborted', message: null }),
  EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: () => ({ state: 'failed', message: 'It took longer than it may.' }),
};

const COMMANDS = new Map<string, CommandName>(CommandName.options.map((name) => [updateName(name), name]));
const Sent = z.looseObject({ who: z.string().catch(''), why: z.string().catch('') });
/** Not strict: the memo of another version may have other fields. */
const Memo = z.object(RunMemo.pick({ phase: true, round: true, step: true, halt: true }).shape);

export async function buildTimeline(histories: Omit<RunHistories, 'count'>): Promise<Timeline> {
  const reader = new HistoryReader();
  for await (const execution of histories.executions) reader.read(execution);
  return reader.timeline(histories.workflowId, histories.firstRunId);
}

export class HistoryReader {
  readonly executions: ExecutionFacts[] = [];
  start: Start | null = null;
  /** Settings that operators have changed, in the order in which they are applied. */
  settings: Settings[] = [];
  private phase: Phase = 'running';
  private readonly log = new EntryLog();
  readonly steps = new StepReader(this.log);
  private readonly rounds = new RoundReader(this.log);
  /** Decisions of the execution that is being read. */
  private readonly decisions = new Set<string>();
  private microBatchSize: number | undefined;
  private halt: { since: string; entry: EntryOf<'parked'> | EntryOf<'waiting'> } | null = null;
  private worker = '';
  private lost: Pick<Execution, 'runId' | 'file'>[] = [];
  private lastEvent: Event | null = null;
  private isEnded = false;

  read(execution: Execution): void {
    const { runId, history, file } = execution;
    const undecoded = execution.undecoded ?? null;
    const first = history?.events[0];
    if (!history || !first) {
      this.lost.push({ runId, ...(file ? { file } : {}) });
      const facts = { startedAt: null, round: null, events: 0, closed: true };
      this.executions.push({ runId, known: false, ...facts, undecoded });
      return;
    }
    this.log.nextExecution();
    this.addGaps({ ...first, eventId: '0' });
    if (undecoded) this.log.add({ ...first, eventId: '0' }, null, 'gap', { message: undecoded });
    this.decisions.clear();
    this.microBatchSize = undefined;
    for (const event of history.events) {
      this.readStart(event);
      this.readWorker(event);
      this.readCommand(event);
      this.readMemo(event);
      this.readActivity(event);
      this.readEnd(event);
    }
    this.lastEvent = history.events.at(-1)!;
    const closed = isClosed({ history });
    // An export that a run makes of itself ends before the run does; its memo has the end already.
    if (!closed && isEnd(this.phase)) this.addEnd(this.lastEvent, { state: this.phase, message: null });
    this.steps.endExecution(closed || this.isEnded);
    const { current: round } = this.rounds;
    const facts = { startedAt: isoOf(first), round, events: history.events.length, closed };
    this.executions.push({ runId, known: true, ...facts, undecoded });
  }

  /** Throws run.unknown where no history is left at all. */
  timeline(run: string, firstRunId: string): Timeline {
    if (!this.start || !this.lastEvent) throw runUnknown(run);
    this.addGaps({ ...this.lastEvent, eventId: String(Number(this.lastEvent.eventId) + 1) });
    const entries = this.log.entries();
    const end = entries.findLast((entry) => entry.kind === 'ended');
    return {
      version: 2,
      run,
      firstRunId,
      type: TYPES[this.start.type] ?? 'run',
      state: end?.state ?? this.phase,
      startedAt: this.start.at,
      endedAt: end?.at ?? null,
      fork: forkOf(this.start),
      entries,
    };
  }

  private addGaps(event: Event): void {
    for (const { runId, file } of this.lost) {
      const why = file ? `is damaged (${file}), and Temporal no longer has it` : 'is no longer available';
      this.log.add(event, null, 'gap', { message: `The history of execution ${runId} ${why}.` });
    }
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
    const at = RunProgress.safeParse(progress).data?.startedAt ?? isoOf(event);
    this.start = { type: started.workflowType.name, at, args };
    if (continuedOf(event)) return;
    const lastRound = RunInput.safeParse(input).data?.settings.rounds ?? null;
    this.log.add(event, null, 'started', { by: started.identity ?? '', lastRound });
  }

  private readWorker(event: Event): void {
    const task = event.workflowTaskCompletedEventAttributes;
    if (!task) return;
    const worker = { identity: task.identity ?? '', version: versionOf(task) };
    if (JSON.stringify(worker) === this.worker) return;
    this.worker = JSON.stringify(worker);
    this.log.add(event, this.rounds.current, 'worker', worker);
  }

  private readCommand(event: Event): void {
    const { name, args } = event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.input ?? {};
    const command = COMMANDS.get(name ?? '');
    if (command) {
      const { who, why, ...fields } = Sent.catch({ who: '', why: '' }).parse(value(args));
      const { halt } = this;
      const halted = halt && (halt.entry.kind === 'parked' ? halt.entry.step : halt.entry.approval);
      const step = answeredBy(command) ? halted : null;
      this.intervene(event, { command, who, why, step, fields: fields as InterventionEntry['fields'] });
      const set = Settings.safeParse(fields.set);
      if (set.success) this.settings.push(set.data);
    }
    const cancel = event.workflowExecutionCancelRequestedEventAttributes;
    const { identity = '', cause = '' } = cancel ?? {};
    if (cancel) this.intervene(event, { command: 'cancel', who: identity, why: cause, step: null, fields: {} });
  }

  private intervene(event: Event, fields: Omit<InterventionEntry, 'kind' | 'at' | 'round'>): void {
    this.log.add(event, this.rounds.current, 'intervention', fields);
  }

  /** A choice of the run itself. Each shard in flight reports what happens to the engine that all of them share. */
  private decide(event: Event, why: string, fields: InterventionEntry['fields']): void {
    const known = JSON.stringify([why, fields]);
    if (this.decisions.has(known)) return;
    this.decisions.add(known);
    this.intervene(event, { command: 'decision', who: 'srlm', why, step: this.steps.current, fields });
  }

  private readMemo(event: Event): void {
    const memo = Memo.safeParse(decoded(event.workflowPropertiesModifiedEventAttributes?.upsertedMemo?.fields?.srlm));
    if (!memo.success) return;
    const { phase, round, step, halt } = memo.data;
    this.phase = phase;
    this.rounds.enter(event, round);
    if (this.halt && this.halt.since !== halt?.since) {
      this.halt.entry.until = isoOf(event);
      this.halt = null;
    }
    if (halt && !this.halt) this.halt = { since: halt.since, entry: this.addHalt(event, halt) };
    this.steps.enter(halt || isEnd(phase) ? null : step, round);
  }

  private addHalt(event: Event, halt: Halt): EntryOf<'parked'> | EntryOf<'waiting'> {
    if (halt.kind === 'waiting')
      return this.log.add(event, halt.round, 'waiting', { approval: halt.approval, until: null });
    const { step, type, message, attempts, round } = halt;
    return this.log.add(event, round, 'parked', { step, type, message, attempts, until: null });
  }

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
    const { type, message } = rootOf(closed.failure ?? undefined);
    if (type === 'engine.batch-halved') this.decide(event, message, {});
  }

  private readMicroBatch(event: Event, { type, input }: Activity): void {
    if (type !== 'srlmFineTune') return;
    const { microBatchSize } = (input ?? {}) as { microBatchSize?: number };
    if (microBatchSize !== undefined && microBatchSize !== this.microBatchSize)
      this.decide(event, 'memory ran out; gradients are accumulated', { set: { microBatchSize } });
    this.microBatchSize = microBatchSize;
  }

  private readEnd(event: Event): void {
    const continued = event.workflowExecutionContinuedAsNewEventAttributes;
    if (continued) {
      const args = values(continued.input);
      this.rounds.continued(event, args);
      this.settings = settingsOf(args[1]);
    }
    const end = ENDS[event.eventType]?.(event);
    if (end) this.addEnd(event, end);
  }

  private addEnd(event: Event, { state, message, result }: RunEnd): void {
    this.isEnded = true;
    this.phase = state;
    if (this.halt) this.halt.entry.until = isoOf(event);
    this.rounds.end(event, state);
    this.log.add(event, null, 'ended', {
      state,
      message,
      best: result?.best ?? null,
      model: result?.model.sha256 ?? null,
      seconds: secondsBetween(this.start?.at ?? isoOf(event), isoOf(event)),
    });
  }
}

const settingsOf = (record: unknown): Settings[] =>
  (OperatorRecord.safeParse(record).data?.changes ?? []).map(({ set }) => set);

function forkOf({ args: [input, record] }: Start): Timeline['fork'] {
  const fork = RunInput.safeParse(input).data?.fork;
  if (!fork) return null;
  const { of, fromRound, fields } = fork;
  const changes = OperatorRecord.safeParse(record).data?.changes ?? [];
  const own = changes.findLast((change) => change.fromRound === fromRound);
  // The change at that round may hold settings of the parent, too.
  const set = Object.entries(own?.set ?? {}).filter(([field]) => fields.includes(field));
  return { of, fromRound, set: Object.fromEntries(set) };
}
