/**
 * The steps of a run, read from the activities of its histories. Which step an activity belongs to comes from the memo
 * (history-reader.ts calls `enter`); what it read, made and cost comes from its input and output. Pure.
 */
import { z } from 'zod';
import { Counts } from '../contracts/counts.js';
import { Sha256, type StepRecord, type Usage } from '../contracts/refs.js';
import { OpenedStep, ShardOutput, StepMeta } from '../contracts/steps.js';
import { addUsage, NO_USAGE, uncounted } from '../method/budget.js';
import { type Event, type Failure, isoOf, rootOf, secondsBetween, value } from './events.js';
import type { Digest, EntryLog, StepEntry } from './timeline.js';

export interface Activity {
  type: string;
  input: unknown;
  scheduled: Event;
  closedAt: string | null;
  identity: string | null;
  attempts: number;
  output: unknown;
  failure: Failure | null;
  /** That of the attempt before the last one. */
  lastFailure: Failure | null;
  isDone: boolean;
}

interface StepSpan {
  step: string;
  round: number | null;
  activities: Activity[];
}

/** Where a record is in the store. */
export type RecordRef = Pick<StepRecord, 'step' | 'key'>;

const NOT_STEPS = new Set(['srlmKeepRound', 'srlmReadRound', 'srlmExport']);
/** Part of a step, but not its work. */
const HOST_CHOICE = 'srlmClaimHost';

export class StepReader {
  private activities = new Map<string, Activity>();
  private spans: StepSpan[] = [];
  private open: StepSpan | null = null;
  /** What a training that is not complete has used. */
  private training: { round: number | null; usage: Usage } | null = null;
  private readonly records = new Map<string, RecordRef>();
  /** Stored input of a sharded step -> name of the step. */
  private readonly shardedSteps = new Map<string, string>();

  constructor(private readonly log: EntryLog) {}

  get current(): string | null {
    return this.open?.step ?? null;
  }

  /** Activities that follow belong to this step; null: the run is halted, or has ended. */
  enter(step: string | null, round: number | null): void {
    if (step === null) this.open = null;
    else if (this.open?.step !== step || this.open.round !== round) this.begin(step, round);
  }

  scheduled(event: Event, round: number | null): Activity {
    const { activityType, input } = event.activityTaskScheduledEventAttributes!;
    const activity: Activity = {
      type: activityType.name,
      input: value(input),
      scheduled: event,
      closedAt: null,
      identity: null,
      attempts: 0,
      output: null,
      failure: null,
      lastFailure: null,
      isDone: false,
    };
    this.activities.set(event.eventId, activity);
    if (!NOT_STEPS.has(activity.type)) (this.open ?? this.begin(activity.type, round)).activities.push(activity);
    return activity;
  }

  started(event: Event): void {
    const started = event.activityTaskStartedEventAttributes!;
    const activity = this.activities.get(started.scheduledEventId);
    if (!activity) return;
    activity.attempts = started.attempt ?? 1;
    activity.identity = started.identity ?? null;
    activity.lastFailure = started.lastFailure ?? null;
  }

  /** The activity that this event closes, if it closes one. */
  closed(event: Event): Activity | null {
    const done = event.activityTaskCompletedEventAttributes;
    const failed = event.activityTaskFailedEventAttributes ?? event.activityTaskTimedOutEventAttributes;
    const closed = done ?? failed ?? event.activityTaskCanceledEventAttributes;
    const activity = this.activities.get(closed?.scheduledEventId ?? '');
    if (!activity) return null;
    activity.closedAt = isoOf(event);
    activity.failure = failed?.failure ?? null;
    if (done) {
      activity.isDone = true;
      activity.output = value(done.result);
      this.keepRecord(activity);
    }
    return activity;
  }

  /** The execution has no further events; its spans become entries. `closed`: it has ended. */
  endExecution(closed: boolean): void {
    for (const span of this.spans) this.addEntry(span, closed);
    this.spans = [];
    this.activities = new Map();
    this.open = null;
  }

  /** Steps that are done, by this run or by another. */
  recordRefs(): RecordRef[] {
    return [...this.records.values()];
  }

  private begin(step: string, round: number | null): StepSpan {
    this.open = { step, round, activities: [] };
    this.spans.push(this.open);
    return this.open;
  }

  private keepRecord({ type, input, output }: Activity): void {
    const { step: of } = (input ?? {}) as { step?: string | { sha256: string } };
    const opened = type === 'srlmOpenStep' ? OpenedStep.safeParse(output).data : undefined;
    if (opened && typeof of === 'string') this.shardedSteps.set(opened.step.sha256, of);
    const key = recordedOf(output)?.meta.key;
    // `srlmFineTune` -> fineTune; a sharded step is named by what was opened.
    const plain = type.charAt(4).toLowerCase() + type.slice(5);
    const step = typeof of === 'string' ? of : of ? this.shardedSteps.get(of.sha256) : plain;
    if (key && step) this.records.set(`${step}/${key}`, { step, key });
  }

  private addEntry(span: StepSpan, closed: boolean): void {
    const { step, round, activities } = span;
    const first = activities[0];
    if (!first) return; // The memo was written for another reason.
    const last = activities.findLast(({ type }) => type !== HOST_CHOICE) ?? first;
    const shards = shardsOf(activities);
    const state = this.stateOf(span, last, closed);
    const opened = activities.find(({ type }) => type === 'srlmOpenStep');
    const ends = activities.flatMap(({ closedAt }) => closedAt ?? []).sort();
    const at = isoOf(first.scheduled);
    this.log.add(first.scheduled, round, 'step', {
      step,
      state,
      seconds: state === 'running' ? null : secondsBetween(at, ends.at(-1) ?? at),
      workers: [...new Set(activities.flatMap(({ identity }) => identity ?? []))],
      attempts: Math.max(...activities.map(({ attempts }) => attempts)),
      retried: activities.filter(({ attempts }) => attempts > 1).length,
      lastFailure: lastFailureOf(activities, state),
      shards,
      inputs: digestsOf((opened ?? last).input),
      outputs: state === 'done' ? digestsOf(recordedOf(last.output)?.output ?? last.output) : [],
      reused: reusedOf(last, shards),
      usage: this.usageOf(span, last),
      counts: state === 'done' ? countsOf(last) : null,
    });
  }

  private usageOf({ round, activities }: StepSpan, last: Activity): Usage | null {
    if (activities.some(isShard))
      return shardOutputs(activities)
        .map(({ usage }) => usage)
        .reduce(addUsage, NO_USAGE);
    const { usage = null } = recordedOf(last.output)?.meta ?? (last.output as { usage?: Usage } | null) ?? {};
    if (last.type !== 'srlmFineTune' || usage === null) return usage;
    // A training reports the total of its job, of which an earlier entry may have shown a part.
    const shown = this.training?.round === round ? this.training.usage : NO_USAGE;
    this.training = isComplete(last) ? null : { round, usage };
    return uncounted(usage, shown);
  }

  private stateOf(span: StepSpan, last: Activity, closed: boolean): StepEntry['state'] {
    if (isComplete(last)) return 'done';
    const isOver = span.activities.every(({ closedAt }) => closedAt !== null);
    if (!closed && (!isOver || span === this.open)) return 'running';
    // After a halved batch the run continues.
    const failures = span.activities.flatMap(({ failure }) => failure ?? []);
    return failures.some((one) => rootOf(one).type !== 'engine.batch-halved') ? 'failed' : 'interrupted';
  }
}

function isComplete({ type, output, isDone }: Activity): boolean {
  if (!isDone || type === 'srlmShard' || type === HOST_CHOICE) return false;
  if (type === 'srlmOpenStep') return (output as OpenedStep | null)?.done != null;
  // A training that was stopped by its budget left a checkpoint.
  return (output as { bounded?: boolean } | null)?.bounded !== true;
}

/** The failure that made a step fail is shown where the run parks. */
function lastFailureOf(activities: readonly Activity[], state: StepEntry['state']): string | null {
  const failures = activities.flatMap(({ failure, lastFailure, isDone }) =>
    failure && !isDone && state !== 'failed' ? [failure] : lastFailure ? [lastFailure] : [],
  );
  return failures.length > 0 ? rootOf(failures.at(-1)).message : null;
}

const countsOf = ({ output }: Activity): Counts | null =>
  Counts.safeParse((recordedOf(output)?.output as { counts?: unknown } | null)?.counts).data ?? null;

const isShard = ({ type }: Activity): boolean => type === 'srlmShard';

const shardOutputs = (activities: readonly Activity[]): ShardOutput[] =>
  activities.filter(isShard).flatMap(({ output }) => ShardOutput.safeParse(output).data ?? []);

function shardsOf(activities: readonly Activity[]): StepEntry['shards'] {
  const shards = activities.filter(isShard);
  if (shards.length === 0) return null;
  const outputs = shardOutputs(activities);
  const sum = (field: 'chunksDone' | 'chunksReused') => outputs.reduce((total, one) => total + one[field], 0);
  // A shard that was paused, or ran out of budget, has more than one activity.
  const count = new Set(shards.map(({ input }) => (input as { from?: number } | null)?.from)).size;
  return { count, chunksDone: sum('chunksDone'), chunksReused: sum('chunksReused') };
}

function reusedOf(last: Activity, shards: StepEntry['shards']): StepEntry['reused'] {
  const meta = isComplete(last) ? recordedOf(last.output)?.meta : null;
  if (meta?.reused) return { whole: true, run: meta.run };
  return shards && shards.chunksReused > 0 ? { whole: false, run: null } : null;
}

const Recorded = z.object({ output: z.unknown(), meta: StepMeta });

/** The result of a step that keeps a record. A sharded step may return it from its first activity, which found it. */
function recordedOf(output: unknown): z.infer<typeof Recorded> | null {
  const found = Recorded.safeParse((output as { done?: unknown } | null)?.done ?? output);
  return found.data ?? null;
}

const DEPTH = 3;
/** How a step works, not what it works on. */
const SETTINGS = new Set(['texts', 'sampling', 'training', 'selection', 'gate']);

/** `{ data: { sha256, rows }, best: { grades: { sha256 } } }` -> data, best.grades. A bare reference is `model` or `data`. */
function digestsOf(value: unknown, name = '', depth = DEPTH): Digest[] {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return [];
  const { sha256, rows } = value as { sha256?: unknown; rows?: unknown };
  if (Sha256.safeParse(sha256).success) {
    const ref = { name: name || (rows === undefined ? 'model' : 'data'), sha256: sha256 as Sha256 };
    return [{ ...ref, rows: typeof rows === 'number' && rows > 0 ? rows : null }];
  }
  if (depth === 0) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    SETTINGS.has(key) ? [] : digestsOf(inner, name ? `${name}.${key}` : key, depth - 1),
  );
}
