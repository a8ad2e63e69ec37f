/**
 * One process at a time: a file holds the identity of the process that has something for itself. A process that was
 * killed has nothing any more, since its id alone may belong to another program by now. Throws up.running.
 */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { upElsewhere, upRunning } from '../contracts/errors.js';
import { isAlive, makeFolder, removeSame, writeWholeNew } from '../storage/files.js';
import { identityOf } from './detached.js';

const Holder = z.object({ pid: z.int().min(1), host: z.string(), boot: z.string(), started: z.string() });
type Holder = z.infer<typeof Holder>;

/** Taken by this process, until it releases it. */
export interface Taken {
  isTaken: true;
  file: string;
  release(): Promise<void>;
}

/** Another process has it. `isElsewhere`: one of another host, at which nobody here can look. */
export interface Refused extends Holder {
  isTaken: false;
  file: string;
  isElsewhere: boolean;
}

/** When two processes take a file at once, the first to write it has it. `host`: the name of this one. */
export async function take(file: string, host: string): Promise<Taken | Refused> {
  const folder = dirname(file);
  const self: Holder = { pid: process.pid, host, ...(await identityOf(process.pid)) };
  const mine = JSON.stringify(self);
  while (!(await writeWholeNew(file, mine, folder))) {
    const text = await readFile(file, 'utf8').catch(() => null);
    const held = holderOf(text);
    // A container may have another name on each start, but is on the same machine.
    const isElsewhere = held !== null && held.host !== self.host && held.boot !== self.boot;
    if (held && (isElsewhere || (await isSame(held)))) return { isTaken: false, file, isElsewhere, ...held };
    // Its process was killed, or a power failure has torn the file. Another one may have replaced it by now.
    await removeSame(file, text);
  }
  return { isTaken: true, file, release: () => removeSame(file, mine) };
}

/** One `srlm up` in a folder: two of them would stop each other's server. Returns what releases the folder. */
export async function onlyOne(folder: string, host: string): Promise<() => Promise<void>> {
  await makeFolder(folder);
  const found = await take(join(folder, 'up.json'), host);
  if (found.isTaken) return found.release;
  throw found.isElsewhere ? upElsewhere(found.host, found.file) : upRunning(found.pid);
}

async function isSame({ pid, boot, started }: Holder): Promise<boolean> {
  const found = await identityOf(pid);
  return isAlive(pid) && found.boot === boot && found.started === started;
}

/** null: it is torn, or of an earlier release. */
function holderOf(text: string | null): Holder | null {
  try {
    return Holder.parse(JSON.parse(text ?? ''));
  } catch {
    return null;
  }
}
