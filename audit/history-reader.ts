/**
 * One history, of a run or of a round, as entries of an account. Steps are told by the memo that the workflow keeps
 * (which step it is at, parked or waiting), everything else by the events themselves. Pure.
 */
import { Parked, RoundOutcome, Waiting } from '../contracts/progress.js';
import { GateInput, GateOutput, RoundInput, RunResult, type ShardOutput } from '../contracts/steps.js';
import type { Entry, InterventionEntry, StepEntry } from './account.js';
import {
  decoded,
  type Event,
  type Failure,
  instant,
  isoOf,
  type Recorded,
  rootOf,
  secondsBetween,
  startOf,
  value,
  versionOf,
} from './events.js';
import type { Records } from './records.js';
import { digestsOf, type Told } from './told.js';

/** An activity of a step, as far as the history tells. */
interface Activity {
  type: string;
  input: unknown;
  order: string;
  scheduledAt: string;
  closedAt: string | null;
  identity: string | null;
  attempts: number;
  output: unknown;
  failure: Failure | null;
  /** Of the attempt before the last. */
  lastFailure: Failure | null;
  isDone: boolean;
}

interface Stretch {
  step: string;
  activities: Activity[];
}

/** Not the work of a step: it is written down after all of them. */
const AUDIT = 'srlmAudit';
/** Says where to work, and with what. */
const PREPARING = new Set(['srlmClaimHost']);
const ENDED = new Set(['done', 'failed', 'aborted', 'stopped']);

export function readWorkflow(recorded: Recorded, run: string, round: number | null, records: Records): Told[] {
  return new Reader(recorded, run, round, records).read();
}

class Reader {
  private readonly told: Told[] = [];
  private readonly activities = new Map<string, Activity>();
  private readonly stretches: Stretch[] = [];
  private open: Stretch | null = null;
  private parked: (Entry & { kind: 'parked' }) | null = null;
  private waiting: (Entry & { kind: 'waiting' }) | null = null;
  private worker = '';
  private microBatchSize: unknown;
  private readonly decisions = new Set<string>();
  private readonly rounds = new Map<string, RoundInput>();
  private readonly roundsBegan = new Map<string, string>();
  /** What the rounds so far came to, newest last. */
  private outcomes: RoundOutcome[] = [];
  private ended = false;
  private lastState: string | null = null;

  constructor(
    private readonly recorded: Recorded,
    private readonly run: string,
    private readonly round: number | null,
    private readonly records: Records,
  ) {}

  read(): Told[] {
    const { events } = this.recorded.history;
    for (const event of events) {
      this.readWorker(event);
      this.readOrders(event);
      this.readMemo(event);
      this.readActivity(event);
      this.readRounds(event);
      this.readEnd(event);
    }
    const entries = this.stretches.flatMap((stretch) => this.stepOf(stretch));
    return [...this.told, ...entries];
  }

  private tell<E extends Entry>(
    event: Pick<Event, 'eventTime'>,
    entry: Omit<E, 'at' | 'round'>,
    round = this.round,
  ): E {
    const whole = { at: isoOf(event), round, ...entry } as unknown as E;
    this.told.push({ order: instant(event), entry: whole });
    return whole;
  }

  private readWorker(event: Event): void {
    const task = event.workflowTaskCompletedEventAttributes;
    if (!task) return;
    const worker = { identity: task.identity ?? '', version: versionOf(task) };
    if (JSON.stringify(worker) === this.worker) return;
    this.worker = JSON.stringify(worker);
    this.tell<Entry & { kind: 'worker' }>(event, { kind: 'worker', ...worker });
  }

  // --- what people ordered ------------------------------------------------------------------------------------------

  private readOrders(event: Event): void {
    const { name, args } = event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.input ?? {};
    const what = /^srlm([A-Z]\w*)$/.exec(name ?? '')?.[1]?.toLowerCase();
    if (what) {
      const { who = '', why = '', set = null, fromRound = null, after = null, round } = orderOf(value(args));
      const promoted = round ?? null;
      this.intervene(event, { what, who, why, set, fromRound, after, promoted, step: this.answerable() });
    }
    const cancel = event.workflowExecutionCancelRequestedEventAttributes;
    // A run that is cancelled cancels its round.
    if (cancel && this.round === null) {
      const { identity: who = '', cause: why = '' } = cancel;
      this.intervene(event, { what: 'cancel', who, why });
    }
  }

  private answerable(): string | null {
    return this.parked?.step ?? this.waiting?.approval ?? null;
  }

  private intervene(event: Event, entry: Partial<InterventionEntry> & Pick<InterventionEntry, 'what' | 'who' | 'why'>) {
    const blank = { step: null, set: null, fromRound: null, after: null, promoted: null };
    this.tell<InterventionEntry>(event, { kind: 'intervention', ...blank, ...entry });
  }

  /** What the run itself changed, so as to go on. */
  private decide(event: Event, why: string, set: InterventionEntry['set']): void {
    // Every shard in flight says it of an engine that all of them share.
    const known = JSON.stringify([why, set]);
    if (this.decisions.has(known)) return;
    this.decisions.add(known);
    this.intervene(event, { what: 'decision', who: 'srlm', why, set, step: this.open?.step ?? null });
  }

  // --- where it stands ----------------------------------------------------------------------------------------------

  private readMemo(event: Event): void {
    const field = event.workflowPropertiesModifiedEventAttributes?.upsertedMemo?.fields?.srlm;
    if (!field) return;
    const memo = (decoded(field) ?? {}) as { state?: string; step?: string; parked?: unknown; waiting?: unknown };
    this.lastState = memo.state ?? null;
    const parked = Parked.safeParse(memo.parked).data ?? null;
    const waiting = Waiting.safeParse(memo.waiting).data ?? null;
    if (!parked && this.parked) {
      this.parked.until = isoOf(event);
      this.parked = null;
    }
    if (!waiting && this.waiting) {
      this.waiting.until = isoOf(event);
      this.waiting = null;
    }
    if (parked && !this.parked) {
      this.open = null;
      const { step, type, message, attempts } = parked;
      this.parked = this.tell(event, { kind: 'parked', step, type, message, attempts, until: null });
    }
    if (waiting && !this.waiting) {
      this.open = null;
      this.waiting = this.tell(event, { kind: 'waiting', approval: waiting.approval, until: null });
    }
    if (parked || waiting || !memo.step) return;
    if (ENDED.has(memo.state ?? '')) this.open = null;
    else if (this.open?.step !== memo.step) this.begin(memo.step);
  }

  private begin(step: string): Stretch {
    this.open = { step, activities: [] };
    this.stretches.push(this.open);
    return this.open;
  }

  // --- what it did --------------------------------------------------------------------------------------------------

  private readActivity(event: Event): void {
    const made = event.activityTaskScheduledEventAttributes;
    if (made && made.activityType.name !== AUDIT) this.scheduled(event, made.activityType.name, value(made.input));

    const started = event.activityTaskStartedEventAttributes;
    const activity = this.activities.get(started?.scheduledEventId ?? '');
    if (started && activity) {
      activity.attempts = started.attempt ?? 1;
      activity.identity = started.identity ?? null;
      activity.lastFailure = started.lastFailure ?? null;
    }

    const done = event.activityTaskCompletedEventAttributes;
    const failed = event.activityTaskFailedEventAttributes ?? event.activityTaskTimedOutEventAttributes;
    const closed = done ?? failed ?? event.activityTaskCanceledEventAttributes;
    const ended = this.activities.get(closed?.scheduledEventId ?? '');
    if (!ended) return;
    ended.closedAt = isoOf(event);
    if (done) {
      ended.isDone = true;
      ended.output = value(done.result);
      if (ended.type === 'srlmGate') this.readGate(event, ended);
    }
    if (failed) {
      ended.failure = failed.failure ?? null;
      const { type, message } = rootOf(failed.failure);
      if (type === 'engine.batch-halved') this.decide(event, message, null);
      // In a round it ends the round, and is told there.
      if (type === 'artifact.damaged' && this.round === null)
        this.tell<Entry & { kind: 'repair' }>(event, { kind: 'repair', message });
    }
  }

  private scheduled(event: Event, type: string, input: unknown): void {
    const activity: Activity = {
      ...{
        type,
        input,
        order: instant(event),
        scheduledAt: isoOf(event),
        closedAt: null,
        identity: null,
        attempts: 0,
        output: null,
      },
      ...{ failure: null, lastFailure: null, isDone: false },
    };
    this.activities.set(event.eventId, activity);
    if (type === 'srlmFineTune') {
      const { microBatchSize } = (input ?? {}) as { microBatchSize?: number };
      if (microBatchSize !== undefined && microBatchSize !== this.microBatchSize)
        this.decide(event, 'memory ran out; gradients are accumulated', { microBatchSize });
      this.microBatchSize = microBatchSize;
    }
    (this.open ?? this.begin(type)).activities.push(activity);
  }

  private readGate(event: Event, { input, output }: Activity): void {
    const asked = GateInput.safeParse(input).data;
    const answer = GateOutput.safeParse(output).data;
    if (!asked || !answer) return;
    const { best, current, gate } = asked;
    this.tell<Entry & { kind: 'gate' }>(event, {
      kind: 'gate',
      ...answer,
      best: best.accuracy,
      current: current.accuracy,
      tolerance: gate.tolerance,
    });
  }

  private stepOf({ step, activities }: Stretch): Told[] {
    const first = activities[0];
    if (!first) return []; // The memo was written for another reason.
    const work = activities.filter(({ type }) => !PREPARING.has(type));
    const last = work.at(-1) ?? first;
    const shards = activities.filter(({ type }) => type === 'srlmShard');
    const told = shards.length > 0 ? shardsOf(shards) : null;
    const isOver = activities.every(({ closedAt }) => closedAt !== null);
    const isDone =
      last.isDone &&
      !(last.type === 'srlmOpenStep' && last.output === null) &&
      last.type !== 'srlmShard' &&
      !isUnfinished(last);
    const ends = activities.map(({ closedAt }) => closedAt ?? '').sort();
    const state = isDone ? 'done' : !isOver && !this.ended ? 'running' : last.failure ? 'failed' : 'interrupted';
    const failures = activities.flatMap(({ failure, lastFailure, isDone }) =>
      // What made a step park is told by the park.
      failure && !isDone && state !== 'failed' ? [failure] : lastFailure ? [lastFailure] : [],
    );
    const source = work.find(({ type }) => type === 'srlmOpenStep') ?? last;
    const entry: StepEntry = {
      kind: 'step',
      at: first.scheduledAt,
      round: this.round,
      step,
      state,
      seconds: state === 'running' ? null : secondsBetween(first.scheduledAt, ends.at(-1) || first.scheduledAt),
      workers: [...new Set(activities.flatMap(({ identity }) => identity ?? []))],
      attempts: Math.max(...activities.map(({ attempts }) => attempts)),
      retried: activities.filter(({ attempts }) => attempts > 1).length,
      lastFailure: failures.length > 0 ? rootOf(failures.at(-1)).message : null,
      shards: told,
      inputs: digestsOf(sourceOf(source.input)),
      outputs: isDone ? digestsOf(last.output) : [],
      ...this.originOf(source, last, isDone, told?.chunksFound ?? 0),
    };
    return [{ order: first.order, entry }];
  }

  /** Was it found done? By which run? And what did it cost, if it was not? */
  private originOf(
    source: Activity,
    last: Activity,
    isDone: boolean,
    found: number,
  ): Pick<StepEntry, 'reused' | 'spent'> {
    const record = isDone ? this.records.of(source.type, source.input) : null;
    if (!record) return { reused: null, spent: null };
    const { run = null, endedAt, spent = null } = record.measured;
    const isOther = run !== null && run !== this.run;
    if (isOther || Date.parse(endedAt) < Date.parse(source.scheduledAt))
      return { reused: { whole: true, run }, spent: null };
    // Another run at work on the same step at the same time may have recorded what this one did, too.
    const chunks = found > 0 ? this.records.chunksOf(source.type, source.input) : [];
    const others = chunks.filter(({ measured }) => measured.run !== undefined && measured.run !== this.run);
    const by = others.length > 0 ? { whole: false, run: others[0]!.measured.run ?? null } : null;
    return { reused: by, spent: last.type === 'srlmSealStep' ? null : spent };
  }

  // --- rounds, and the end ------------------------------------------------------------------------------------------

  private readRounds(event: Event): void {
    const made = event.startChildWorkflowExecutionInitiatedEventAttributes;
    if (made) {
      const input = RoundInput.safeParse(value(made.input)).data;
      if (input) this.rounds.set(event.eventId, input);
    }
    const started = event.childWorkflowExecutionStartedEventAttributes;
    const begun = this.rounds.get(started?.initiatedEventId ?? '');
    if (started && begun) {
      this.roundsBegan.set(started.initiatedEventId, isoOf(event));
      this.tell<Entry & { kind: 'round-started' }>(
        event,
        { kind: 'round-started', ...this.originOfRound(begun) },
        begun.round,
      );
    }
    const done = event.childWorkflowExecutionCompletedEventAttributes;
    const failed =
      event.childWorkflowExecutionFailedEventAttributes ??
      event.childWorkflowExecutionCanceledEventAttributes ??
      event.childWorkflowExecutionTimedOutEventAttributes ??
      event.childWorkflowExecutionTerminatedEventAttributes;
    const closed = done ?? failed;
    const input = this.rounds.get(closed?.initiatedEventId ?? '');
    if (!closed || !input) return;
    const outcome = RoundOutcome.safeParse(value(done?.result)).data;
    if (outcome) this.outcomes = [...this.outcomes.filter(({ round }) => round !== outcome.round), outcome];
    const { type, message } = rootOf(failed?.failure);
    const seconds = secondsBetween(this.roundsBegan.get(closed.initiatedEventId) ?? isoOf(event), isoOf(event));
    this.tell<Entry & { kind: 'round-ended' }>(
      event,
      {
        kind: 'round-ended',
        state: done ? 'done' : stateOf(type, event.eventType),
        seconds,
        summary: outcome ? summaryOf(outcome) : null,
        message: failed?.failure ? message : null,
      },
      input.round,
    );
    if (type === 'artifact.damaged') this.tell<Entry & { kind: 'repair' }>(event, { kind: 'repair', message });
  }

  /** The model a round begins with tells which round it goes on from. */
  private originOfRound({ start, current, data, round }: RoundInput) {
    const from = this.outcomes.findLast(({ model }) => model.sha256 === current.sha256)?.round ?? null;
    const before = this.outcomes.findLast((outcome) => outcome.round === round - 1);
    const because = before && from !== before.round ? this.whyNotFrom(before, from) : null;
    return {
      from: current.sha256 === start.sha256 ? null : from,
      model: current.sha256,
      data: data.sha256,
      because,
    };
  }

  /** The newest word counts: a person's goes before the gate's. */
  private whyNotFrom(before: RoundOutcome, from: number | null): string {
    const { round, gate } = before;
    const orders = this.told.flatMap(({ entry }) => (entry.kind === 'intervention' ? [entry] : []));
    const word = orders.findLast(
      ({ what, promoted, step }) =>
        (what === 'promote' && promoted === from) || (what === 'reject' && step === 'after-round'),
    );
    if (word?.what === 'promote') return `${word.who} promoted round ${from}`;
    if (gate && gate.verdict !== 'keep') return `round ${round} was rolled back`;
    if (word) return `${word.who} rejected round ${round}`;
    return `round ${round} was set aside, as in the run this one was forked from`;
  }

  private readEnd(event: Event): void {
    const { type, input, identity } = startOf(this.recorded);
    if (event.workflowExecutionStartedEventAttributes && this.round === null) {
      const { spec } = (input ?? {}) as { spec?: { rounds?: number } };
      this.tell<Entry & { kind: 'started' }>(event, { kind: 'started', by: identity, rounds: spec?.rounds ?? null });
    }
    const failure = event.workflowExecutionFailedEventAttributes?.failure;
    const done = event.workflowExecutionCompletedEventAttributes;
    const killed = event.workflowExecutionTerminatedEventAttributes;
    const isEnd =
      done ||
      failure ||
      killed ||
      event.workflowExecutionCanceledEventAttributes ||
      event.workflowExecutionTimedOutEventAttributes;
    // The export that a run makes of itself ends before the run does: then its memo tells.
    const isLast = event === this.recorded.history.events.at(-1) && ENDED.has(this.lastState ?? '');
    if (!isEnd && !isLast) return;
    this.ended = true;
    if (this.parked) this.parked.until = isoOf(event);
    if (this.round !== null) return;
    const result = type === 'srlmRun' ? RunResult.safeParse(value(done?.result)).data : undefined;
    const root = rootOf(failure);
    const state = isEnd
      ? done
        ? result?.stopped
          ? 'stopped'
          : 'done'
        : stateOf(root.type, event.eventType)
      : (this.lastState as 'done');
    this.tell<Entry & { kind: 'ended' }>(event, {
      kind: 'ended',
      state,
      seconds: secondsBetween(isoOf(this.recorded.history.events[0]!), isoOf(event)),
      message: failure ? root.message : killed ? `Terminated by ${killed.identity}: ${killed.reason}` : null,
      best: result?.best ?? null,
      model: result?.model.sha256 ?? null,
    });
  }
}

function orderOf(order: unknown) {
  return (order ?? {}) as Partial<InterventionEntry> & { round?: number };
}

function stateOf(type: string | null, eventType: string): 'failed' | 'aborted' | 'stopped' {
  if (type === 'run.stopped') return 'stopped';
  return type === 'run.aborted' || /CANCELED|TERMINATED/.test(eventType) ? 'aborted' : 'failed';
}

function summaryOf({ model, data, enriched, rows, trainLoss, score }: RoundOutcome) {
  const short = score && { accuracy: score.accuracy, low: score.low, high: score.high };
  return { model: model.sha256, data: data.sha256, enriched, rows, trainLoss, score: short };
}

function shardsOf(shards: Activity[]): NonNullable<StepEntry['shards']> {
  // Histories of other versions have other fields beside these.
  const outputs = shards.map(({ output }) => (output ?? {}) as Partial<ShardOutput>);
  const sum = (field: 'chunksDone' | 'chunksReused') => outputs.reduce((total, one) => total + (one[field] ?? 0), 0);
  return { count: shards.length, chunksDone: sum('chunksDone'), chunksFound: sum('chunksReused') };
}

/** A sharded step's input stands one level down. */
function sourceOf(input: unknown): unknown {
  const { step, input: inner } = (input ?? {}) as { step?: unknown; input?: unknown };
  return step !== undefined && inner !== undefined ? inner : input;
}

/** A training that left a checkpoint, because the budget was spent. */
const isUnfinished = ({ type, output }: Activity): boolean =>
  type === 'srlmFineTune' && (output as { model?: unknown } | null)?.model === null;
