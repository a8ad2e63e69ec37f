/**
 * A study: arms (a base spec with a patch each) times seeds, a run each, one workflow whose children are the runs; what
 * it is started with, what its runs report to it, and its result. A payload names runs by their position in the plan,
 * which is an object of the store.
 */
import { z } from 'zod';
import { ObjectRef, Sha256, Usage } from './refs.js';
import { End, Phase, PlannedInput } from './run.js';
import { Name } from './spec.js';
import { WorkflowConfig } from './workflow-config.js';

/** A bound on the history of a study: each run costs it some ten events, and as many a round. */
export const MAX_RUNS = 200;
const Index = z
  .int()
  .min(0)
  .max(MAX_RUNS - 1);
const RunId = z.string().min(1).max(200);
const Seed = z
  .int()
  .min(0)
  .max(2 ** 31 - 1);

// --- what a user writes -----------------------------------------------------------------------------------------------
/** A dotted field of the run spec, or `preset`. */
const Patch = z.record(z.string().min(1).max(100), z.json());

export const StudySpec = z.strictObject({
  name: Name.default('study'),
  base: z
    .union([z.string().min(1).max(4096), z.record(z.string(), z.json())])
    .describe('a run spec, or the path of one, relative to this file'),
  arms: z
    .record(Name, z.union([Name, Patch]))
    .refine((arms) => Object.keys(arms).length >= 1, 'must have at least one arm')
    .refine((arms) => Object.keys(arms).length <= MAX_RUNS, `must have at most ${MAX_RUNS} arms`)
    .describe(
      'by name: a ready-made arm (docs/studies.md), or fields of the run spec with their values (selection.selector: random), with preset: NAME to begin with a ready-made one',
    ),
  seeds: z
    .array(Seed)
    .min(1)
    .max(50)
    .refine((seeds) => new Set(seeds).size === seeds.length, 'must not name a seed twice')
    .default([0, 1, 2]),
  baseline: Name.optional().describe('the arm that the others are compared with; default: the first one'),
  atOnce: z.int().min(1).max(16).default(1).describe('runs that work at the same time'),
  confidence: z.number().gt(0.5).lt(1).default(0.95).describe('of the intervals'),
});
export type StudySpec = z.infer<typeof StudySpec>;

// --- the plan ---------------------------------------------------------------------------------------------------------
/** `preset`: the ready-made arm that it is; null: it is another. */
export const PlannedArm = z.strictObject({ name: Name, preset: z.string().nullable() });
export type PlannedArm = z.infer<typeof PlannedArm>;

/** Work that several runs of a plan share, and what it is shared by: numbers that are equal where the work is. */
export const Shared = z.strictObject({ prepare: z.int(), round0: z.int(), round1: z.int().nullable() });
export type Shared = z.infer<typeof Shared>;

export const PlannedRun = z.strictObject({
  id: RunId,
  arm: Name,
  seed: Seed,
  shared: Shared,
  /** The part of its input that no connection decides. */
  input: PlannedInput,
});
export type PlannedRun = z.infer<typeof PlannedRun>;

export const StudyPlan = z.strictObject({
  version: z.literal(1),
  name: Name,
  arms: z.array(PlannedArm).min(1),
  baseline: Name,
  confidence: z.number().gt(0).lt(1),
  runs: z.array(PlannedRun).min(1).max(MAX_RUNS),
});
export type StudyPlan = z.infer<typeof StudyPlan>;

// --- the workflow -----------------------------------------------------------------------------------------------------
export const StudyInput = z.strictObject({
  version: z.literal(1),
  plan: ObjectRef,
  atOnce: z.int().min(1).max(16),
  config: WorkflowConfig,
});
export type StudyInput = z.infer<typeof StudyInput>;

/** How far a run is with what others may share: nothing, prepared, round 0 trained and evaluated, round 1 scored. */
export const Passed = z.int().min(0).max(3);

/** What a run reports to its study by a signal. `idle`: it is paused, parked or waiting, and leaves its place to others. */
export const StudyNote = z.strictObject({
  index: Index,
  idle: z.boolean(),
  passed: Passed,
  ended: End.shape.kind.nullable(),
  table: ObjectRef.nullable(),
});
export type StudyNote = z.infer<typeof StudyNote>;

/** `stop`: begin no more runs. `abort`: end those that have begun, too. */
export const EndStudy = z.strictObject({
  how: z.enum(['stop', 'abort']),
  who: z.string().max(120),
  why: z.string().max(500).default(''),
});
export type EndStudy = z.infer<typeof EndStudy>;
export const END_STUDY_UPDATE = 'srlmEndStudy';

/** How a run of a study ended. `refused`: its id belongs to a run that is not this study's. */
const RunEnd = z.enum([...End.shape.kind.options, 'refused']);
export type RunEnd = z.infer<typeof RunEnd>;

/** Carried from execution to execution. `runs`: what is kept of those that have ended (StudyRuns). */
export const StudyProgress = z.strictObject({
  ended: z.array(Index),
  begun: z.array(Index),
  runs: ObjectRef.nullable(),
  end: EndStudy.nullable(),
});
export type StudyProgress = z.infer<typeof StudyProgress>;

export const EndedRun = z.strictObject({
  index: Index,
  end: RunEnd,
  /** Its finished rounds. */
  table: ObjectRef.nullable(),
  message: z.string().max(1000).nullable(),
});
export type EndedRun = z.infer<typeof EndedRun>;
export const StudyRuns = z.array(EndedRun);

/** The memo field `srlmStudy` of a study. */
export const StudyMemo = z.strictObject({
  phase: z.enum(['running', 'stopping', 'done', 'stopped', 'aborted']),
  plan: ObjectRef,
  total: z.int(),
  begun: z.int(),
  ended: z.int(),
  runs: ObjectRef.nullable(),
});
export type StudyMemo = z.infer<typeof StudyMemo>;

/** `result`: a StudyResult; null: it could not be made, and `srlm study show` makes it again. */
export const StudyDone = z.strictObject({
  plan: ObjectRef,
  runs: ObjectRef.nullable(),
  result: ObjectRef.nullable(),
});
export type StudyDone = z.infer<typeof StudyDone>;

// --- its activities ---------------------------------------------------------------------------------------------------
export const ReadStudyInput = z.strictObject({ plan: ObjectRef });
export type ReadStudyInput = z.infer<typeof ReadStudyInput>;
/** What the runs of the plan share, in its order: prepare, round0, round1. A payload, so without names. */
export const StudyOrder = z.array(z.tuple([z.int(), z.int(), z.int().nullable()])).max(MAX_RUNS);
export type StudyOrder = z.infer<typeof StudyOrder>;

export const ReadStudyRunInput = z.strictObject({ plan: ObjectRef, index: Index });
export type ReadStudyRunInput = z.infer<typeof ReadStudyRunInput>;
/** `digest`: of the input, by which a run that exists is known to be this one. */
export const StudyRun = z.strictObject({ id: RunId, digest: Sha256, input: PlannedRun.shape.input });
export type StudyRun = z.infer<typeof StudyRun>;

export const LookAtRunInput = z.strictObject({ id: RunId, digest: Sha256 });
export type LookAtRunInput = z.infer<typeof LookAtRunInput>;
/** A run that exists: null while it has not ended. */
export const RunLook = z.strictObject({ end: RunEnd, table: ObjectRef.nullable() }).nullable();
export type RunLook = z.infer<typeof RunLook>;

export const KeepStudyRunInput = z.strictObject({ runs: ObjectRef.nullable(), run: EndedRun });
export type KeepStudyRunInput = z.infer<typeof KeepStudyRunInput>;
export const StudyResultInput = z.strictObject({ plan: ObjectRef, runs: ObjectRef });
export type StudyResultInput = z.infer<typeof StudyResultInput>;

// --- the result -------------------------------------------------------------------------------------------------------
export const Interval = z.strictObject({ low: z.number(), high: z.number() });
export type Interval = z.infer<typeof Interval>;

/** An arm's accuracy minus the baseline's, on the same questions and seeds. */
export const Difference = Interval.extend({
  mean: z.number(),
  questions: z.int(),
  /** The difference of each seed. */
  bySeed: z.array(z.strictObject({ seed: Seed, mean: z.number() })),
});
export type Difference = z.infer<typeof Difference>;

export const ArmRound = z.strictObject({
  round: z.int(),
  /** Runs that have an evaluation of this round. */
  seeds: z.int(),
  mean: z.number(),
  /** `seeds`: Student's t over the seeds. `questions`: Wilson's, of the one seed. */
  interval: Interval.extend({ over: z.enum(['seeds', 'questions']) }),
  /** null: the baseline itself, or no seed in common with it. */
  difference: Difference.nullable(),
});
export type ArmRound = z.infer<typeof ArmRound>;

/** What was found instead of worked out again. `made`: of the reused steps, those that another run of this study made. */
export const Reuse = z.strictObject({
  steps: z.int(),
  reused: z.int(),
  made: z.int(),
  savedSeconds: z.number(),
  savedTokens: z.number(),
});
export type Reuse = z.infer<typeof Reuse>;

export const ArmResult = z.strictObject({
  arm: Name,
  preset: z.string().nullable(),
  runs: z.array(
    z.strictObject({
      id: RunId,
      seed: Seed,
      end: RunEnd.nullable(),
      scores: z.array(z.strictObject({ round: z.int(), correct: z.int(), total: z.int() })),
    }),
  ),
  rounds: z.array(ArmRound),
  /** The last round of each run, against the last one of the baseline's. */
  last: Difference.nullable(),
  seconds: z.number(),
  usage: Usage,
  reuse: Reuse,
});
export type ArmResult = z.infer<typeof ArmResult>;

export const CLAIMS = ['rounds', 'catalysts', 'reasoning', 'selection', 'loop', 'samples'] as const;
export const Claim = z.strictObject({
  claim: z.enum(CLAIMS),
  verdict: z.enum(['supported', 'not supported', 'not decidable']),
  sentence: z.string(),
});
export type Claim = z.infer<typeof Claim>;

export const StudyResult = z.strictObject({
  version: z.literal(1),
  name: Name,
  baseline: Name,
  confidence: z.number(),
  seeds: z.array(Seed),
  arms: z.array(ArmResult),
  claims: z.array(Claim),
  reuse: Reuse,
});
export type StudyResult = z.infer<typeof StudyResult>;

// --- what clients show ------------------------------------------------------------------------------------------------
export const StudyRunStatus = z.strictObject({
  id: RunId,
  arm: Name,
  seed: Seed,
  /** null: it has not begun. */
  state: Phase.nullable(),
  round: z.int().nullable(),
  lastRound: z.int().nullable(),
  step: z.string().nullable(),
});
export type StudyRunStatus = z.infer<typeof StudyRunStatus>;
