/**
 * The timeline of a run: what happened to it, in order. `srlm history --json` prints it, and timeline.json of an export
 * holds it. Times are ISO, UTC. Digests are complete here; the rendered text shortens them.
 */
import { z } from 'zod';
import { Settings } from '../contracts/commands.js';
import { Sha256, Usage } from '../contracts/refs.js';
import { Phase } from '../contracts/run.js';
import { APPROVALS } from '../contracts/spec.js';

/** `round` is null for what concerns the run as a whole. */
const At = z.strictObject({ at: z.string(), round: z.int().nullable() });

export const Digest = z.strictObject({
  /** The role it has in the step: model, data, candidates, ... */
  name: z.string(),
  sha256: Sha256,
  rows: z.int().nullable(),
});
export type Digest = z.infer<typeof Digest>;

/** `lastRound` null: a sample run. */
const StartedEntry = At.extend({
  kind: z.literal('started'),
  by: z.string(),
  lastRound: z.int().nullable(),
});

/** The worker that runs the workflow code from here on: another one after a crash, a deployment, or a move. */
const WorkerEntry = At.extend({ kind: z.literal('worker'), identity: z.string(), version: z.string() });

/** A step from its start until it was done or could not continue; tried again after that, it is another entry. */
export const StepEntry = At.extend({
  kind: z.literal('step'),
  step: z.string(),
  /** `interrupted`: paused, out of budget, or the execution ended first. */
  state: z.enum(['done', 'failed', 'interrupted', 'running']),
  seconds: z.number().nullable(),
  /** Identities of the workers that ran its activities. */
  workers: z.array(z.string()),
  /** The most that any of its activities needed; `retried` counts the activities that needed more than one. */
  attempts: z.int(),
  retried: z.int(),
  lastFailure: z.string().nullable(),
  shards: z.strictObject({ count: z.int(), chunksDone: z.int(), chunksReused: z.int() }).nullable(),
  inputs: z.array(Digest),
  outputs: z.array(Digest),
  /**
   * Found in the store instead of computed. `whole`: the complete step, by the run that made it; else some chunks, whose
   * runs the history does not name.
   */
  reused: z.strictObject({ whole: z.boolean(), run: z.string().nullable() }).nullable(),
  usage: Usage.nullable(),
});
export type StepEntry = z.infer<typeof StepEntry>;

const ParkedEntry = At.extend({
  kind: z.literal('parked'),
  step: z.string(),
  type: z.string(),
  message: z.string(),
  attempts: z.int(),
  /** null: still parked. */
  until: z.string().nullable(),
});

const WaitingEntry = At.extend({
  kind: z.literal('waiting'),
  approval: z.enum(APPROVALS),
  until: z.string().nullable(),
});

/** A command of a person, a cancellation, or (`decision`) a choice of the run itself. */
export const InterventionEntry = At.extend({
  kind: z.literal('intervention'),
  command: z.string(),
  who: z.string(),
  why: z.string(),
  /** The parked step or the approval that was answered; the step that a decision concerns. */
  step: z.string().nullable(),
  set: Settings.nullable(),
  fromRound: z.int().nullable(),
  /** `stop` only. */
  after: z.string().nullable(),
  /** `promote` only. */
  promoted: z.int().nullable(),
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
  state: z.enum(['done', 'stopped', 'aborted', 'failed', 'interrupted']),
  seconds: z.number(),
  summary: z
    .strictObject({
      model: Sha256,
      data: Sha256,
      enriched: z.int(),
      rows: z.int(),
      trainLoss: z.number(),
      evaluation: z.strictObject({ accuracy: z.number(), low: z.number(), high: z.number() }).nullable(),
    })
    .nullable(),
});

/** Accuracies and their paired difference are fractions of 1. */
const GateEntry = At.extend({
  kind: z.literal('gate'),
  verdict: z.enum(['keep', 'roll-back', 'stop']),
  best: z.number(),
  current: z.number(),
  difference: z.number(),
  low: z.number(),
  high: z.number(),
  tolerance: z.number(),
});

/** A damaged object was found: the next execution repeats the steps, and reuses what is intact. */
const RepairEntry = At.extend({ kind: z.literal('repair'), message: z.string() });

/** Something is missing from this timeline, and why. */
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
  /** Id of the run, and Temporal's id of its first execution. */
  run: z.string(),
  firstRunId: z.string(),
  type: z.enum(['run', 'sample']),
  state: Phase,
  startedAt: z.string(),
  endedAt: z.string().nullable(),
  fork: Fork.nullable(),
  entries: z.array(Entry),
});
export type Timeline = z.infer<typeof Timeline>;
