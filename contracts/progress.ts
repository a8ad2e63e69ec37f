/**
 * Progress and state: what heartbeats carry, what workflows answer when asked, what the client shows.
 */
import { z } from 'zod';
import { RoundSummary } from './steps.js';

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
});
export type Parked = z.infer<typeof Parked>;

export const StepState = z.strictObject({
  step: z.string(),
  state: z.enum(['running', 'done', 'parked']),
  /** Rows of finished shards; live shards add theirs by heartbeat. null: the step has no shards. */
  rowsDone: z.int().nullable(),
  rowsTotal: z.int().nullable(),
  startedAt: z.string(),
  seconds: z.number().nullable(),
  reused: z.boolean(),
});
export type StepState = z.infer<typeof StepState>;

/** Answer of the query `srlmState` of a run, a round or a sample run. */
export const WorkflowState = z.strictObject({
  state: z.enum(['running', 'parked', 'done', 'failed', 'aborted']),
  round: z.int().nullable(),
  rounds: z.int().nullable(),
  steps: z.array(StepState),
  parked: Parked.nullable(),
  summaries: z.array(RoundSummary),
  warnings: z.array(z.string()),
});
export type WorkflowState = z.infer<typeof WorkflowState>;

/** Arguments of the Updates `srlmRetry` and `srlmAbort`. */
export const Intervention = z.strictObject({
  who: z.string().max(200).default('unknown'),
  why: z.string().max(2000).default(''),
});
export type Intervention = z.infer<typeof Intervention>;

/** What the client tells of a run: state by Temporal, detail by the workflows, shares of live activities. */
export const RunStatus = z.strictObject({
  runId: z.string(),
  state: z.enum(['running', 'parked', 'done', 'failed', 'aborted']),
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
  summaries: z.array(RoundSummary),
  warnings: z.array(z.string()),
  failure: z.string().nullable(),
});
export type RunStatus = z.infer<typeof RunStatus>;
