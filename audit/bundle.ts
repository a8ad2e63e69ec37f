/**
 * An export of a run as a folder; one folder a kind of file, and run.json, written last: where it is, all is there.
 *   run.json                      what is in here, and the spec as the run began and as it ended
 *   histories/<workflow>~<execution>.json   {workflowId, history}, as Temporal's SDKs replay it
 *   steps/<step>/<key>.json       records of the steps the run used, its own and others' alike
 *   account.json, account.md      what happened, for programs and for people
 */
import { join } from 'node:path';
import { z } from 'zod';
import { RunState } from '../contracts/progress.js';
import { Settings } from '../contracts/steps.js';
import type { Execution } from './events.js';

export const RunFile = z.strictObject({
  version: z.literal(1),
  run: z.string(),
  type: z.enum(['run', 'sample']),
  state: RunState,
  startedAt: z.string(),
  endedAt: z.string().nullable(),
  /** The run first, then its rounds; more than one execution of a round where a repair went through it again. */
  workflows: z.array(
    z.strictObject({
      workflowId: z.string(),
      execution: z.string(),
      round: z.int().nullable(),
      /** Path in this folder; null: Temporal had it no more. */
      file: z.string().nullable(),
      events: z.int(),
    }),
  ),
  fork: z.strictObject({ of: z.string(), fromRound: z.int(), set: Settings }).nullable(),
  /** As the run was started, with all defaults; and with all that was set since. */
  spec: z.json(),
  specSince: z.json(),
  changes: z.array(
    z.strictObject({
      at: z.string(),
      who: z.string(),
      why: z.string(),
      /** From this round on; null: at once. */
      fromRound: z.int().nullable(),
      set: Settings,
    }),
  ),
  records: z.int(),
  exported: z.strictObject({
    at: z.string(),
    by: z.string(),
    /** false: the run's history goes on after what is here. `note` says why. */
    complete: z.boolean(),
    note: z.string(),
  }),
});
export type RunFile = z.infer<typeof RunFile>;

/** Where a run leaves its own export, below the artifact root. */
export const exportsOf = (root: string, workflowId: string): string => join(root, 'audit', fileName(workflowId));

export const historyFile = ({ workflowId, runId }: Execution): string =>
  `histories/${fileName(workflowId)}~${fileName(runId)}.json`;

/** A workflow id may hold anything, a name of a file not. */
function fileName(id: string): string {
  return encodeURIComponent(id).replace(/^\.+/, (dots) => '%2E'.repeat(dots.length));
}
