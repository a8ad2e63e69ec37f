/**
 * Histories of a run and its rounds: from Temporal, or, where it has them no more, from the files that the run has
 * exported. Throws run.unknown when there is neither.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import pLimit from 'p-limit';
import { runUnknown } from '../contracts/errors.js';
import { exportsOf, historyFile, RunFile } from './bundle.js';
import { childrenOf, type Execution, isClosed, type Recorded, startOf } from './events.js';

/** The run's own history first. */
export type Histories = [Recorded, ...Recorded[]];

/** `temporal` null: it does not answer. `execution`: default the newest of this id. */
export async function loadRun(
  temporal: Client | null,
  root: string,
  workflowId: string,
  execution?: string,
): Promise<Histories> {
  const run =
    (await fromTemporal(temporal, workflowId, execution)) ?? (await newestExport(root, workflowId, execution));
  if (!run) throw runUnknown(workflowId);
  const folder = join(exportsOf(root, workflowId), startOf(run).runId);
  const limit = pLimit(4);
  const rounds = await Promise.all(
    childrenOf(run).map((child) =>
      limit(async () => {
        const file = await fromFile(join(folder, historyFile(child)));
        // What has ended does not change any more.
        if (file && isClosed(file)) return file;
        return (await fromTemporal(temporal, child.workflowId, child.runId)) ?? file;
      }),
    ),
  );
  return [run, ...rounds.filter((round) => round !== null)];
}

async function fromTemporal(client: Client | null, workflowId: string, runId?: string): Promise<Recorded | null> {
  if (!client) return null;
  try {
    const history = await client.workflow.getHandle(workflowId, runId).fetchHistory();
    return { workflowId, history: JSON.parse(historyToJSON(history)) };
  } catch (error) {
    const { code, cause } = error as { code?: number; cause?: { code?: number } };
    if ((code ?? cause?.code) === NOT_FOUND) return null;
    throw error;
  }
}
const NOT_FOUND = 5;

async function fromFile(path: string): Promise<Recorded | null> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Recorded;
  } catch {
    return null; // Not there, or cut: then it is none.
  }
}

async function newestExport(root: string, workflowId: string, execution?: string): Promise<Recorded | null> {
  const folder = exportsOf(root, workflowId);
  const names = await readdir(folder).catch(() => []);
  const files = await Promise.all(
    names
      .filter((name) => execution === undefined || name === execution)
      .map(async (name) => {
        const text = await readFile(join(folder, name, 'run.json'), 'utf8').catch(() => 'null');
        const run = RunFile.safeParse(JSON.parse(text)).data;
        return run ? { run, folder: join(folder, name) } : null;
      }),
  );
  const newest = files
    .filter((file) => file !== null)
    .sort((a, b) => a.run.startedAt.localeCompare(b.run.startedAt))
    .at(-1);
  if (!newest) return null;
  const [first] = newest.run.workflows;
  return first ? fromFile(join(newest.folder, historyFile({ workflowId, runId: first.execution }))) : null;
}

export const executionOf = (recorded: Recorded): Execution => ({
  workflowId: recorded.workflowId,
  runId: startOf(recorded).runId,
});
