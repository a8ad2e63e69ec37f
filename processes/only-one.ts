/**
 * One `srlm up` in a folder: the process that runs there has its name in up.json. Throws up.running.
 */
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { upElsewhere, upRunning } from '../contracts/errors.js';
import { isAlive, makeFolder, removeSame, writeWholeNew } from '../storage/files.js';
import { identityOf } from './detached.js';

/** The process that holds the folder: its id alone may belong to another program by now, here or on another host. */
const Holder = z.object({ pid: z.int().min(1), host: z.string(), boot: z.string(), started: z.string() });
type Holder = z.infer<typeof Holder>;

/** Two of them would share a GPU and stop each other's server. When two start at once, the first to write is the one that runs. */
export async function onlyOne(folder: string): Promise<() => Promise<void>> {
  await makeFolder(folder);
  const file = join(folder, 'up.json');
  const self: Holder = { pid: process.pid, host: hostname(), ...(await identityOf(process.pid)) };
  const mine = JSON.stringify(self);
  while (!(await writeWholeNew(file, mine, folder))) {
    const text = await readFile(file, 'utf8').catch(() => null);
    const held = holderOf(text);
    // A container may have another name on each start, but is on the same machine.
    if (held && held.host !== self.host && held.boot !== self.boot) throw upElsewhere(held.host, file);
    if (held && held.pid !== process.pid && (await isSame(held))) throw upRunning(held.pid);
    // Its process was killed, or a power failure has torn the file. Another one may have replaced it by now.
    await removeSame(file, text);
  }
  return () => removeSame(file, mine);
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
