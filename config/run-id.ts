/** Ids of runs: they are part of commands, of folders and of addresses in Temporal's UI. */
import { randomBytes } from 'node:crypto';

const MAX_CHARS = 100;
const PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** `name-20260131-120000-1f9c`: the random end keeps two starts within one second apart. */
export function newId(name: string, now = new Date()): string {
  const time = now.toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-');
  const end = `-${time}-${randomBytes(2).toString('hex')}`;
  return name.slice(0, MAX_CHARS - end.length) + end;
}

/** Why `id` cannot be the id of a run; null: it can. */
export function idProblem(id: string): string | null {
  if (id.length <= MAX_CHARS && PATTERN.test(id)) return null;
  return `expected letters, digits, dots, dashes and underscores, at most ${MAX_CHARS}, found ${JSON.stringify(id)}`;
}
