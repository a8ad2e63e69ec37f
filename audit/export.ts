/**
 * Writes to files what Temporal's retention would delete (bundle.ts says where). The same run exported again gives the
 * same files. An export that was cut short has no run.json, so it is never taken for a complete one.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { inputInvalid, Problem, runUnknown } from '../contracts/errors.js';
import { SpecTexts } from '../contracts/spec.js';
import type { ExportInput } from '../contracts/steps.js';
import { OWNER_ONLY, sweep, writeWhole } from '../storage/files.js';
import type { Store } from '../storage/store.js';
import { visibleJson } from '../text/text.js';
import {
  exportOf,
  HISTORIES,
  historyFiles,
  historyName,
  historyText,
  inputOf,
  type RunFile,
  runFileOf,
} from './bundle.js';
import type { Decoding } from './decode.js';
import { copyEvals } from './evals.js';
import { type Execution, firstRunIdOf } from './events.js';
import { HistoryReader } from './history-reader.js';
import { fetchEvents, loadRun } from './load.js';
import { renderTimeline } from './render-timeline.js';

/** Columns of timeline.md, which no terminal wraps. */
const WIDTH = 100;

type ExportStore = Pick<Store, 'root' | 'objects'>;

interface RunExport {
  temporal: Client | null;
  decoding: Decoding;
  store: ExportStore;
  workflowId: string;
  /** The execution that began the run; default: that of the newest run with this id. */
  firstRunId?: string;
  /** null: the run itself, as its last act. */
  by: string | null;
}

/** Writes everything to `folder`, which then holds nothing of another run. Throws run.unknown. */
export async function exportRun(
  { temporal, decoding, store, workflowId, firstRunId, by }: RunExport,
  folder: string,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<RunFile> {
  const { executions, count, ...run } = await loadRun({ temporal, decoding, root: store.root }, workflowId, firstRunId);
  await begin(folder);
  await rm(join(folder, 'run.json'), { force: true });
  const reader = new HistoryReader();
  const files = new Map<string, string>();
  for await (const execution of executions) {
    const file = await writeHistory(folder, execution);
    if (file) files.set(execution.runId, file);
    reader.read(execution);
    onProgress(reader.executions.length, count);
  }
  const timeline = reader.timeline(run.workflowId, run.firstRunId);
  // Only now: the histories may have been read from this very folder.
  for (const [runId, name] of await historyFiles(folder))
    if (!reader.executions.some((one) => one.runId === runId)) await rm(join(folder, HISTORIES, name));
  const file = runFileOf(reader, timeline, {
    artifactRoot: store.root,
    files,
    texts: await textsOf(store, reader),
    by,
  });
  await write(folder, 'timeline.json', visibleJson(timeline));
  await write(folder, 'timeline.md', fenced(renderTimeline(timeline, WIDTH)));
  await copyEvals(exportOf(store.root, run.workflowId, run.firstRunId), folder);
  await write(folder, 'run.json', visibleJson(file, 2));
  return file;
}

interface ExecutionExport extends Omit<ExportInput, 'last'> {
  temporal: Client;
  store: ExportStore;
}

/**
 * Writes the history of one execution, and nothing else, to where a run exports itself. Throws run.unknown where neither
 * Temporal nor the export has the execution.
 */
export async function exportExecution(of: ExecutionExport): Promise<void> {
  const { temporal, store, workflowId, firstRunId, runId } = of;
  const folder = exportOf(store.root, workflowId, firstRunId);
  const events = await fetchEvents(temporal, workflowId, runId);
  if (!events?.[0]) {
    if ((await historyFiles(folder)).has(runId)) return;
    throw runUnknown(workflowId);
  }
  if (firstRunIdOf(runId, events[0]) !== firstRunId)
    throw inputInvalid('export', `execution ${runId} is not one of ${firstRunId}`);
  await begin(folder);
  await writeHistory(folder, { workflowId, runId, history: { events } });
}

async function begin(folder: string): Promise<void> {
  await mkdir(join(folder, HISTORIES), { recursive: true, mode: OWNER_ONLY });
  sweep(folder);
}

const write = (folder: string, name: string, text: string) => writeWhole(join(folder, name), `${text}\n`, folder);

/** A block of code in Markdown, which no line of it can end. */
function fenced(lines: readonly string[]): string {
  const longest = Math.max(2, ...lines.flatMap((line) => line.match(/`+/g) ?? []).map((ticks) => ticks.length));
  const fence = '`'.repeat(longest + 1);
  return [fence, ...lines, fence].join('\n');
}

/** As Temporal has it, so that it can be replayed. Returns the path in the folder; null: there is no history. */
async function writeHistory(folder: string, execution: Execution): Promise<string | null> {
  const { workflowId, runId, file } = execution;
  const history = execution.encoded ?? execution.history;
  const first = history?.events[0];
  if (!first) return null;
  const path = `${HISTORIES}/${historyName(runId, first)}`;
  if (file !== join(folder, path)) await write(folder, path, historyText({ workflowId, history }));
  return path;
}

/** null: the store no longer has them. */
async function textsOf({ objects }: ExportStore, reader: HistoryReader): Promise<SpecTexts | null> {
  const input = inputOf(reader);
  if (!input) return null;
  try {
    return await objects.readJson(input.texts, SpecTexts);
  } catch (error) {
    if (error instanceof Problem) return null;
    throw error;
  }
}
