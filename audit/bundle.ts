/**
 * An export as a folder:
 *   histories/<start>-<run id>.json  one execution: {workflowId, history}, as Temporal's SDKs replay it, and its digest
 *   timeline.json, timeline.md       what happened, for programs and for people
 *   evals/                           what evaluation tools found (evals.ts)
 *   run.json                         what is in here, the spec as it was and as it is, and the keys of the step records
 * run.json is removed first and written last: if it exists, everything that it lists is there.
 *
 * An export holds no artifacts. Data, models, candidates and step records stay in the store that run.json names, and
 * are found by the digests and keys given here. The records of single chunks (host, time and usage of each) have no
 * keys here: they are in the store under steps/<step>-chunk/, and the recipe in the record of their step decides them.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { CatalystInput, CatalystSettings, joinCatalystSpec } from '../contracts/catalysts.js';
import { Settings } from '../contracts/commands.js';
import { Sha256 } from '../contracts/refs.js';
import { RunInput, SampleInput } from '../contracts/run.js';
import { withSettings } from '../contracts/settings.js';
import { joinRunSpec, joinSampleSpec, RunSettings, SampleSettings, type SpecTexts } from '../contracts/spec.js';
import { nullIfMissing, sha256 } from '../storage/files.js';
import { visibleJson } from '../text/text.js';
import { type Event, isoOf, type WorkflowHistory } from './events.js';
import type { HistoryReader } from './history-reader.js';
import { type Entry, Timeline } from './timeline.js';

export const RunFile = Timeline.omit({ entries: true }).extend({
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
  /** As the run was started, with all defaults; and with everything that was set since. null: it cannot be read. */
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

// --- files ------------------------------------------------------------------------------------------------------------
export const HISTORIES = 'histories';

/** Where runs export themselves: one folder for each first execution of a workflow id. */
export const exportsOf = (root: string, workflowId: string): string => join(root, 'audit', fileName(workflowId));

export const exportOf = (root: string, workflowId: string, firstRunId: string): string =>
  join(exportsOf(root, workflowId), fileName(firstRunId));

/** `first`: the first event. Names sort by the time of it: 20261122T100000.000Z-<run id>.json. */
export const historyName = (runId: string, first: Event): string =>
  `${isoOf(first).replace(/[-:]/g, '')}-${fileName(runId)}.json`;

/** The history files of an export, oldest first: run id -> name. Empty where there is no such folder. */
export async function historyFiles(folder: string): Promise<Map<string, string>> {
  const names = (await readdir(join(folder, HISTORIES)).catch(nullIfMissing)) ?? [];
  return new Map(
    names.sort().flatMap((name) => {
      const [, runId] = /^\d{8}T[\d.]+Z-(.+)\.json$/i.exec(name) ?? [];
      return runId ? [[runId, name] as const] : [];
    }),
  );
}

/** The content of a history file. Its digest shows a reader that nothing in it has changed. */
export const historyText = ({ workflowId, history }: WorkflowHistory): string =>
  visibleJson({ sha256: digestOf({ workflowId, history }), workflowId, history });

const digestOf = ({ workflowId, history }: WorkflowHistory) => sha256(JSON.stringify({ workflowId, history }));

/** null: it is missing or damaged. */
export async function readHistory(path: string): Promise<WorkflowHistory | null> {
  const text = await readFile(path, 'utf8').catch(nullIfMissing);
  try {
    const file = JSON.parse(text ?? '') as WorkflowHistory & { sha256?: string };
    // Release 0.3.0 wrote no digest.
    const isWhole = file.sha256 === undefined || file.sha256 === digestOf(file);
    return isWhole && file.workflowId && file.history.events.length > 0 ? file : null;
  } catch {
    return null;
  }
}

const MAX_NAME_CHARS = 200;

/** Names of devices, whatever follows a dot: a store may be on a file system of Windows, where nobody can create them. */
const DEVICE = /^(?:con|prn|aux|nul|com\d|lpt\d)(?=\.|$)/i;

/** A workflow id may contain anything, the name of a file may not. */
function fileName(id: string): string {
  const name = encodeURIComponent(id)
    .replace(/^\.+|\.+$/g, (dots) => '%2E'.repeat(dots.length))
    .replaceAll('*', '%2A')
    .replace(DEVICE, (device) => `%${device.charCodeAt(0).toString(16).toUpperCase()}${device.slice(1)}`);
  return name.length <= MAX_NAME_CHARS ? name : `${name.slice(0, MAX_NAME_CHARS / 2)}~${sha256(id).slice(0, 16)}`;
}

// --- run.json ---------------------------------------------------------------------------------------------------------
interface ExportFacts {
  artifactRoot: string;
  /** Run id of an execution -> path of its file in the export. */
  files: ReadonlyMap<string, string>;
  /** null: the store no longer has them. */
  texts: SpecTexts | null;
  /** Who asked for the export; null: the run itself. */
  by: string | null;
}

export function runFileOf(reader: HistoryReader, timeline: Timeline, facts: ExportFacts): RunFile {
  const { entries, ...run } = timeline;
  const { artifactRoot, files, texts, by } = facts;
  const { spec, specNow, note: specNote } = specsOf(reader, texts);
  const note = [...missing(reader, timeline, by), specNote].filter(Boolean).join(' ');
  return {
    ...run,
    executions: reader.executions.map(({ runId, startedAt, round, events }) => ({
      runId,
      startedAt,
      round,
      events,
      file: files.get(runId) ?? null,
    })),
    spec,
    specNow,
    changes: changesOf(entries),
    artifactRoot,
    records: reader.steps.recordRefs(),
    exported: { at: new Date().toISOString(), by: by ?? 'the run itself', complete: note === '', note },
  };
}

/** What a run was started with: all its executions have the same. null: it cannot be read. */
export function inputOf({ start }: HistoryReader): RunInput | SampleInput | CatalystInput | null {
  const [input] = start?.args ?? [];
  return (
    RunInput.safeParse(input).data ?? SampleInput.safeParse(input).data ?? CatalystInput.safeParse(input).data ?? null
  );
}

type Specs = Pick<RunFile, 'spec' | 'specNow'> & { note: string };

/** An export must not fail because of its spec: what cannot be put together is its settings only. */
function specsOf(reader: HistoryReader, texts: SpecTexts | null): Specs {
  const input = inputOf(reader);
  if (!input)
    return { spec: null, specNow: null, note: 'The spec cannot be read: it is encoded, or of another version.' };
  if ('kind' in input) return joined(input.settings, reader.settings, texts, CatalystSettings, joinCatalystSpec);
  return 'fork' in input
    ? joined(input.settings, reader.settings, texts, RunSettings, joinRunSpec)
    : joined(input.settings, reader.settings, texts, SampleSettings, joinSampleSpec);
}

function joined<T>(
  settings: T,
  changes: readonly Settings[],
  texts: SpecTexts | null,
  schema: z.ZodType<T>,
  join: (settings: T, texts: SpecTexts) => unknown,
): Specs {
  let note = texts ? '' : 'The texts of the spec are not in the store: the specs here are without them.';
  const whole = (of: T) => {
    try {
      return (texts ? join(of, texts) : of) as RunFile['spec'];
    } catch {
      note = 'The texts of the spec do not fit its settings: a spec here is without them.';
      return of as RunFile['spec'];
    }
  };
  const now = changes.reduce((before, set) => {
    try {
      return withSettings(before, set, schema);
    } catch {
      // A change that the spec does not accept had no effect.
      return before;
    }
  }, settings);
  const [spec, specNow] = [whole(settings), whole(now)];
  return { spec, specNow, note };
}

function changesOf(entries: readonly Entry[]): RunFile['changes'] {
  return entries.flatMap((entry) => {
    if (entry.kind !== 'intervention' || entry.command === 'decision') return [];
    const { at, who, why, fields } = entry;
    const set = Settings.safeParse(fields.set).data;
    const fromRound = typeof fields.fromRound === 'number' ? fields.fromRound : null;
    return set ? [{ at, who, why, fromRound, set }] : [];
  });
}

function missing({ executions }: HistoryReader, { endedAt }: Timeline, by: string | null): string[] {
  const notes: string[] = [];
  if (executions.some(({ known }) => !known)) notes.push('The histories of some executions were no longer available.');
  notes.push(...executions.flatMap(({ undecoded }) => undecoded ?? []));
  if (endedAt === null) notes.push('The run had not ended.');
  else if (executions.at(-1)?.closed === false) {
    const writer = by === null ? 'by the run as its last act' : 'while the run was ending';
    notes.push(`Written ${writer}: the history here does not have the last events.`);
  }
  return notes;
}
