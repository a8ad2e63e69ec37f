/**
 * Files at rest: a run has ended, and whatever has a file open is killed. Then each kind of file that srlm writes is cut,
 * zeroed, emptied or deleted, one kind at a time and up to four files of it. `srlm up` starts, and the same run is started
 * again: it must come to the same result, or the command must stop with one sentence that names the file and what to do.
 * Whatever is then read (the history, the model) must be as it was, or refused in the same way.
 */
import { readdirSync, statSync } from 'node:fs';
import { cp, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Client } from '@temporalio/client';
import { buildTimeline } from '../../audit/history-reader.js';
import { loadRun } from '../../audit/load.js';
import type { Timeline } from '../../audit/timeline.js';
import { random } from '../../method/random.js';
import { type Finished, Harness, harnessSpec, outcome } from '../support/harness.js';

export const DAMAGES = ['cut', 'zeroed', 'emptied', 'deleted'] as const;
export type Damage = (typeof DAMAGES)[number];

/** Every file that srlm writes is of one of these kinds: its path in the harness's folder. */
const KINDS = {
  'rows object': /^store\/objects\/.*\.jsonl$/,
  'JSON object': /^store\/objects\/.*\.json$/,
  "user's file": /^store\/objects\/.*\.raw$/,
  record: /^store\/steps\/[^-]*\.json$/,
  'record of a chunk': /^store\/steps\/\w+-chunk\//,
  weights: /^store\/models\/.*\.safetensors$/,
  'tokenizer or config of a model': /^store\/models\/.*(json|jinja)$/,
  ...jobFiles('lock', 'log.txt', 'owner.json', 'progress.json', 'pulse', 'result.json', 'spec.json', 'state.json'),
  ...jobFiles('steps.jsonl'),
  'exported history': /^store\/audit\/.*\/histories\//,
  'run.json of an export': /^store\/audit\/.*\/run\.json$/,
  'timeline of an export': /^store\/audit\/.*\/timeline\.(json|md)$/,
  ...serverFiles('lock', 'log.txt', 'requests.jsonl', 'server.json', 'token'),
  "Temporal's database": /^work\/temporal\/temporal\.db$/,
  "Temporal's log": /^work\/temporal\/temporal\.log$/,
  "Temporal's address": /^work\/temporal\/temporal\.toml$/,
  'gpu.json': /^work\/gpu\.json$/,
  'up.json': /^work\/temporal\/up\.json$/,
} as const satisfies Record<string, RegExp>;
type FileKind = keyof typeof KINDS;

function jobFiles<Name extends string>(...names: Name[]) {
  return Object.fromEntries(names.map((name) => [`${name} of a job`, at('store/jobs', name)])) as Record<
    `${Name} of a job`,
    RegExp
  >;
}
function serverFiles<Name extends string>(...names: Name[]) {
  return Object.fromEntries(names.map((name) => [`${name} of a model server`, at('work/servers', name)])) as Record<
    `${Name} of a model server`,
    RegExp
  >;
}
function at(folder: string, name: string) {
  return new RegExp(`^${folder}/[^/]+/${name.replace('.', '\\.')}$`);
}

/** What the harness itself puts into its folder. */
const OWN = /^(models\/|[^/]+$|.*\.good$)/;
/** Files of which several are damaged at once. */
const FILES_AT_ONCE = 4;

export interface AtRestOptions {
  seed: number;
  kinds: readonly FileKind[];
  say: (line: string) => void;
}

/** Every damage of each of these kinds, on one site. */
export async function atRest({ seed, kinds, say }: AtRestOptions): Promise<{ held: number; cases: number }> {
  const site = await AtRest.open('at-rest');
  let [held, cases] = [0, 0];
  try {
    const unknown = unknownFiles(site.harness.folder);
    if (unknown.length > 0) throw new Error(`of no kind: ${unknown.join(', ')}`);
    for (const kind of kinds)
      for (const damage of DAMAGES) {
        const { end, wrong, seconds } = await site.damage(kind, damage, seed + cases++);
        if (wrong.length === 0) held++;
        say(
          `${kind} ${damage}: ${wrong.length > 0 ? `WRONG: ${wrong.join('; ')}; ` : ''}${end}; ${seconds.toFixed(0)} s`,
        );
      }
  } finally {
    await site.close();
  }
  return { held, cases };
}

interface Case {
  /** How it ended: as before, or the sentence. */
  end: string;
  /** What does not hold. Empty: everything does. */
  wrong: string[];
  seconds: number;
}

class AtRest {
  private constructor(
    readonly harness: Harness,
    private readonly first: Finished,
    /** By Temporal, and by the run's own export, which was written before its last events. */
    private readonly timelines: Timeline[],
  ) {}

  static async open(name: string): Promise<AtRest> {
    const harness = await Harness.open(name, { temporal: 'own' });
    try {
      const first = await harness.finish(await harness.start(harnessSpec(), 'first'));
      const timelines = await Promise.all([harness.client.temporal, null].map((one) => timelineOf(harness, one)));
      const atRest = new AtRest(harness, first, timelines);
      await atRest.stop("Temporal's database");
      await cp(atRest.database, `${atRest.database}.good`);
      return atRest;
    } catch (error) {
      await harness.close();
      throw error;
    }
  }

  close = () => this.harness.close();

  async damage(kind: FileKind, damage: Damage, seed: number): Promise<Case> {
    const startedAt = Date.now();
    await this.stop(kind);
    const next = random(seed);
    const files = filesOf(this.harness.folder).filter((path) => kindOf(path) === kind);
    const wrong = files.length === 0 ? ['there is no such file'] : [];
    while (files.length > FILES_AT_ONCE) files.splice(Math.floor(next() * files.length), 1);
    for (const file of files) await spoil(join(this.harness.folder, file), damage);
    for (const step of doneAgain(kind)) await rm(join(this.harness.artifactRoot, 'steps', step), { recursive: true });
    const end = await this.again(`${startedAt}`, wrong).catch(sentenceOf);
    if (kind === "Temporal's database") {
      await this.stop(kind);
      await cp(`${this.database}.good`, this.database);
    }
    return { end, wrong, seconds: (Date.now() - startedAt) / 1000 };
  }

  private async again(id: string, wrong: string[]): Promise<string> {
    const { harness, first } = this;
    await harness.startWorker();
    const result = await harness.finish(await harness.start(harnessSpec(), id));
    if (!isDeepStrictEqual(outcome(result), outcome(first))) wrong.push('the result is another');
    const ends = ['the same result'];
    const model = await harness.store.models.local(result.model).then(() => '', sentenceOf);
    if (model) {
      ends.push(`reading the model: ${model}`);
      const third = await harness.finish(await harness.start(harnessSpec(), `${id}-again`));
      await harness.store.models.local(third.model);
    }
    const timeline = await timelineOf(harness).catch(sentenceOf);
    if (typeof timeline === 'string') ends.push(`history: ${timeline}`);
    else if (!this.timelines.some((one) => isDeepStrictEqual(one, timeline))) wrong.push('the history is another');
    return ends.join('; ');
  }

  /** SIGKILL to the worker, and to the programs whose files these are. All of them start slowly. */
  private async stop(kind: FileKind): Promise<void> {
    await this.harness.killWorker();
    if (/Temporal|up\.json/.test(kind)) await this.harness.killTemporal();
    if (/model/.test(kind)) await this.harness.killModelServers();
  }

  private get database(): string {
    return join(this.harness.folder, 'work/temporal/temporal.db');
  }
}

/** Files of no kind: srlm has begun to write something that nobody has thought of here. */
export const unknownFiles = (folder: string): string[] =>
  filesOf(folder).filter((path) => !OWN.test(path) && !kindOf(path));

const filesOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true })
    .map(String)
    .filter((path) => statSync(join(folder, path), { throwIfNoEntry: false })?.isFile())
    .sort();

export const fileKinds = Object.keys(KINDS) as FileKind[];

/** The steps whose records are removed too: otherwise nothing would need the trainer, or a model server. */
function doneAgain(kind: FileKind): string[] {
  if (kind.endsWith(' of a job')) return ['fineTune'];
  return kind.endsWith(' of a model server') ? ['sample', 'sample-chunk'] : [];
}

const kindOf = (path: string) => fileKinds.find((kind) => KINDS[kind].test(path));

/** The timeline of the newest run of this id, wherever its histories are. */
async function timelineOf({ client, store }: Harness, temporal: Client | null = client.temporal): Promise<Timeline> {
  return buildTimeline(await loadRun({ temporal, decoding: client.temporal.options, root: store.root }, 'first'));
}

/** A worker that did not start has its sentence in its log. */
function sentenceOf(error: Error): string {
  return (
    error.message
      .trim()
      .split('\n')
      .filter((line) => !/^(Starting|Stopping)/.test(line))
      .at(-1) ?? ''
  );
}

async function spoil(path: string, damage: Damage): Promise<void> {
  const { size } = statSync(path);
  if (damage === 'deleted') await rm(path);
  else if (damage === 'emptied') await truncate(path);
  else if (damage === 'cut') await truncate(path, Math.floor(size / 2));
  else await writeFile(path, Buffer.alloc(size));
}
