/**
 * The timeline of a run: what happened to it, in order. `srlm history --json` prints it, and timeline.json of an export
 * holds it. Times are ISO, UTC.
 */
import { z } from 'zod';
import { Settings } from '../contracts/commands.js';
import { Counts } from '../contracts/counts.js';
import { SetName } from '../contracts/evaluation-sets.js';
import { Sha256, Usage } from '../contracts/refs.js';
import { Comparison, SetResult } from '../contracts/report.js';
import { End, Parked, Phase } from '../contracts/run.js';
import { Approval } from '../contracts/spec.js';
import { EvalResult, GateOutput } from '../contracts/steps.js';
import { RoundWatch } from '../contracts/watch.js';
import { type Event, isoOf } from './events.js';

/** `round` null: it concerns the run as a whole. */
const At = z.strictObject({ at: z.string(), round: z.int().nullable() });

export const Digest = z.strictObject({
  /** The role it has in the step: model, data, candidates, ... */
  name: z.string(),
  sha256: Sha256,
  rows: z.int().nullable(),
});
export type Digest = z.infer<typeof Digest>;

const StartedEntry = At.extend({
  kind: z.literal('started'),
  by: z.string(),
  /** null: a sample run. */
  lastRound: z.int().nullable(),
});

/** The worker that runs the workflow code from here on. */
const WorkerEntry = At.extend({ kind: z.literal('worker'), identity: z.string(), version: z.string() });

/** A step from its start until it was done or could not continue; its next try is another entry. */
export const StepEntry = At.extend({
  kind: z.literal('step'),
  step: z.string(),
  /** `interrupted`: paused, out of budget, or the execution ended first. */
  state: z.enum(['done', 'failed', 'interrupted', 'running']),
  seconds: z.number().nullable(),
  workers: z.array(z.string()),
  /** The most that any of its activities needed; `retried` counts the activities that needed more than one. */
  attempts: z.int(),
  retried: z.int(),
  lastFailure: z.string().nullable(),
  shards: z.strictObject({ count: z.int(), chunksDone: z.int(), chunksReused: z.int() }).nullable(),
  inputs: z.array(Digest),
  outputs: z.array(Digest),
  /** `whole`: the complete step, made by `run`; else some chunks, whose runs the history does not name. */
  reused: z.strictObject({ whole: z.boolean(), run: z.string().nullable() }).nullable(),
  usage: Usage.nullable(),
  /** What it received, or left out; null: it counts nothing. */
  counts: Counts.nullable(),
});
export type StepEntry = z.infer<typeof StepEntry>;

const ParkedEntry = At.extend({
  kind: z.literal('parked'),
  ...Parked.pick({ step: true, type: true, message: true, attempts: true }).shape,
  /** null: still parked. */
  until: z.string().nullable(),
});

const WaitingEntry = At.extend({
  kind: z.literal('waiting'),
  approval: Approval,
  until: z.string().nullable(),
});

export const InterventionEntry = At.extend({
  kind: z.literal('intervention'),
  /** `cancel`: a cancellation in Temporal; `decision`: a choice of the run itself. */
  command: z.string(),
  who: z.string(),
  why: z.string(),
  /** The parked step or the approval that was answered; the step that a decision concerns. */
  step: z.string().nullable(),
  /** What else the command says, under its own names: set, fromRound, after, round, ... */
  fields: z.record(z.string(), z.json()),
});
export type InterventionEntry = z.infer<typeof InterventionEntry>;

const RoundStartedEntry = At.extend({
  kind: z.literal('round-started'),
  /** The round whose model and data this one starts with; null: the starting model and the ingested data. */
  from: z.int().nullable(),
  /** null: the histories that are left do not say. */
  model: Sha256.nullable(),
  data: Sha256.nullable(),
  /** Why it does not start from the round before it: "round 2 was rolled back". */
  because: z.string().nullable(),
});

const RoundEndedEntry = At.extend({
  kind: z.literal('round-ended'),
  /** `interrupted`: a damaged object was found, and the run repeats its steps. */
  state: z.enum([...End.shape.kind.options, 'interrupted']),
  seconds: z.number(),
  summary: z
    .strictObject({
      model: Sha256,
      data: Sha256,
      enriched: z.int(),
      rows: z.int(),
      trainLoss: z.number(),
      evaluation: EvalResult.pick({ accuracy: true, total: true, low: true, high: true }).nullable(),
      /** Evaluation sets beside the gate's, and comparisons of the gate's set with earlier rounds; absent: there are none. */
      others: z.record(SetName, SetResult).optional(),
      comparisons: z.array(Comparison).optional(),
      /** The numbers by which it was watched, and the signs of a collapse in them; null: nothing was measured. */
      watch: RoundWatch.nullable(),
      alarms: z.array(z.string()),
    })
    .nullable(),
});

/** Accuracies and their paired difference are fractions of 1. */
const GateEntry = At.extend({
  kind: z.literal('gate'),
  ...GateOutput.shape,
  best: z.number().nullable(),
  current: z.number().nullable(),
  tolerance: z.number(),
});

/** A damaged object was found: the next execution repeats the steps, and reuses what is intact. */
const RepairEntry = At.extend({ kind: z.literal('repair'), message: z.string() });

/** Something is missing from this timeline. */
const GapEntry = At.extend({ kind: z.literal('gap'), message: z.string() });

const EndedEntry = At.extend({
  kind: z.literal('ended'),
  state: Phase,
  seconds: z.number(),
  message: z.string().nullable(),
  best: z.int().nullable(),
  model: Sha256.nullable(),
});

export const Entry = z.discriminatedUnion('kind', [
  StartedEntry,
  WorkerEntry,
  StepEntry,
  ParkedEntry,
  WaitingEntry,
  InterventionEntry,
  RoundStartedEntry,
  RoundEndedEntry,
  GateEntry,
  RepairEntry,
  GapEntry,
  EndedEntry,
]);
export type Entry = z.infer<typeof Entry>;
export type EntryOf<Kind extends Entry['kind']> = Extract<Entry, { kind: Kind }>;

/** `set`: the settings that the fork changed. */
export const Fork = z.strictObject({ of: z.string(), fromRound: z.int(), set: Settings });

export const Timeline = z.strictObject({
  version: z.literal(2),
  run: z.string(),
  /** Temporal's id of the first execution. */
  firstRunId: z.string(),
  type: z.enum(['run', 'sample', 'catalysts']),
  state: Phase,
  startedAt: z.string(),
  endedAt: z.string().nullable(),
  fork: Fork.nullable(),
  entries: z.array(Entry),
});
export type Timeline = z.infer<typeof Timeline>;

/** Temporal ends an execution long before it has so many events. */
const MAX_EVENTS = 1e6;

/** Entries as the readers of a history find them, some before others that happened earlier. */
export class EntryLog {
  private readonly placed: { place: number; entry: Entry }[] = [];
  private execution = 0;

  nextExecution(): void {
    this.execution++;
  }

  /** Returns the entry, whose later fields the caller may still set. */
  add<Kind extends Entry['kind']>(
    event: Pick<Event, 'eventId' | 'eventTime'>,
    round: number | null,
    kind: Kind,
    fields: Omit<EntryOf<Kind>, 'kind' | 'at' | 'round'>,
  ): EntryOf<Kind> {
    const entry = { kind, at: isoOf(event), round, ...fields } as unknown as EntryOf<Kind>;
    this.placed.push({ place: this.execution * MAX_EVENTS + Number(event.eventId), entry });
    return entry;
  }

  /** By execution, then by event: the clocks of servers may disagree. */
  entries(): Entry[] {
    return [...this.placed].sort((a, b) => a.place - b.place).map(({ entry }) => entry);
  }

  /** The entry that was added last of those that fit. */
  findLast<Kind extends Entry['kind']>(kind: Kind, fits: (entry: EntryOf<Kind>) => boolean): EntryOf<Kind> | undefined {
    const found = this.placed.findLast(({ entry }) => entry.kind === kind && fits(entry as EntryOf<Kind>));
    return found?.entry as EntryOf<Kind> | undefined;
  }
}
