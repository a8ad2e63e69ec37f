/**
 * Whole runs of a tiny model, with real processes: files of a few rows, a store and a work folder of its own, workers
 * that can be killed, and a look at everything that is left afterwards. A harness whose temporal is `own` is what
 * `srlm up` makes: a worker, and a Temporal server on a file in the folder; else it uses the server of the whole test
 * run. `close` ends every process whose command line names the harness's folder, whoever started it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { SrlmClient } from '../../client/client.js';
import { resolveDeployment } from '../../config/load.js';
import type { Deployment, DeploymentInput } from '../../contracts/deployment.js';
import { type DatasetRef, StepRecord } from '../../contracts/refs.js';
import type { RunResult, RunStatus } from '../../contracts/run.js';
import type { RunSpec } from '../../contracts/spec.js';
import { type RoundSummary, RoundTable } from '../../contracts/steps.js';
import { packageRoot } from '../../processes/python.js';
import { sha256, sha256File } from '../../storage/files.js';
import { folderDigest } from '../../storage/model-folder.js';
import { canonical, objectName } from '../../storage/objects.js';
import { openStore, type Store } from '../../storage/store.js';
import { temporalBinary } from '../../worker/embedded.js';
import { python, tinyModel } from './python.js';
import { freePorts } from './temporal-server.js';

/** Longer than anything here takes on a busy machine: what has not happened by then never will. */
const PATIENCE_MS = 240_000;

/** temporal.api.enums.v1.PendingActivityState */
const STARTED = 2;

/** A variable of every worker: the key of an endpoint. */
export const WORKER_KEY = 'HARNESS_API_KEY';

export interface HarnessOptions {
  /** An address: what workers connect to, and what the client does. */
  temporal?: 'shared' | 'own' | { forWorkers: string; forClient: string };
  config?: DeploymentInput;
  /** Default: true. */
  worker?: boolean;
  /** Models are tried out as for users, which takes seconds each time. Else the program says at once that they are good. */
  probes?: boolean;
  /** An existing one, instead of a new one. */
  folder?: string;
}

export interface Trainer {
  pid: number;
  folder: string;
  attempt: number;
}

export interface TrainingStep {
  step: number;
  attempt: number;
  pid: number;
  tokens: number;
}

export interface ServedRequest {
  path: string;
  /** Digest of the weights that answered. */
  model: string;
  /** purpose:round:row, or logprob:row */
  request: string;
}

/** A run's result, with the rounds of its table. */
export interface Finished extends RunResult {
  rounds: RoundSummary[];
}

/** The address of the test run's Temporal server. Throws why there is none. */
export async function temporalAddress(): Promise<string> {
  // Imported here, so that scripts/record-histories.mjs can use a harness without vitest.
  const { inject } = await import('vitest');
  const temporal = inject('temporal');
  if ('missing' in temporal) throw new Error(temporal.missing);
  return temporal.address;
}

/** A spec with about thirty training steps a round, six chunks of four examples, greedy evaluation. */
export function harnessSpec(changes: { training?: object } & Partial<Record<keyof RunSpec, unknown>> = {}) {
  const { training, ...others } = changes;
  return {
    name: 'harness',
    model: { path: 'tiny' },
    data: { path: 'train.jsonl' },
    catalysts: { path: 'catalysts.jsonl' },
    evaluation: { path: 'questions.jsonl', maxTokens: 8, chunkSize: 4 },
    // A model that has learned nothing but the frequency of letters ends its reasoning at the first equals sign.
    prompts: {
      reply: '{rationale} = {answer}',
      enrich: '{instruction} {rationale} More:',
    },
    rounds: 1,
    deterministic: true,
    // All of them are computed by the run that begins with the last release; elsewhere they would only take time.
    selection: { scores: 'needed' },
    sampling: { k: 2, maxTokens: 24, chunkSize: 4 },
    training: {
      epochs: 4,
      batchSize: 4,
      learningRate: 0.01,
      precision: 'fp32',
      checkpoint: { everySteps: 5 },
      ...training,
    },
    ...others,
  };
}

export class Harness {
  readonly artifactRoot: string;
  /** The program that the engine's processes are started with; they break when it is gone. */
  readonly python: string;
  readonly store: Store;
  client!: SrlmClient;
  private worker: ChildProcess | null = null;
  private workers = 0;

  private constructor(
    readonly folder: string,
    deployment: Deployment,
    private readonly up: { port: number; uiPort: number } | null,
  ) {
    this.python = join(folder, 'python');
    this.artifactRoot = deployment.artifactRoot;
    this.store = openStore(deployment);
  }

  /** With a worker that runs, and with `own` a Temporal server. */
  static async open(
    name: string,
    { temporal = 'shared', config = {}, worker = true, probes = false, folder: given }: HarnessOptions = {},
  ): Promise<Harness> {
    const folder = given ?? (await mkdtemp(join(tmpdir(), `srlm-harness-${name}-`)));
    try {
      const [port, uiPort] = temporal === 'own' ? await freePorts(2) : [];
      const own = port ? `127.0.0.1:${port}` : null;
      const address = own ?? (typeof temporal === 'object' ? temporal.forClient : await temporalAddress());
      const forWorkers = typeof temporal === 'object' ? temporal.forWorkers : address;
      const deployment = await furnish(folder, forWorkers, config, probes);
      const harness = new Harness(folder, deployment, port && uiPort ? { port, uiPort } : null);
      // `up` also starts the server that the client looks for.
      if (worker || harness.up) await harness.startWorker();
      const connection = Connection.lazy({ address });
      harness.client = await SrlmClient.connect(deployment, new Client({ connection }));
      return harness;
    } catch (error) {
      await endProcessesOf(folder);
      if (!given) await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  // --- workers and other processes ----------------------------------------------------------------------------------

  /**
   * `srlm worker`; `srlm up` where the harness has a Temporal server of its own. Resolves once it reports that it runs.
   * `of`: a host of its own, whose workers do GPU work only.
   */
  async startWorker(of?: string): Promise<number> {
    const log = join(this.folder, `worker-${++this.workers}.log`);
    const command = this.up
      ? ['up', '--port', String(this.up.port), '--ui-port', String(this.up.uiPort)]
      : ['worker', '--role', of ? 'gpu' : 'all'];
    const config = of ? await this.configOf(of) : join(this.folder, 'temporal.config.json');
    const main = join(packageRoot, 'dist/client/cli/main.js');
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      TEMPORAL_CONFIG_FILE: join(this.folder, 'temporal.toml'),
      [WORKER_KEY]: 'a key that no program of the worker may see',
    };
    for (const key of Object.keys(env)) if (/^(TEMPORAL_(?!CONFIG_FILE)|VITEST|NODE_ENV)/.test(key)) delete env[key];
    const out = openSync(log, 'a');
    const worker = spawn(process.execPath, [main, '--config', config, ...command], {
      cwd: this.folder,
      env,
      stdio: ['ignore', out, out],
    });
    this.worker = worker;
    await this.until('the worker is up', () => {
      const text = readFileSync(log, 'utf8');
      if (worker.exitCode !== null) throw new Fatal(`the worker ended with ${worker.exitCode}: ${text}`);
      return /^Worker /m.test(text);
    });
    return worker.pid!;
  }

  private async configOf(host: string): Promise<string> {
    const config = JSON.parse(await readFile(join(this.folder, 'temporal.config.json'), 'utf8'));
    const path = join(this.folder, `temporal.config.${host}.json`);
    await writeFile(path, JSON.stringify({ ...config, host, workRoot: `work-${host}` }));
    return path;
  }

  /** SIGTERM, as a deployment does it. Returns the exit code. */
  async stopWorker(): Promise<number | null> {
    const worker = this.worker;
    this.worker = null;
    if (!worker || worker.exitCode !== null) return worker?.exitCode ?? null;
    const code = new Promise<number | null>((resolve) => worker.once('exit', resolve));
    worker.kill('SIGTERM');
    return code;
  }

  /** SIGKILL, and waits until it is gone. Trainer, model server and Temporal live on. */
  async killWorker(): Promise<void> {
    const worker = this.worker;
    if (!worker) return;
    this.worker = null;
    const gone = new Promise((resolve) => worker.once('exit', resolve));
    if (worker.exitCode !== null || worker.signalCode !== null || !worker.kill('SIGKILL')) return;
    await gone;
  }

  /** The harness's own Temporal server (temporal: 'own'). */
  async killTemporal(): Promise<void> {
    await this.killAll(this.processes('temporal server start-dev'));
  }

  async killModelServers(): Promise<void> {
    await this.killAll(this.processes('server.py'));
  }

  async kill(pid: number): Promise<void> {
    await this.killAll([{ pid }]);
  }

  private async killAll(processes: { pid: number }[]): Promise<void> {
    for (const { pid } of processes) process.kill(pid, 'SIGKILL');
    const alive = () => processesNaming(this.folder).filter((one) => processes.some(({ pid }) => pid === one.pid));
    await this.until('the killed are dead', () => alive().length === 0);
  }

  /** Living processes whose command line names this harness's folder, and `what`. */
  processes(what = ''): { pid: number; command: string }[] {
    return processesNaming(this.folder).filter(({ command }) => command.includes(what));
  }

  // --- what a run is doing ------------------------------------------------------------------------------------------

  async start(spec: object, id?: string): Promise<string> {
    const { runId } = await this.client.start(spec, { folder: this.folder, ...(id ? { id } : {}) });
    return runId;
  }

  /** Waits for the end of a run. Throws when it parks: nobody would answer. */
  async finish(runId: string): Promise<Finished> {
    const ended = await this.status(runId, `run ${runId} has ended`, ({ halt, endedAt }) => {
      if (halt?.kind === 'parked') throw new Fatal(`run ${runId} parked: ${halt.message}`);
      return endedAt;
    });
    if (ended.state !== 'done') throw new Error(`run ${runId} ${ended.state}: ${ended.failure}`);
    return this.result(runId);
  }

  /** The result of a run that has ended with a model. */
  async result(runId: string): Promise<Finished> {
    const result = await this.client.result(runId);
    const { rounds } = await this.store.objects.readJson(result.table, RoundTable);
    return { ...result, rounds };
  }

  /** Waits until the run is as `check` wants it. */
  async status(runId: string, what: string, check: (status: RunStatus) => unknown): Promise<RunStatus> {
    // Each look costs the worker a query.
    return this.until(
      what,
      async () => {
        const status = await this.client.status(runId);
        return check(status) ? status : null;
      },
      100,
    );
  }

  /** Asks again and again until the answer is neither false nor null. An error counts as no answer. */
  async until<T>(what: string, check: () => T | Promise<T>, everyMs = 20): Promise<NonNullable<Exclude<T, false>>> {
    let last: unknown = 'no error';
    for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await sleep(everyMs)) {
      try {
        const found = await check();
        if (found !== false && found !== null && found !== undefined) return found as NonNullable<Exclude<T, false>>;
      } catch (error) {
        if (error instanceof Fatal) throw error;
        last = error;
      }
    }
    throw new Error(`It never happened that ${what} (${last}).\n${this.logs()}`);
  }

  /** Waits until an activity of a run is in its n-th attempt. */
  async attempt(runId: string, activity: string, n: number): Promise<void> {
    await this.until(`${activity} is in attempt ${n}`, async () => {
      const { raw } = await this.client.temporal.workflow.getHandle(runId).describe();
      return (raw.pendingActivities ?? []).some(
        ({ activityType, attempt, state }) =>
          activityType?.name === activity && (attempt ?? 0) >= n && Number(state) === STARTED,
      );
    });
  }

  /** The trainer at work, once it has done `steps` steps. */
  async trainerAt(steps: number): Promise<Trainer> {
    return this.until(`a trainer has done ${steps} steps`, () => {
      const trainer = this.trainer();
      const done = trainer ? this.steps(trainer.folder).filter(({ pid }) => pid === trainer.pid) : [];
      return done.length >= steps ? trainer : null;
    });
  }

  trainer(): Trainer | null {
    for (const { pid, command } of this.processes('trainer.py')) {
      const folder = command.slice(command.indexOf('trainer.py') + 'trainer.py '.length).trim();
      const state = readJson(join(folder, 'state.json')) as { pid: number; attempt: number; state: string } | null;
      if (state?.pid === pid && state.state === 'running') return { pid, folder, attempt: state.attempt };
    }
    return null;
  }

  jobs(): string[] {
    const jobs = join(this.artifactRoot, 'jobs');
    return existsSync(jobs) ? readdirSync(jobs).map((name) => join(jobs, name)) : [];
  }

  /** The training steps that a job did, in order, those done twice twice. */
  steps(job: string): TrainingStep[] {
    return readLines(join(job, 'steps.jsonl')) as TrainingStep[];
  }

  /** What the harness's model servers answered, in order. */
  requests(): ServedRequest[] {
    const servers = join(this.folder, 'work/servers');
    if (!existsSync(servers)) return [];
    return readdirSync(servers).flatMap((name) => readLines(join(servers, name, 'requests.jsonl')) as ServedRequest[]);
  }

  // --- what a run has left ------------------------------------------------------------------------------------------

  /**
   * Every step record (without what was measured), object and model of the store, each with its digest as found. A table
   * of rounds, which has measurements too, is listed by the digest of what it holds without them. A damaged one is left
   * out: the run's own table is read with its result, and nobody reads those that it has replaced.
   */
  async digests(): Promise<Record<string, string>> {
    const found: Record<string, string> = {};
    for (const path of await filesBelow(join(this.artifactRoot, 'steps'))) {
      const { meta: _, sha256: __, ...record } = StepRecord.parse(JSON.parse(await readFile(path, 'utf8')));
      found[relative(this.artifactRoot, path)] = sha256(canonical(record));
    }
    for (const path of await filesBelow(join(this.artifactRoot, 'objects'))) {
      const table = path.endsWith('.json') ? RoundTable.safeParse(readJson(path)).data : undefined;
      if (table) {
        const digest = sha256(canonical(withoutCosts(table.rounds)));
        found[`table of ${table.rounds.length} rounds, ${digest}`] = digest;
      } else if (!(await isTornTable(path))) {
        found[relative(this.artifactRoot, path)] = await sha256File(path);
      }
    }
    for (const name of await readdir(join(this.artifactRoot, 'models')).catch(() => [])) {
      found[`models/${name}`] = await folderDigest(join(this.artifactRoot, 'models', name));
    }
    return found;
  }

  /** The chunks of a dataset, as paths. */
  async chunkPaths(dataset: DatasetRef): Promise<string[]> {
    const chunks = await this.store.datasets.chunks(dataset);
    return chunks.map(({ sha256 }) => join(this.artifactRoot, objectName('rows', sha256)));
  }

  /** Records of finished steps of one name, oldest first. A damaged one does not count. */
  async records(step: string): Promise<StepRecord[]> {
    const paths = await filesBelow(join(this.artifactRoot, 'steps', step));
    const records = paths.flatMap((path) => StepRecord.safeParse(readJson(path)).data ?? []);
    return records.sort((a, b) => a.meta.endedAt.localeCompare(b.meta.endedAt));
  }

  private logs(): string {
    return readdirSync(this.folder)
      .filter((name) => name.endsWith('.log'))
      .map((name) => `${name}: ${readFileSync(join(this.folder, name), 'utf8').slice(-1500)}`)
      .join('\n');
  }

  /** Ends all processes. */
  async end(): Promise<void> {
    await this.killWorker();
    await this.client.temporal.connection.close().catch(() => {});
    await endProcessesOf(this.folder);
  }

  /** Ends all processes and removes the folder (SRLM_KEEP_FOLDERS=1 keeps it). */
  async close(): Promise<void> {
    await this.end();
    if (!process.env.SRLM_KEEP_FOLDERS) await rm(this.folder, { recursive: true, force: true });
  }
}

/** What is equal in two runs that computed the same: everything except what it took. */
export function outcome({ rounds, best, model }: Finished) {
  return { rounds: withoutCosts(rounds), best, model };
}

function withoutCosts(rounds: readonly RoundSummary[]): Omit<RoundSummary, 'steps'>[] {
  return rounds.map(({ steps: _, ...rest }) => rest);
}

/** How often each value occurs. */
export function counts(values: readonly string[]): Map<string, number> {
  const found = new Map<string, number>();
  for (const value of values) found.set(value, (found.get(value) ?? 0) + 1);
  return found;
}

class Fatal extends Error {}

/** Makes all files that a harness needs; returns its deployment. */
async function furnish(folder: string, address: string, config: DeploymentInput, probes: boolean): Promise<Deployment> {
  await writeData(folder);
  await cp(tinyModel(), join(folder, 'models'), { recursive: true });
  // A program that a test can take away; `exec` leaves no shell behind.
  const known = probes ? '' : `case "$1" in *probe.py) echo '{"ok":true}'; exit;; esac\n`;
  await writeFile(join(folder, 'python'), `#!/bin/sh\n${known}exec '${python}' "$@"\n`, { mode: 0o755 });
  await symlink(temporalBinary({ python }), join(folder, 'temporal'));
  await writeFile(join(folder, 'temporal.toml'), `[profile.default]\naddress = "${address}"\nnamespace = "default"\n`);
  const deployment: DeploymentInput = {
    artifactRoot: 'store',
    workRoot: 'work',
    modelRoots: ['models'],
    python: join(folder, 'python'),
    taskQueue: basename(folder),
    heartbeatSeconds: 4,
    shardsInFlight: 2,
    // One thread: what is computed does not depend on how many cores this machine has.
    engines: { local: { kind: 'builtin', device: 'cpu', threads: 1 } },
    trainers: { local: { device: 'cpu', threads: 1 } },
    ...config,
  };
  await writeFile(join(folder, 'temporal.config.json'), JSON.stringify(deployment, null, 2));
  return resolveDeployment(deployment, folder);
}

async function writeData(folder: string): Promise<void> {
  const animals = { hen: 2, cow: 4, ant: 6, spider: 8, crab: 10, prawn: 14 };
  const cases = Object.entries(animals).flatMap(([animal, legs]) => [2, 3, 4, 5].map((n) => ({ animal, legs, n })));
  const examples = cases.map(({ animal, legs, n }) => ({
    instruction: `How many legs have ${n} ${animal}s?`,
    rationale: `One ${animal} has ${legs}.`,
    answer: String(n * legs),
  }));
  const catalysts = Object.entries(animals).map(([animal, legs]) => ({
    instruction: `How many legs have 6 ${animal}s?`,
    rationale: `One ${animal} has ${legs}.`,
    enriched: `A ${animal} stands on ${legs} legs, so 6 of them on 6 times ${legs}.`,
    skills: ['detail'],
  }));
  const questions = [7, 8].flatMap((n) =>
    Object.entries(animals)
      .slice(0, 4)
      .map(([animal, legs]) => ({ question: `How many legs have ${n} ${animal}s?`, answer: String(n * legs) })),
  );
  for (const [name, rows] of Object.entries({ train: examples, catalysts, questions })) {
    await writeFile(join(folder, `${name}.jsonl`), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  }
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}

/** The whole lines of a file that may be growing. */
function readLines(path: string): unknown[] {
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

export function processesNaming(folder: string): { pid: number; command: string }[] {
  return commands().filter(({ pid, command }) => pid !== process.pid && command.includes(folder));
}

/** A zombie has no command line, so it is no process here. */
function commands(): { pid: number; command: string }[] {
  if (!existsSync('/proc/self/cmdline')) {
    const lines = execFileSync('ps', ['-axww', '-o', 'pid=,command='], { encoding: 'utf8' }).trim().split('\n');
    return lines.map((line) => ({ pid: Number.parseInt(line, 10), command: line.trim().replace(/^\d+ /, '') }));
  }
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return [
          { pid: Number(pid), command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim() },
        ];
      } catch {
        return []; // It has ended meanwhile.
      }
    });
}

async function endProcessesOf(folder: string): Promise<void> {
  for (const until = Date.now() + 20_000; Date.now() < until; await sleep(50)) {
    const left = processesNaming(folder);
    if (left.length === 0) return;
    for (const { pid } of left) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Ended by itself.
      }
    }
  }
  throw new Error(`processes outlive their harness: ${processesNaming(folder).map(({ command }) => command)}`);
}

async function isTornTable(path: string): Promise<boolean> {
  const content = await readFile(path, 'utf8');
  return content.startsWith('{"preparation":') && !basename(path).startsWith(sha256(content));
}
