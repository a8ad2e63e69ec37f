/**
 * One GPU worker for a workRoot and for each NVIDIA device that it sees: two would load their models into the same
 * memory, and stop each other's servers. A worker that was killed holds nothing; its servers and trainers are found by the
 * next one. Workers that name a device by number and by UUID, or that belong to different users, are not known to each
 * other. Throws gpu.taken, storage.not-writable.
 */
import { lstat, mkdir, readdir, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Deployment } from '../contracts/deployment.js';
import { gpuTaken, gpuTakenElsewhere, gpuTakenHere, storageRefused } from '../contracts/errors.js';
import { type Refused, type Taken, take } from '../processes/only-one.js';
import { codeOf, makeFolder, OWNER_ONLY } from '../storage/files.js';
import { writeNote } from '../text/terminal.js';

/** For a predecessor that is just ending, as when workers are replaced one by one. */
const PATIENCE_MS = 5000;
const LOOK_EVERY_MS = 250;
/** Systems remove files of the temporary folder that nobody has touched for days. */
const TOUCH_EVERY_MS = 3_600_000;

export interface GpuLock {
  release(): Promise<void>;
}

export async function lockGpu(deployment: Deployment, patienceMs = PATIENCE_MS): Promise<GpuLock> {
  await makeFolder(deployment.workRoot);
  const wanted = [{ file: join(deployment.workRoot, 'gpu.json'), what: 'this workRoot' }];
  if (usesGpu(deployment)) {
    const devices = visibleDevices(await readdir('/dev').catch(() => []), process.env.CUDA_VISIBLE_DEVICES);
    const folder = devices.length > 0 ? await folderOfUser() : '';
    wanted.push(...devices.map((name) => ({ file: join(folder, `gpu-${name}.json`), what: `this GPU (${name})` })));
  }
  const taken: Taken[] = [];
  const release = async () => {
    for (const one of taken.splice(0)) await one.release();
  };
  try {
    for (const { file, what } of wanted) taken.push(await patiently(file, what, deployment.host, patienceMs));
  } catch (error) {
    await release();
    throw error;
  }
  const touching = setInterval(() => {
    const now = new Date();
    for (const { file } of taken) void utimes(file, now, now).catch(() => {});
  }, TOUCH_EVERY_MS).unref();
  return {
    release: async () => {
      clearInterval(touching);
      await release();
    },
  };
}

async function patiently(file: string, what: string, host: string, patienceMs: number): Promise<Taken> {
  let isNoted = false;
  for (const until = performance.now() + patienceMs; ; await sleep(LOOK_EVERY_MS)) {
    const found = await take(file, host);
    if (found.isTaken) return found;
    const isOwn = found.pid === process.pid;
    if (found.isElsewhere || isOwn || performance.now() > until) throw refusal(found, what);
    if (!isNoted) writeNote(`Process ${found.pid} works with ${what}; it may be ending ...`);
    isNoted = true;
  }
}

function refusal({ isElsewhere, host, pid, file }: Refused, what: string) {
  if (isElsewhere) return gpuTakenElsewhere(host, file);
  return pid === process.pid ? gpuTakenHere(what) : gpuTaken(pid, what);
}

/** Something of this deployment may compute on a GPU. */
function usesGpu({ engines, trainers }: Deployment): boolean {
  const places = [...Object.values(engines), ...Object.values(trainers)];
  return places.some((place) => 'device' in place && place.device !== 'cpu');
}

/** As CUDA reads CUDA_VISIBLE_DEVICES: numbers or UUIDs, up to the first that is neither. `devices`: files of /dev. */
export function visibleDevices(devices: readonly string[], visible: string | undefined): string[] {
  const present = devices.flatMap((name) => /^nvidia(\d+)$/.exec(name)?.[1] ?? []);
  if (present.length === 0) return [];
  if (visible === undefined) return present.sort();
  const names = visible.split(',').map((name) => name.trim());
  const end = names.findIndex((name) => !/^(\d+|(GPU|MIG)-[\w./-]+)$/.test(name));
  return [...new Set(end < 0 ? names : names.slice(0, end))].map((name) => name.replaceAll('/', '_')).sort();
}

/** A folder that no other user can write to, at a place that all workers of this user know. */
async function folderOfUser(): Promise<string> {
  const user = process.getuid?.() ?? 0;
  const folder = join(tmpdir(), `srlm-${user}`);
  await mkdir(folder, { mode: OWNER_ONLY }).catch((error) => {
    if (codeOf(error) !== 'EEXIST') throw storageRefused(folder, codeOf(error) ?? String(error));
  });
  const found = await lstat(folder);
  if (!found.isDirectory() || found.uid !== user || (found.mode & 0o077) !== 0)
    throw storageRefused(folder, 'it belongs to somebody else, or others may write to it');
  return folder;
}
