/** run.json of an export: the facts of a run's histories, with its spec put together from settings and texts. Pure. */
import type { z } from 'zod';
import type { Settings } from '../contracts/commands.js';
import { RunInput, SampleInput } from '../contracts/run.js';
import { withSettings } from '../contracts/settings.js';
import { joinRunSpec, joinSampleSpec, RunSettings, SampleSettings, type SpecTexts } from '../contracts/spec.js';
import type { RunFile } from './bundle.js';
import type { ExecutionFacts, HistoryReader } from './history-reader.js';
import type { Timeline } from './timeline.js';

export interface ExportFacts {
  artifactRoot: string;
  /** Run id of an execution -> path of its file in the export. */
  files: ReadonlyMap<string, string>;
  /** null: the store no longer has them. */
  texts: SpecTexts | null;
  /** Who asked for the export; null: the run itself. */
  by: string | null;
  at: string;
}

export function runFileOf(reader: HistoryReader, timeline: Timeline, facts: ExportFacts): RunFile {
  const { artifactRoot, files, texts, by, at } = facts;
  const { run, firstRunId, type, state, startedAt, endedAt, fork } = timeline;
  const note = missing(reader.executions, timeline, facts);
  return {
    version: 2,
    ...{ run, firstRunId, type, state, startedAt, endedAt },
    executions: reader.executions.map(({ runId, startedAt, round, events }) => ({
      ...{ runId, startedAt, round, events, file: files.get(runId) ?? null },
    })),
    fork,
    spec: specOf(reader, [], texts),
    specNow: specOf(reader, reader.settings, texts),
    changes: changesOf(timeline),
    artifactRoot,
    records: reader.recordRefs(),
    exported: { at, by: by ?? 'the run itself', complete: note === '', note },
  };
}

/** The input of a run's first execution, or of a later one: they have the same. */
export function inputOf({ start }: HistoryReader): RunInput | SampleInput | null {
  const [input] = start?.args ?? [];
  return RunInput.safeParse(input).data ?? SampleInput.safeParse(input).data ?? null;
}

/** The whole spec; without its texts, its settings. A change that the spec does not accept had no effect. */
function specOf(reader: HistoryReader, changes: readonly Settings[], texts: SpecTexts | null): RunFile['spec'] {
  const input = inputOf(reader);
  if (!input) return null;
  if ('fork' in input) {
    const settings = changed(input.settings, changes, RunSettings);
    return (texts ? joinRunSpec(settings, texts) : settings) as RunFile['spec'];
  }
  const settings = changed(input.settings, changes, SampleSettings);
  return (texts ? joinSampleSpec(settings, texts) : settings) as RunFile['spec'];
}

function changed<T>(settings: T, changes: readonly Settings[], schema: z.ZodType<T>): T {
  return changes.reduce((now, set) => {
    try {
      return withSettings(now, set, schema);
    } catch {
      return now;
    }
  }, settings);
}

function changesOf({ entries }: Timeline): RunFile['changes'] {
  return entries.flatMap((entry) => {
    if (entry.kind !== 'intervention' || entry.set === null || entry.command === 'decision') return [];
    const { at, who, why, fromRound, set } = entry;
    return [{ at, who, why, fromRound, set }];
  });
}

/** What the export lacks; empty: nothing. */
function missing(executions: readonly ExecutionFacts[], timeline: Timeline, { texts, by }: ExportFacts): string {
  const notes: string[] = [];
  if (executions.some(({ known }) => !known)) notes.push('The histories of some executions were no longer available.');
  if (texts === null) notes.push('The texts of the spec are not in the store: the specs here are without them.');
  const last = executions.at(-1);
  if (timeline.endedAt === null) notes.push('The run had not ended.');
  else if (last && !last.closed) {
    const writer = by === null ? 'by the run as its last act' : 'while the run was ending';
    notes.push(`Written ${writer}: the history here does not have the last events.`);
  }
  return notes.join(' ');
}
