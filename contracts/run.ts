/**
 * A run: what its workflow is started with, the one state it has, and what clients show of it. RunState is the answer of
 * the query srlmState; its OperatorRecord and RunProgress travel to the next execution (workflows/control/record.ts).
 */
import { z } from 'zod';
import { CommandName, Settings } from './commands.js';
import { Counts } from './counts.js';
import { DatasetRef, jsonBytes, MAX_PAYLOAD_BYTES, ModelRef, ObjectRef, Usage } from './refs.js';
import { RoundReport } from './report.js';
import { Approval, FinalModel, RunSettings, SampleSettings } from './spec.js';
import { EvalResult, GateOutput, RoundSummary, TrainingSet } from './steps.js';
import { WorkflowConfig } from './workflow-config.js';

const Time = z.iso.datetime().max(40);
const RunId = z.string().min(1).max(200);

// --- what a run is started with ---------------------------------------------------------------------------------------
const RunFields = z.strictObject({
  version: z.literal(2),
  settings: RunSettings,
  texts: ObjectRef,
  /** The user's files, as they were uploaded. */
  data: ObjectRef,
  catalysts: ObjectRef.nullable(),
  evaluation: ObjectRef.nullable(),
  /** EvaluationSets, and how many `others` the spec has; absent: none, and no question is in the training data. */
  sets: ObjectRef.extend({ others: z.int().min(0) }).optional(),
  config: WorkflowConfig,
  /** A fork repeats what its parent did before `fromRound`, and so finds it done. */
  fork: z
    .strictObject({
      of: RunId,
      fromRound: z.int().min(0),
      /** Names of the settings that it was forked for; their values are among the changes it begins with. */
      fields: z.array(z.string().max(60)).refine((names) => jsonBytes(names) <= 600, 'too many fields'),
    })
    .nullable(),
  /** A run of a study reports to it how far it is (workflows/study.ts); absent: it is none. */
  study: z
    .strictObject({
      id: RunId,
      /** Its place in the plan. */
      index: z.int().min(0).max(999),
    })
    .optional(),
});
/** What a plan of several runs keeps of each: the deployment and the study are added when it starts. */
export const PlannedInput = RunFields.omit({ config: true, study: true });
export const RunInput = RunFields.refine(
  (input) => jsonBytes(input) <= MAX_PAYLOAD_BYTES,
  `is longer than ${MAX_PAYLOAD_BYTES} bytes of JSON: shorten names, the selector, or the limits of gate.watch`,
);
export type RunInput = z.infer<typeof RunInput>;

export const SampleInput = z.strictObject({
  version: z.literal(2),
  settings: SampleSettings,
  texts: ObjectRef,
  data: ObjectRef,
  /** The spec names a model: the engine loads its weights. */
  loadsModel: z.boolean(),
  config: WorkflowConfig,
});
export type SampleInput = z.infer<typeof SampleInput>;

// --- what operators have done to it -----------------------------------------------------------------------------------
/** Settings that hold from the beginning of a round on; -1: from before the first one. */
export const SettingChange = z.strictObject({ fromRound: z.int().min(-1), set: Settings });
export type SettingChange = z.infer<typeof SettingChange>;

/** An operator's verdict on a round, which overrides the gate's. It takes effect before round `before` begins. */
export const GateOverride = z.strictObject({
  round: z.int().min(0),
  verdict: z.enum(['promote', 'roll-back']),
  before: z.int().min(1),
});
export type GateOverride = z.infer<typeof GateOverride>;

/** For each approval, the last round it was given for; -1: none. It covers all earlier rounds. */
export const Approved = z.strictObject({
  catalysts: z.int().min(-1),
  'before-train': z.int().min(-1),
  'after-round': z.int().min(-1),
} satisfies Record<Approval, z.ZodType>);
export type Approved = z.infer<typeof Approved>;

/** What a person (or, `decision`, the run itself) changed in a run's course. */
export const Intervention = z.strictObject({
  kind: z.union([CommandName, z.literal('decision')]),
  at: Time,
  who: z.string(),
  why: z.string(),
  round: z.int().nullable(),
  /** The parked step or the approval that was answered. */
  step: z.string().nullable(),
  /** `since` of what was answered. */
  answers: z.string().nullable(),
  set: Settings.nullable(),
  /** Id of the Update: Temporal knows it within one execution only, and a client may send it again after that. */
  id: z.string().max(100).nullable(),
});
export type Intervention = z.infer<typeof Intervention>;

/** Carried from execution to execution, and to a fork. Bounded (workflows/control/record.ts). */
export const OperatorRecord = z.strictObject({
  changes: z.array(SettingChange),
  overrides: z.array(GateOverride),
  approved: Approved,
  /** The newest ones; all of them are in the histories. `interventionCount` counts all. */
  interventions: z.array(Intervention),
  interventionCount: z.int().min(0),
  /** Who paused the run. A pause lasts until `resume`, whatever else the run waits for meanwhile. */
  paused: z.strictObject({ who: z.string(), at: Time }).nullable(),
  stopAfter: z.enum(['round', 'step']).nullable(),
});
export type OperatorRecord = z.infer<typeof OperatorRecord>;

// --- how far it is ----------------------------------------------------------------------------------------------------
/** Where a round may start: which round left it, its model and its training set. `round` null: the start of the run. */
export const Head = z.strictObject({ round: z.int().nullable(), model: ModelRef, set: TrainingSet });
export type Head = z.infer<typeof Head>;

/** The best round so far: the gate compares with it, and a round that is rolled back is followed by it. */
export const Best = Head.extend({ round: z.int(), evaluation: EvalResult.nullable() });
export type Best = z.infer<typeof Best>;

/** What the steps before round 0 made. */
export const Prepared = z.strictObject({
  model: ModelRef,
  set: TrainingSet,
  catalysts: DatasetRef.nullable(),
  questions: DatasetRef.nullable(),
});
export type Prepared = z.infer<typeof Prepared>;

/** Carried from execution to execution. Bounded (workflows/control/record.ts). */
export const RunProgress = z.strictObject({
  startedAt: Time,
  /** The next round to begin, or the one that runs. */
  round: z.int().min(0).nullable(),
  /** The last round that has begun, in whichever pass over the steps. */
  reached: z.int().min(-1),
  /** How often the run has repeated its steps because an object was damaged. */
  repairs: z.int().min(0),
  prepared: Prepared.nullable(),
  /** Where the next round starts. */
  head: Head.nullable(),
  best: Best.nullable(),
  rollbacksInARow: z.int().min(0),
  /** The RoundTable, and how many rounds it has. */
  table: ObjectRef.nullable(),
  rounds: z.int().min(0),
  usage: Usage,
  warnings: z.array(z.string()),
  /** Executions whose history is not exported yet: Temporal's run ids. */
  unexported: z.array(z.string().max(100)),
});
export type RunProgress = z.infer<typeof RunProgress>;

// --- the state --------------------------------------------------------------------------------------------------------
export const StepState = z.strictObject({
  step: z.string(),
  /** null: a step before round 0. */
  round: z.int().nullable(),
  state: z.enum(['running', 'done', 'parked', 'skipped']),
  /** Rows of finished shards; those of running shards come by heartbeat. null: the step has no shards. */
  rowsDone: z.int().nullable(),
  rowsTotal: z.int().nullable(),
  startedAt: Time,
  seconds: z.number().nullable(),
  /** Found under its key, not worked out again. */
  reused: z.boolean(),
  usage: Usage.nullable(),
  /** What it received, or left out; null: it counts nothing, or is not done. */
  counts: Counts.nullable().default(null),
});
export type StepState = z.infer<typeof StepState>;

/** A step that cannot continue until somebody answers. */
export const Parked = z.strictObject({
  kind: z.literal('parked'),
  step: z.string(),
  round: z.int().nullable(),
  type: z.string().max(200),
  message: z.string().max(1000),
  attempts: z.int(),
  since: Time,
  /** What of this step is done and kept, in words. */
  kept: z.string().max(200),
  /** `srlm skip` continues without this step. */
  skippable: z.boolean(),
});
export type Parked = z.infer<typeof Parked>;

/** A run that waits for an approval, and what there is to look at. */
export const Waiting = z.strictObject({
  kind: z.literal('waiting'),
  approval: Approval,
  round: z.int().nullable(),
  since: Time,
  /** Catalysts, or the rows that are about to be trained on. */
  data: DatasetRef.nullable(),
  rows: z.int(),
  enriched: z.int().nullable(),
  evaluation: EvalResult.nullable(),
  gate: GateOutput.nullable(),
});
export type Waiting = z.infer<typeof Waiting>;

/** Blocks the run until somebody answers. A pause is not a halt: it is in the OperatorRecord. */
export const Halt = z.discriminatedUnion('kind', [Parked, Waiting]);
export type Halt = z.infer<typeof Halt>;

/** `stopped`: ended by somebody before its last round, with a model. */
export const End = z.strictObject({
  kind: z.enum(['done', 'stopped', 'aborted', 'failed']),
  at: Time,
  message: z.string().max(1000).nullable(),
});
export type End = z.infer<typeof End>;

/** The only state of a run. */
export const RunState = RunProgress.extend(OperatorRecord.shape).extend({
  /** Rounds planned, round 0 not counted; null for a sample run. */
  lastRound: z.int().nullable(),
  /** Which round's model the run is asked for. */
  final: FinalModel.default('best'),
  steps: z.array(StepState),
  halt: Halt.nullable(),
  end: End.nullable(),
});
export type RunState = z.infer<typeof RunState>;

export const Phase = z.enum(['running', 'paused', 'parked', 'waiting', 'done', 'stopped', 'aborted', 'failed']);
export type Phase = z.infer<typeof Phase>;

/** Derived, never stored. */
export function phaseOf({ end, halt, paused }: Pick<RunState, 'end' | 'halt' | 'paused'>): Phase {
  return end?.kind ?? halt?.kind ?? (paused ? 'paused' : 'running');
}

/** The memo field `srlm` of a run: what can be shown with no worker up. */
export const RunMemo = z.strictObject({
  phase: Phase,
  round: z.int().nullable(),
  lastRound: z.int().nullable(),
  step: z.string().nullable(),
  halt: Halt.nullable(),
  /** The finished rounds. */
  table: ObjectRef.nullable(),
  forkOf: z.string().nullable(),
});
export type RunMemo = z.infer<typeof RunMemo>;

// --- results ----------------------------------------------------------------------------------------------------------
export const RunResult = z.strictObject({
  best: z.int(),
  /** The round of `model`, by the spec's `final`; absent: the best one. */
  final: z.int().optional(),
  model: ModelRef,
  /** The RoundTable of all rounds. */
  table: ObjectRef,
  /** Ended by somebody before the last round. */
  stopped: z.boolean(),
});
export type RunResult = z.infer<typeof RunResult>;

export const SampleResult = z.strictObject({ prompts: DatasetRef, candidates: DatasetRef });
export type SampleResult = z.infer<typeof SampleResult>;

// --- what clients show ------------------------------------------------------------------------------------------------
/** Heartbeat of an activity. `done` and `total` count `unit`s; the rate is per second over this attempt. */
export const Heartbeat = z.strictObject({
  step: z.string(),
  unit: z.enum(['rows', 'steps', 'files']),
  done: z.number(),
  total: z.number(),
  rate: z.number().nullable(),
  secondsLeft: z.number().nullable(),
  note: z.string().optional(),
  /** How long the model server or the trainer has made no progress; absent: it makes some, or nobody knows. */
  secondsQuiet: z.number().optional(),
});
export type Heartbeat = z.infer<typeof Heartbeat>;

/** Temporal tries the workflow task again and again: nothing answers for the run until the code is replaced. */
export const CodeFailure = z.strictObject({ attempt: z.int(), message: z.string() });
export type CodeFailure = z.infer<typeof CodeFailure>;

/** A clause. */
export const codeFailureText = ({ attempt, message }: CodeFailure): string =>
  `its workflow code fails (attempt ${attempt}): ${message}`;

/** A task queue that a run needs and nobody polls, and the command that starts a worker for it. */
export const UnpolledQueue = z.strictObject({ queue: z.string(), start: z.string() });
export type UnpolledQueue = z.infer<typeof UnpolledQueue>;

/** A run's status: state by Temporal, detail by the workflow, progress of what runs by heartbeats. */
export const RunStatus = z.strictObject({
  runId: z.string(),
  state: Phase,
  /** No worker answered: what follows is the last known. */
  stale: z.boolean(),
  /** Why no worker answers, where it is the workflow code. */
  codeFailure: CodeFailure.nullable(),
  unpolled: z.array(UnpolledQueue),
  startedAt: z.string(),
  endedAt: z.string().nullable(),
  round: z.int().nullable(),
  lastRound: z.int().nullable(),
  /** Steps of the preparation and of the current round. */
  steps: z.array(StepState),
  live: z.array(Heartbeat.extend({ attempt: z.int(), lastFailure: z.string().nullable() })),
  halt: Halt.nullable(),
  /** The best round so far; null: there is none yet, or no worker answers. */
  best: z.int().nullable(),
  /** The round whose model `export`, `ask` and `serve` take, by the spec's `final`; null as with `best`. */
  final: z.int().nullable(),
  /** Finished rounds. */
  rounds: z.array(RoundSummary),
  /** The reports of those finished rounds that have one. */
  reports: z.array(z.strictObject({ round: z.int(), report: RoundReport })).optional(),
  warnings: z.array(z.string()),
  interventions: z.array(Intervention),
  interventionCount: z.int(),
  usage: Usage,
  forkOf: z.string().nullable(),
  failure: z.string().nullable(),
});
export type RunStatus = z.infer<typeof RunStatus>;
