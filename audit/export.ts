/**
 * Writes down what Temporal's retention would lose: the histories of a run and its rounds, beside the artifacts.
 *   DIR/histories/<workflow id>.json   {workflowId, history}, as replayed by Temporal's SDKs
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { writeWhole } from '../storage/files.js';

export async function exportRun(
  client: Client,
  workflowId: string,
  runId: string | undefined,
  folder: string,
): Promise<void> {
  const histories = join(folder, 'histories');
  await mkdir(histories, { recursive: true });
  const history = await client.workflow.getHandle(workflowId, runId).fetchHistory();
  const text = JSON.stringify({ workflowId, history: JSON.parse(historyToJSON(history)) });
  await writeWhole(join(histories, `${workflowId}.json`), `${text}\n`, histories);
}
