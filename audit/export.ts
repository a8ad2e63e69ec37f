/**
 * Writes to files what Temporal's retention would delete (bundle.ts says where). The same run exported again gives the
 * same files. An export that was cut short has no run.json, so it is never taken for a complete one.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { inputInvalid, Problem, runUnknown } from '../contracts/errors.js';
import { SpecTexts } from '../contracts/spec.js';
import { sweep, writeWhole } from '../storage/files.js';
import type { Store } from '../storage/store.js';
import { timelineOf } from './build-timeline.js';
import { exportOf, HISTORIES, historyFiles, historyName, type RunFile, readHistory } from './bundle.js';
import type { Event, Execution } from './events.js';
import { fetchEvents, fetchFirstEvent } from './fetch-history.js';
import { HistoryReader } from './history-reader.js';
import { headOf, loadExport, loadRun, type RunHistories } from './load.js';
import { renderTimeline } from './render-timeline.js';
import { inputOf, runFileOf } from './run-file.js';

type OnProgress = (done: number, total: number) => void;
type ExportStore = Pick<Store, 'root' | 'objects'>;

/** Columns of timeline.md, which no terminal wraps. */
const WIDTH = 100;

export interface RunExport {
  temporal: Client | null;
  store: ExportStore;
  workflowId: string;
  firstRunId?: string | undefined;
  by: string;
  /** Removes an export that is in the folder. */
  replace?: boolean;
}

/** Writes all executions of a run to `folder`. Throws run.unknown. */
export async function exportRun(
  { temporal, store, workflowId, firstRunId, by, replace = false }: RunExport,
  folder: string,
  onProgress: OnProgress = () => {},
): Promise<RunFile> {
  const histories = await loadRun(temporal, store.root, workflowId, firstRunId);
  await begin(folder);
  if (replace) await rm(join(folder, HISTORIES), { recursive: true, force: true });
  return writeExport(store, histories, folder, by, onProgress, async (execution, nn) => {
    await writeHistory(folder, execution, nn);
  });
}

export interface ExecutionExport {
  temporal: Client;
  store: ExportStore;
  workflowId: string;
  firstRunId: string;
  runId: string;
}

/**
 * Adds one execution, which may still be running, to the export that a run makes of itself, and brings the rest of the
 * export up to date. Throws run.unknown where neither Temporal nor the export has the execution.
 */
export async function exportExecution(
  { temporal, store, workflowId, firstRunId, runId }: ExecutionExport,
  onProgress: OnProgress = () => {},
): Promise<RunFile> {
  const folder = exportOf(store.root, workflowId, firstRunId);
  const events = (await fetchEvents(temporal, workflowId, runId)) ?? (await exportedEvents(folder, runId));
  if (!events?.[0]) throw runUnknown(workflowId);
  const head = headOf(runId, events[0]);
  if (head.firstRunId !== firstRunId) throw inputInvalid('export', `execution ${runId} is not one of ${firstRunId}`);
  const nn = await positionOf(temporal, folder, workflowId, head);
  await begin(folder);
  await writeHistory(folder, { workflowId, runId, history: { events } }, nn);
  return writeExport(store, await loadExport(folder, workflowId, firstRunId), folder, null, onProgress);
}

async function exportedEvents(folder: string, runId: string): Promise<Event[] | null> {
  const file = (await historyFiles(folder)).get(runId);
  return file ? ((await readHistory(folder, file.name))?.history.events ?? null) : null;
}

async function begin(folder: string): Promise<void> {
  await mkdir(join(folder, HISTORIES), { recursive: true });
  sweep(folder);
  await rm(join(folder, 'run.json'), { force: true });
}

async function writeExport(
  store: ExportStore,
  histories: RunHistories,
  folder: string,
  by: string | null,
  onProgress: OnProgress,
  onExecution: (execution: Execution, nn: number) => Promise<void> = async () => {},
): Promise<RunFile> {
  const reader = new HistoryReader();
  let done = 0;
  const { workflowId, firstRunId, count, executions } = histories;
  for await (const execution of executions) {
    await onExecution(execution, ++done);
    reader.read(execution);
    onProgress(done, count);
  }
  const timeline = timelineOf(workflowId, firstRunId, reader);
  const files = new Map([...(await historyFiles(folder))].map(([runId, { name }]) => [runId, `${HISTORIES}/${name}`]));
  const facts = {
    artifactRoot: store.root,
    files,
    texts: await textsOf(store, reader),
    by,
    at: new Date().toISOString(),
  };
  const run = runFileOf(reader, timeline, facts);
  await write(folder, 'timeline.json', JSON.stringify(timeline));
  await write(folder, 'timeline.md', ['```', ...renderTimeline(timeline, WIDTH), '```'].join('\n'));
  await write(folder, 'run.json', JSON.stringify(run, null, 2));
  return run;
}

const write = (folder: string, name: string, text: string) => writeWhole(join(folder, name), `${text}\n`, folder);

/** Replaces the file of the same execution, whatever its number. */
async function writeHistory(folder: string, { workflowId, runId, history }: Execution, nn: number): Promise<void> {
  if (history === null) return;
  const name = (await historyFiles(folder)).get(runId)?.name ?? historyName(nn, runId);
  await write(folder, `${HISTORIES}/${name}`, JSON.stringify({ workflowId, history }));
}

/** Counted back to an execution that has been exported, or to the first one. */
async function positionOf(
  temporal: Client,
  folder: string,
  workflowId: string,
  { continued }: ReturnType<typeof headOf>,
): Promise<number> {
  const files = await historyFiles(folder);
  let nn = 1;
  for (let runId = continued; runId; nn++) {
    const file = files.get(runId);
    if (file) return file.nn + nn;
    const event = await fetchFirstEvent(temporal, workflowId, runId);
    runId = event ? headOf(runId, event).continued : null;
  }
  return nn;
}

/** null: the store no longer has them. */
async function textsOf({ objects }: ExportStore, reader: HistoryReader): Promise<SpecTexts | null> {
  const input = inputOf(reader);
  if (!input) return null;
  try {
    return await objects.readJson(input.texts, SpecTexts);
  } catch (error) {
    if (error instanceof Problem && error.type === 'artifact.damaged') return null;
    throw error;
  }
}
