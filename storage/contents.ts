/**
 * What a store's folder holds, by the names of its files, and how a part of it is removed. Names of another form are not
 * ours: they are neither listed nor removed. A folder is moved to tmp/ first, so that nobody finds half of it.
 */
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { nullIfMissing, temporaryName } from './files.js';

/** record: of a step; job: the folder of a training. */
export type Kind = 'rows' | 'json' | 'file' | 'record' | 'model' | 'job';

export interface Item {
  kind: Kind;
  /** The digest or the key in its name. */
  digest: string;
  path: string;
  bytes: number;
  /** When it was written or, at the latest, used. */
  usedAtMs: number;
}

const OBJECT = /^([0-9a-f]{64})\.(jsonl|json|raw)$/;
const OBJECT_KINDS: Record<string, Kind> = { jsonl: 'rows', json: 'json', raw: 'file' };
const RECORD = /^([0-9a-f]{64})\.json$/;
const FOLDER = /^[0-9a-f]{64}$/;

export async function* contents(root: string): AsyncGenerator<Item> {
  for (const part of await names(join(root, 'objects')))
    for (const name of await names(join(root, 'objects', part))) {
      const [, digest, ending] = OBJECT.exec(name) ?? [];
      if (digest) yield* fileItem(OBJECT_KINDS[ending!]!, digest, join(root, 'objects', part, name));
    }
  for (const step of await names(join(root, 'steps')))
    for (const part of await names(join(root, 'steps', step)))
      for (const name of await names(join(root, 'steps', step, part))) {
        const key = RECORD.exec(name)?.[1];
        if (key) yield* fileItem('record', key, join(root, 'steps', step, part, name));
      }
  for (const [kind, folder] of [
    ['model', 'models'],
    ['job', 'jobs'],
  ] as const)
    for (const name of await names(join(root, folder)))
      if (FOLDER.test(name)) {
        const path = join(root, folder, name);
        yield { kind, digest: name, path, ...(await sizeOf(path)) };
      }
}

/** False: it has gone, or was used since it was listed. */
export async function remove(root: string, { kind, path, usedAtMs }: Item): Promise<boolean> {
  const now = kind === 'model' || kind === 'job' ? await sizeOf(path) : await fileSize(path);
  if (!now || now.usedAtMs !== usedAtMs) return false;
  const aside = join(root, 'tmp', temporaryName());
  if ((await rename(path, aside).catch(nullIfMissing)) === null) return false;
  await rm(aside, { recursive: true, force: true });
  return true;
}

const names = async (folder: string): Promise<string[]> =>
  (await readdir(folder)
    .catch(nullIfMissing)
    .catch(() => null)) ?? [];

async function* fileItem(kind: Kind, digest: string, path: string): AsyncGenerator<Item> {
  const found = await fileSize(path);
  if (found) yield { kind, digest, path, ...found };
}

async function fileSize(path: string): Promise<Pick<Item, 'bytes' | 'usedAtMs'> | null> {
  const found = await stat(path).catch(nullIfMissing);
  return found && { bytes: found.size, usedAtMs: found.mtimeMs };
}

/** All files below a folder together; the newest of them says when it was used. */
async function sizeOf(folder: string): Promise<Pick<Item, 'bytes' | 'usedAtMs'>> {
  let { bytes, usedAtMs } = { bytes: 0, usedAtMs: (await fileSize(folder))?.usedAtMs ?? 0 };
  for (const entry of (await readdir(folder, { withFileTypes: true, recursive: true }).catch(nullIfMissing)) ?? []) {
    if (!entry.isFile()) continue;
    const found = await fileSize(join(entry.parentPath, entry.name));
    bytes += found?.bytes ?? 0;
    usedAtMs = Math.max(usedAtMs, found?.usedAtMs ?? 0);
  }
  return { bytes, usedAtMs };
}
