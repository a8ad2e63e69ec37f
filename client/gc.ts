/**
 * What the store holds, by run, and what nothing needs. Kept is whatever a kept run depends on, however indirectly:
 * what it has made, and every digest and key in its histories, in the records that these name, and in the objects that
 * those name. Kept, too, is what was written or used lately: a run that is running may have found it just now.
 * A run is kept unless it is named as one to forget. Throws run.refused where a history cannot be read.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { HISTORIES, historyFiles, readHistory } from '../audit/bundle.js';
import { type Decoding, decodeExecution } from '../audit/decode.js';
import { type Execution, isClosed } from '../audit/events.js';
import { fetchEvents } from '../audit/load.js';
import { commandRefused, runUnknown, shellWord } from '../contracts/errors.js';
import type { Phase } from '../contracts/run.js';
import { contents, type Item, remove } from '../storage/contents.js';
import { nullIfMissing } from '../storage/files.js';
import type { RunListing } from './status.js';

export interface GcOptions {
  /** Runs that nothing is kept for. */
  forget: readonly string[];
  /** Also those that Temporal no longer has. */
  forgetDeleted: boolean;
  /** What was used within so many hours is kept. */
  hours: number;
}

export interface RunShare {
  runId: string;
  /** null: Temporal does not have it. */
  state: Phase | null;
  forgotten: boolean;
  modelBytes: number;
  otherBytes: number;
  freedBytes: number;
}

export interface Garbage {
  /** By what each run was the first to make; what no record names is in none of them. */
  runs: RunShare[];
  items: Item[];
  bytes: number;
}

/** What a run needs is looked up here. */
export interface RunsOfStore {
  /** As Temporal has them. */
  listed: readonly RunListing[];
  /** Their executions: of Temporal, and exported ones that it no longer has. */
  executions: AsyncIterable<Execution>;
}

/** Who made a record, and when. Its text is read again where it is needed: a store has many of them. */
interface Made {
  run: string;
  endedAt: string;
}

const DAY_MS = 86_400_000;

/** Changes nothing. */
export async function findGarbage(
  root: string,
  { listed, executions }: RunsOfStore,
  { forget, forgetDeleted, hours }: GcOptions,
  nowMs = Date.now(),
): Promise<Garbage> {
  const store = new Contents();
  for await (const item of contents(root)) await store.add(item);

  const states = new Map(listed.map(({ runId, state }) => [runId, state]));
  const active = listed.filter(({ endedAt }) => endedAt === null);
  for (const { runId } of active)
    if (forget.includes(runId)) throw commandRefused(runId, 'gc --forget', 'it has not ended');
  const known = new Set([...states.keys(), ...store.runs()]);
  for (const runId of forget) if (!known.has(runId)) throw runUnknown(runId);
  const isForgotten = (runId: string) => forget.includes(runId) || (forgetDeleted && !states.has(runId));

  // A client stores the data before its run starts, and checks them in between.
  const began = active.map(({ startedAt }) => Date.parse(startedAt) - DAY_MS);
  const usedSinceMs = Math.min(nowMs - hours * 3_600_000, ...began);

  for await (const execution of executions) if (!isForgotten(execution.workflowId)) store.needAll(digestsOf(execution));
  for (const item of store.items)
    if (item.usedAtMs >= usedSinceMs || (await store.isMadeFor(item, (run) => !isForgotten(run))))
      store.need(item.digest);
  await store.follow();

  const items = store.items.filter(({ digest }) => !store.isNeeded(digest));
  const freed = new Set(items);
  const shares = new Map<string, RunShare>();
  for await (const [runId, item] of store.firstMakers()) {
    const share = shares.get(runId) ?? {
      ...{ runId, state: states.get(runId) ?? null, forgotten: isForgotten(runId) },
      ...{ modelBytes: 0, otherBytes: 0, freedBytes: 0 },
    };
    share[item.kind === 'model' ? 'modelBytes' : 'otherBytes'] += item.bytes;
    if (freed.has(item)) share.freedBytes += item.bytes;
    shares.set(runId, share);
  }
  const runs = [...shares.values()].sort((a, b) => (a.runId < b.runId ? -1 : 1));
  return { runs, items, bytes: items.reduce((sum, { bytes }) => sum + bytes, 0) };
}

const ORDER: Item['kind'][] = ['record', 'rows', 'json', 'file', 'model', 'job'];

/**
 * Removes what was found. Records go first: what a record names is there as long as the record. Returns the bytes. Ends
 * where a record was used meanwhile.
 */
export async function removeGarbage(root: string, { items }: Garbage): Promise<number> {
  let bytes = 0;
  for (const kind of ORDER)
    for (const item of items.filter((one) => one.kind === kind)) {
      const isRemoved = await remove(root, item);
      if (isRemoved) bytes += item.bytes;
      // Somebody uses what the rest may belong to: what that is, the next look finds out.
      else if (kind === 'record') return bytes;
    }
  return bytes;
}

class Contents {
  readonly items: Item[] = [];
  private readonly byDigest = new Map<string, Item[]>();
  private readonly records = new Map<Item, Made>();
  private readonly needed = new Set<string>();
  private todo: string[] = [];

  async add(item: Item): Promise<void> {
    this.items.push(item);
    const same = this.byDigest.get(item.digest);
    if (same) same.push(item);
    else this.byDigest.set(item.digest, [item]);
    const made = item.kind === 'record' ? await madeBy(item) : null;
    if (made) this.records.set(item, made);
  }

  runs(): string[] {
    return [...new Set([...this.records.values()].map(({ run }) => run))];
  }

  need(digest: string): void {
    if (this.needed.has(digest)) return;
    this.needed.add(digest);
    this.todo.push(digest);
  }

  needAll(digests: Iterable<string>): void {
    for (const digest of digests) this.need(digest);
  }

  isNeeded(digest: string): boolean {
    return this.needed.has(digest);
  }

  /** Whether a run that is kept has made it, or waits for it. */
  async isMadeFor(item: Item, isKept: (run: string) => boolean): Promise<boolean> {
    const run = this.records.get(item)?.run ?? (item.kind === 'job' ? await ownerOf(item) : undefined);
    return run !== undefined && isKept(run);
  }

  /** Everything that what is needed names. */
  async follow(): Promise<void> {
    for (let digest = this.todo.pop(); digest; digest = this.todo.pop()) this.needAll(await this.namedBy(digest));
  }

  private async namedBy(digest: string): Promise<string[]> {
    const texts = (this.byDigest.get(digest) ?? []).map(async (item) => {
      return item.kind === 'record' || item.kind === 'json' ? textOf(item) : '';
    });
    return digestsIn((await Promise.all(texts)).join(' '));
  }

  /** Each item with the run whose record names it first, in order of time, and each training with the run that it is of. */
  async *firstMakers(): AsyncGenerator<[string, Item]> {
    const seen = new Set<string>();
    const inOrder = [...this.records].sort(([, a], [, b]) => (a.endedAt < b.endedAt ? -1 : 1));
    for (const [record, { run }] of inOrder) {
      yield [run, record];
      const todo = digestsIn(JSON.stringify((await recordIn(record))?.holds ?? []));
      for (let digest = todo.pop(); digest; digest = todo.pop()) {
        if (seen.has(digest)) continue;
        seen.add(digest);
        for (const item of this.byDigest.get(digest) ?? [])
          if (item.kind !== 'record' && item.kind !== 'job') {
            yield [run, item];
            if (item.kind === 'json') todo.push(...digestsIn(await textOf(item)));
          }
      }
    }
    for (const item of this.items) {
      const run = item.kind === 'job' ? await ownerOf(item) : undefined;
      if (run !== undefined) yield [run, item];
    }
  }
}

/** '' where it has gone. */
const textOf = async ({ path }: Item): Promise<string> => (await readFile(path, 'utf8').catch(nullIfMissing)) ?? '';

/** null: a record that does not count. */
async function madeBy(item: Item): Promise<Made | null> {
  const { run, endedAt } = (await recordIn(item))?.meta ?? {};
  return run === undefined ? null : { run: `${run}`, endedAt: `${endedAt}` };
}

async function recordIn(item: Item): Promise<{ meta?: Partial<Made>; holds?: unknown } | null> {
  try {
    return JSON.parse(await textOf(item));
  } catch {
    return null;
  }
}

async function ownerOf({ path }: Item): Promise<string | undefined> {
  const text = await readFile(join(path, 'owner.json'), 'utf8').catch(() => '{}');
  try {
    return (JSON.parse(text) as { workflowId?: string }).workflowId;
  } catch {
    return undefined;
  }
}

// --- digests in texts -------------------------------------------------------------------------------------------------
const DIGEST = /(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g;
const digestsIn = (text: string): string[] => text.match(DIGEST) ?? [];

/** Those in a history: in the bytes of its payloads, too. Throws run.refused where some of it cannot be read. */
export function digestsOf({ workflowId, history, undecoded }: Execution): string[] {
  if (!history || undecoded) {
    const why = undecoded?.replace(/\.$/, '') ?? 'a history of it is lost';
    throw commandRefused(
      workflowId,
      'gc',
      `what it needs is not known (${why}); --forget ${shellWord(workflowId)} gives it up`,
    );
  }
  const found: string[] = [];
  const look = (value: unknown): void => {
    if (typeof value === 'string') {
      found.push(...digestsIn(value), ...digestsIn(Buffer.from(value, 'base64').toString('latin1')));
    } else if (typeof value === 'object' && value !== null) {
      for (const inner of Object.values(value)) look(inner);
    }
  };
  look(history.events);
  return found;
}

// --- where the runs are -----------------------------------------------------------------------------------------------
/** Every execution of every run: exported ones from the store, all others from Temporal. Not those that are forgotten. */
export async function* executionsOf(
  { temporal, decoding, root }: { temporal: Client; decoding: Decoding; root: string },
  listed: AsyncIterable<{ workflowId: string; runId: string }>,
  isWanted: (workflowId: string) => boolean,
): AsyncGenerator<Execution> {
  const exported = await exportedIn(root);
  for await (const { workflowId, runId } of listed) {
    const file = exported.get(runId);
    exported.delete(runId);
    if (!isWanted(workflowId)) continue;
    const read = file ? await readHistory(file) : null;
    const events = read && isClosed(read) ? read.history.events : await fetchEvents(temporal, workflowId, runId);
    yield decodeExecution({ workflowId, runId, history: events && { events } }, decoding);
  }
  for (const [runId, path] of exported) {
    const read = await readHistory(path);
    // A file that was altered names no run.
    if (read && isWanted(read.workflowId)) yield decodeExecution({ ...read, runId }, decoding);
  }
}

/** Execution -> file of its exported history. */
async function exportedIn(root: string): Promise<Map<string, string>> {
  const audit = join(root, 'audit');
  const found = new Map<string, string>();
  for (const run of (await readdir(audit).catch(nullIfMissing)) ?? [])
    for (const first of await readdir(join(audit, run)).catch(() => []))
      for (const [runId, name] of await historyFiles(join(audit, run, first)))
        found.set(runId, join(audit, run, first, HISTORIES, name));
  return found;
}
