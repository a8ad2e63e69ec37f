/**
 * An export as a folder. run.json is removed first and written last: where it is, everything that it lists is there.
 *   run.json                      what is in here, the spec as it was and as it is, and the keys of the step records
 *   histories/<nn>-<run id>.json  one execution: {workflowId, history}, as Temporal's SDKs replay it
 *   timeline.json, timeline.md    what happened, for programs and for people
 * Step records stay in the artifact store that run.json names.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { Settings } from '../contracts/commands.js';
import { Sha256 } from '../contracts/refs.js';
import { Phase } from '../contracts/run.js';
import { sha256 } from '../storage/files.js';
import type { WorkflowHistory } from './events.js';
import { Fork } from './timeline.js';

export const RunFile = z.strictObject({
  version: z.literal(2),
  run: z.string(),
  /** Temporal's id of the first execution. */
  firstRunId: z.string(),
  type: z.enum(['run', 'sample']),
  state: Phase,
  startedAt: z.string(),
  endedAt: z.string().nullable(),
  /** Oldest first. */
  executions: z.array(
    z.strictObject({
      runId: z.string(),
      startedAt: z.string().nullable(),
      /** The last round that it began; null: none. */
      round: z.int().nullable(),
      events: z.int(),
      /** Path in this folder; null: its history is no longer available. */
      file: z.string().nullable(),
    }),
  ),
  fork: Fork.nullable(),
  /** As the run was started, with all defaults; and with everything that was set since. */
  spec: z.json(),
  specNow: z.json(),
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
  /** The store that has the records, as steps/<step>/<first two digits of key>/<key>.json, and all artifacts. */
  artifactRoot: z.string(),
  records: z.array(z.strictObject({ step: z.string(), key: Sha256 })),
  exported: z.strictObject({
    at: z.string(),
    by: z.string(),
    /** false: something is missing; `note` says what. */
    complete: z.boolean(),
    note: z.string(),
  }),
});
export type RunFile = z.infer<typeof RunFile>;

export const HISTORIES = 'histories';

/** Where runs export themselves: one folder for each first execution of a workflow id. */
export const exportsOf = (root: string, workflowId: string): string => join(root, 'audit', fileName(workflowId));

export const exportOf = (root: string, workflowId: string, firstRunId: string): string =>
  join(exportsOf(root, workflowId), fileName(firstRunId));

/** `nn`: position in the run, for people; the order comes from the histories. */
export const historyName = (nn: number, runId: string): string =>
  `${String(nn).padStart(2, '0')}-${fileName(runId)}.json`;

/** The history files of an export: run id -> {name, nn}. Empty where there is no such folder. */
export async function historyFiles(folder: string): Promise<Map<string, { name: string; nn: number }>> {
  const names = await readdir(join(folder, HISTORIES)).catch(() => []);
  return new Map(
    names.sort().flatMap((name) => {
      const [, nn, runId] = /^(\d+)-(.+)\.json$/.exec(name) ?? [];
      return nn && runId ? [[runId, { name, nn: Number(nn) }] as const] : [];
    }),
  );
}

/** null: it is missing or torn. */
export async function readHistory(folder: string, name: string): Promise<WorkflowHistory | null> {
  const text = await readFile(join(folder, HISTORIES, name), 'utf8').catch(() => '');
  try {
    const file = JSON.parse(text) as Partial<WorkflowHistory>;
    return file.workflowId && file.history?.events?.length ? (file as WorkflowHistory) : null;
  } catch {
    return null;
  }
}

const MAX_NAME_CHARS = 200;

/** A workflow id may contain anything, the name of a file may not. */
function fileName(id: string): string {
  const name = encodeURIComponent(id).replace(/^\.+/, (dots) => '%2E'.repeat(dots.length));
  return name.length <= MAX_NAME_CHARS ? name : `${name.slice(0, MAX_NAME_CHARS / 2)}~${sha256(id).slice(0, 16)}`;
}
