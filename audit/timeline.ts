/**
 * The account of a run: what happened to it and its rounds, in order of time. What `srlm history --json` prints and
 * account.json of an export holds. Times are ISO, UTC; digests are whole here, and short where people read them.
 */
import { z } from 'zod';
import { Sha256, Spent } from '../contracts/artifacts.js';
import { RunState } from '../contracts/progress.js';
import { APPROVALS } from '../contracts/spec.js';
import { Settings } from '../contracts/steps.js';

/** `round` is null for what happened to the run as a whole. */
const At = z.strictObject({ at: z.string(), round: z.int().nullable() });

export const Digest = z.strictObject({
  /** What it is to the step: model, data, candidates, ... */
  name: z.string(),
  sha256: Sha256,
  rows: z.int().nullable(),
});
export type Digest = z.infer<typeof Digest>;

const Started = At.extend({
  kind: z.literal('started'),
  by: z.string(),
  rounds: z.int().nullable(),
});

/** Who runs the workflow code from here on. A new one after a kill, a deployment, or a move. */
const Worker = At.extend({ kind: z.literal('worker'), identity: z.string(), version: z.string() });

/** A step from its beginning until it was done or could not go on; tried again after that, it is another entry. */
export const StepEntry = At.extend({
  kind: z.literal('step'),
  step: z.string(),
  /** `interrupted`: the run ended first. */
  state: z.enum(['done', 'failed', 'interrupted', 'running']),
  seconds: z.number().nullable(),
  /** Identities of the workers that did it. */
  workers: z.array(z.string()),
  /** Of the activity that needed most; retried: activities that needed more than one. */
  attempts: z.int(),
  retried: z.int(),
  lastFailure: z.string().nullable(),
  shards: z.strictObject({ count: z.int(), chunksDone: z.int(), chunksFound: z.int() }).nullable(),
  inputs: z.array(Digest),
  outputs: z.array(Digest),
  /** Not done here but found: all of it, or some chunks. `run` is null where its record does not say. */
  reused: z.strictObject({ whole: z.boolean(), run: z.string().nullable() }).nullable(),
  spent: Spent.nullable(),
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

/** A person's word (or, `decision`, the run's own): `what` is the order that was given. */
export const InterventionEntry = At.extend({
  kind: z.literal('intervention'),
  what: z.string(),
  who: z.string(),
  why: z.string(),
  /** The parked step or the approval that was answered. */
  step: z.string().nullable(),
  set: Settings.nullable(),
  fromRound: z.int().nullable(),
  /** Of `stop`. */
  after: z.string().nullable(),
  /** Of `promote`. */
  promoted: z.int().nullable(),
});
export type InterventionEntry = z.infer<typeof InterventionEntry>;

const RoundStarted = At.extend({
  kind: z.literal('round-started'),
  /** The round whose model and data this one begins with; null: the starting model, the data as they came. */
  from: z.int().nullable(),
  model: Sha256,
  data: Sha256,
  /** What was before it, where that is not the round before: "round 2 was rolled back". */
  because: z.string().nullable(),
});

const RoundEnded = At.extend({
  kind: z.literal('round-ended'),
  state: RunState,
  seconds: z.number(),
  summary: z
    .strictObject({
      model: Sha256,
      data: Sha256,
      enriched: z.int(),
      rows: z.int(),
      trainLoss: z.number(),
      score: z.strictObject({ accuracy: z.number(), low: z.number(), high: z.number() }).nullable(),
    })
    .nullable(),
  message: z.string().nullable(),
});

/** Accuracies and their paired difference are shares of 1. */
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

/** A damaged artifact was found: all steps are gone through again. */
const Repair = At.extend({ kind: z.literal('repair'), message: z.string() });

/** Something the account cannot tell, and why. */
const Gap = At.extend({ kind: z.literal('gap'), message: z.string() });

const Ended = At.extend({
  kind: z.literal('ended'),
  state: RunState,
  seconds: z.number(),
  message: z.string().nullable(),
  best: z.int().nullable(),
  model: Sha256.nullable(),
});

export const Entry = z.discriminatedUnion('kind', [
  Started,
  Worker,
  StepEntry,
  ParkedEntry,
  WaitingEntry,
  InterventionEntry,
  RoundStarted,
  RoundEnded,
  GateEntry,
  Repair,
  Gap,
  Ended,
]);
export type Entry = z.infer<typeof Entry>;

export const Account = z.strictObject({
  version: z.literal(1),
  /** Id of the run, and of its execution by Temporal. */
  run: z.string(),
  execution: z.string(),
  type: z.enum(['run', 'sample']),
  state: RunState,
  startedAt: z.string(),
  endedAt: z.string().nullable(),
  fork: z.strictObject({ of: z.string(), fromRound: z.int(), set: Settings }).nullable(),
  entries: z.array(Entry),
});
export type Account = z.infer<typeof Account>;
