/**
 * Progress and state: what heartbeats carry, what workflows answer when asked, what the client shows.
 */
import { z } from 'zod';
import { Dataset, Spent } from './artifacts.js';
import { APPROVALS } from './spec.js';
import { Change, GateOutput, RoundSummary, Ruling, ScoreCard, Settings } from './steps.js';

/** Heartbeat of an activity. `done` and `total` count `unit`s; rate is per second over this attempt. */
export const Heartbeat = z.strictObject({
  step: z.string(),
  unit: z.enum(['rows', 'steps', 'files', 'bytes']),
  done: z.number(),
  total: z.number(),
  rate: z.number().nullable(),
  secondsLeft: z.number().nullable(),
  note: z.string().optional(),
});
export type Heartbeat = z.infer<typeof Heartbeat>;

export const Parked = z.strictObject({
  step: z.string(),
  round: z.int().nullable(),
  type: z.string(),
  message: z.string(),
  attempts: z.int(),
  since: z.string(),
  /** What of this step is done and kept, in words. */
  kept: z.string().default(''),
  /** `srlm skip` goes on without this step. */
  skippable: z.boolean().default(false),
});
export type Parked = z.infer<typeof Parked>;

/** A run that waits for an approval, and what there is to look at. */
export const Waiting = z.strictObject({
  approval: z.enum(APPROVALS),
  round: z.int().nullable(),
  since: z.string(),
  /** Catalysts, or the rows that are about to be trained on. */
  data: Dataset.nullable(),
  rows: z.int(),
  enriched: z.int().nullable(),
  score: ScoreCard.nullable(),
  gate: GateOutput.nullable(),
});
export type Waiting = z.infer<typeof Waiting>;

export const StepState = z.strictObject({
  step: z.string(),
  state: z.enum(['running', 'done', 'parked', 'skipped']),
  /** Rows of finished shards; live shards add theirs by heartbeat. null: the step has no shards. */
  rowsDone: z.int().nullable(),
  rowsTotal: z.int().nullable(),
  startedAt: z.string(),
  seconds: z.number().nullable(),
  reused: z.boolean(),
  spent: Spent.optional(),
});
export type StepState = z.infer<typeof StepState>;

const INTERVENTIONS = [
  'retry',
  'skip',
  'abort',
  'approve',
  'reject',
  'pause',
  'resume',
  'stop',
  'set',
  'promote',
  'decision',
] as const;
/** What a person (or, `decision`, the run itself) changed in a run's course. */
export const Intervention = z.strictObject({
  kind: z.enum(INTERVENTIONS),
  at: z.string(),
  who: z.string(),
  why: z.string(),
  round: z.int().nullable(),
  step: z.string().nullable(),
  /** `since` of what was answered. */
  answers: z.string().nullable(),
  set: Settings.nullable(),
});
export type Intervention = z.infer<typeof Intervention>;

/** What a round leaves to its run, also in a failure's details: spending by step, and what it was told, by whom. */
export const RoundLeft = z.object({
  spent: RoundSummary.shape.spent,
  told: Settings.optional(),
  interventions: z.array(Intervention).optional(),
});
export type RoundLeft = z.infer<typeof RoundLeft>;

/** What a round returns. `told` by `retry --set` holds for the rounds after it, too. */
export const RoundOutcome = RoundSummary.extend(RoundLeft.shape);
export type RoundOutcome = z.infer<typeof RoundOutcome>;

/** Argument of every Update: who wants it and why. */
export const Order = z.strictObject({
  who: z.string().max(200),
  why: z.string().max(2000),
  /** `since` of the parked step or the approval that is answered: a later one is not meant. */
  answers: z.string().optional(),
  /** retry, set */
  set: Settings.optional(),
  /** set: null or absent is at once. */
  fromRound: z.int().min(0).nullable().optional(),
  /** stop */
  after: z.enum(['round', 'step', 'now']).optional(),
  /** promote */
  round: z.int().min(0).optional(),
});
export type Order = z.infer<typeof Order>;

/** `waiting`: for an approval. `stopped`: ended by somebody before its last round, with a model. */
export const RunState = z.enum(['running', 'parked', 'paused', 'waiting', 'done', 'failed', 'aborted', 'stopped']);
export type RunState = z.infer<typeof RunState>;

/** Answer of the query `srlmState` of a run, a round or a sample run. */
export const WorkflowState = z.strictObject({
  state: RunState,
  round: z.int().nullable(),
  rounds: z.int().nullable(),
  steps: z.array(StepState),
  parked: Parked.nullable(),
  waiting: Waiting.nullable().default(null),
  summaries: z.array(RoundSummary),
  warnings: z.array(z.string()),
  interventions: z.array(Intervention).default([]),
  /** Of this workflow and, in a run, of its finished rounds. */
  spent: Spent.default({ tokens: 0, gpuSeconds: 0, money: 0 }),
  /** What was set while the run was under way, and ruled: a fork does alike. */
  changes: z.array(Change).default([]),
  rulings: z.array(Ruling).default([]),
});
export type WorkflowState = z.infer<typeof WorkflowState>;

/** What the client tells of a run: state by Temporal, detail by the workflows, shares of live activities. */
export const RunStatus = z.strictObject({
  runId: z.string(),
  state: RunState,
  /** No worker answered: what follows is the last known. */
  stale: z.boolean(),
  startedAt: z.string(),
  endedAt: z.string().nullable(),
  round: z.int().nullable(),
  rounds: z.int().nullable(),
  preparation: z.array(StepState),
  steps: z.array(StepState),
  live: z.array(Heartbeat.extend({ attempt: z.int(), lastFailure: z.string().nullable() })),
  parked: Parked.nullable(),
  waiting: Waiting.nullable(),
  summaries: z.array(RoundSummary),
  warnings: z.array(z.string()),
  interventions: z.array(Intervention),
  spent: Spent,
  /** The run that this one was forked from. */
  forkOf: z.string().nullable(),
  failure: z.string().nullable(),
});
export type RunStatus = z.infer<typeof RunStatus>;
