/**
 * Job folders: a detached process works in a folder of its own and says in its state.json how far it is. This finds the
 * processes of this host that are at work, also those whose worker has died.
 */
import { readdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { readJson } from '../storage/files.js';
import { isRunning } from './detached.js';

const State = z.object({
  state: z.enum(['starting', 'running', 'done', 'failed']),
  pid: z.int(),
  host: z.string().optional(),
  error: z.object({ type: z.string(), message: z.string() }).nullish(),
});
export type JobState = z.infer<typeof State>;

/** null: no process has started in this folder yet. */
export const readState = (folder: string): Promise<JobState | null> => readJson(join(folder, 'state.json'), State);

/** The processes of this host that are at work in folders below `root`. */
export async function runningJobs(root: string): Promise<{ pid: number; folder: string }[]> {
  const running: { pid: number; folder: string }[] = [];
  for (const name of await readdir(root).catch(() => [])) {
    const folder = join(root, name);
    const state = await readState(folder);
    if (state?.state !== 'starting' && state?.state !== 'running') continue;
    if (state.host === hostname() && (await isRunning(state.pid, folder))) running.push({ pid: state.pid, folder });
  }
  return running;
}
