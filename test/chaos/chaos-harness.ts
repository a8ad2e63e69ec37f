/**
 * The lab in which a run of the tiny model meets its faults: a Temporal server, a worker behind a proxy to it, a model
 * server and a hosted teacher behind proxies too, and a store on a small file system of its own, so that it can be
 * filled. All of it lives on from run to run, but for what a fault has killed; the store is emptied.
 * A run's report says what met it, what it did twice, and everything that is not as the undisturbed run left it.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { RunStatus } from '../../contracts/progress.js';
import { startEmbedded, temporalBinary } from '../../worker/embedded.js';
import { counts, Lab, labSpec, outcome, type ServedRequest, type TrainingStep } from '../support/lab.js';
import { python } from '../support/python.js';
import { startTeacher } from '../support/teacher.js';
import { freePorts } from '../support/temporal-server.js';
import type { Fault, Moment } from './faults.js';
import { HttpProxy, TcpProxy } from './proxies.js';

/** Far more than a run with any fault takes on a busy machine. */
const RUN_MS = 240_000;
const SETTLE_MS = 15_000;
const STORE_MB = 24;
const CHUNK_ROWS = 4;
const CHECKPOINT_STEPS = 5;
const SHARDS_IN_FLIGHT = 2;

export interface Struck {
  fault: Fault;
  /** False: the run had ended, or what it was meant for was not there. */
  met: boolean;
  /** From the fault, or its end, to the next progress. */
  recoveredMs: number | null;
}

export interface Twice {
  samples: number;
  scores: number;
  steps: number;
}

export interface Report {
  struck: Struck[];
  /** Types of the errors that parked it. */
  parked: string[];
  /** What does not hold. Empty: all does. */
  wrong: string[];
  seconds: number;
  done: Twice;
  twice: Twice;
}

type Reference = { outcome: ReturnType<typeof outcome>; digests: Record<string, string> };

export class Arena {
  private readonly one = pLimit(1);
  private reference: Reference | null = null;
  private jobsSeen: string[] = [];
  private serverPort: number | null = null;
  private runId = '';
  private running = false;
  private overlaps: string[] = [];
  private readonly timers: NodeJS.Timeout[] = [];

  private constructor(
    readonly lab: Lab,
    /** The store can be filled. */
    readonly fillable: boolean,
    readonly line: TcpProxy,
    readonly server: HttpProxy,
    readonly teacher: HttpProxy,
    private readonly undo: (() => unknown)[],
  ) {
    this.timers.push(
      setInterval(() => this.standBeforeServer(), 10),
      setInterval(() => this.watchTrainers(), 500),
    );
  }

  static async open(name: string): Promise<Arena> {
    const folder = await mkdtemp(join(tmpdir(), `srlm-chaos-${name}-`));
    /** What takes back what is made here, the last first. */
    const undo: (() => unknown)[] = [() => rm(folder, { recursive: true, force: true })];
    try {
      const store = join(folder, 'store');
      await mkdir(store);
      const fillable = mount(store);
      if (fillable) undo.push(() => execFileSync('umount', ['-l', store]));
      const [port, uiPort, forWorkers, behind] = (await freePorts(4)) as [number, number, number, number];
      const temporal = await startEmbedded({
        folder: join(folder, 'temporal-server'),
        port,
        uiPort,
        temporal: temporalBinary({ python }),
      });
      undo.push(() => temporal.stop());
      const line = new TcpProxy(forWorkers, port);
      await line.listen();
      undo.push(() => line.close());
      const hosted = await startTeacher(behind);
      undo.push(() => hosted.close());
      const teacher = new HttpProxy(() => behind);
      await teacher.listen();
      undo.push(() => teacher.close());
      let arena: Arena | null = null;
      const server = new HttpProxy(() => arena?.serverPort ?? null);
      await server.listen();
      undo.push(() => server.close());
      const lab = await Lab.open('chaos', {
        folder,
        worker: false,
        temporal: { forWorkers: `127.0.0.1:${forWorkers}`, forClient: `127.0.0.1:${port}` },
        config: {
          shardsInFlight: SHARDS_IN_FLIGHT,
          engines: {
            local: { kind: 'builtin', device: 'cpu', threads: 1 },
            teacher: {
              kind: 'openai',
              baseUrl: `http://127.0.0.1:${teacher.port}/v1`,
              model: 'teacher',
              timeoutSeconds: 2,
            },
          },
        },
      });
      // It would be started again while the lab ends all that is its.
      undo.push(
        () => lab.end(),
        () => temporal.stop(),
      );
      await someWithoutRationale(join(folder, 'train.jsonl'));
      arena = new Arena(lab, fillable, line, server, teacher, undo);
      return arena;
    } catch (error) {
      await undoAll(undo);
      throw error;
    }
  }

  /** `keep`: the folder stays, with a copy of the store in it. */
  async close(keep = false): Promise<void> {
    for (const timer of this.timers) clearInterval(timer);
    if (keep) {
      // Still there while its processes are ended; its own folder then stays.
      await cp(this.lab.artifactRoot, join(this.lab.folder, 'store-kept'), { recursive: true });
      this.undo.shift();
    }
    await undoAll(this.undo);
  }

  /** At once, and without a turn of the event loop, in which Temporal would be started again. */
  abandon(): void {
    for (let left = this.lab.processes(); left.length > 0; left = this.lab.processes()) {
      for (const { pid } of left) signal(pid, 'SIGKILL');
    }
    if (this.fillable) execFileSync('umount', ['-l', this.lab.artifactRoot]);
    rmSync(this.lab.folder, { recursive: true, force: true });
  }

  // --- a run --------------------------------------------------------------------------------------------------------

  /** Without faults: what all others are compared with. Throws when even that is not as it should be. */
  async undisturbed(): Promise<Report> {
    const report = await this.run('undisturbed', []);
    if (report.wrong.length === 0) return report;
    await this.close(true);
    throw new Error(`The undisturbed run: ${report.wrong.join('; ')}; see ${this.lab.folder}`);
  }

  async run(id: string, faults: Fault[]): Promise<Report> {
    await this.reset();
    const startedAt = Date.now();
    const wrong: string[] = [];
    const parked: string[] = [];
    const runId = await this.lab.start(labSpec({ rationalizeEngine: 'teacher' }), id);
    this.runId = runId;
    this.running = true;
    const strikes = Promise.all(faults.map((fault) => this.meet(fault)));
    strikes.catch(() => {}); // Told where it is awaited.
    let ended = await this.follow(runId, parked, wrong);
    this.running = false;
    const struck = await strikes;
    let last = runId;
    if (ended?.state === 'done' && struck.some(({ fault, met }) => met && fault.again)) {
      // What nobody reads any more is missed by nobody, until the same run is started again.
      await this.heal();
      last = await this.lab.start(labSpec({ rationalizeEngine: 'teacher' }), `${id}-again`);
      ended = await this.follow(last, parked, wrong);
    }
    const seconds = (Date.now() - startedAt) / 1000;
    if (ended?.state !== 'done') {
      wrong.push(ended ? `it ${ended.state}: ${ended.failure}` : `it did not end in ${RUN_MS / 1000} s`);
    } else {
      wrong.push(...(await this.leftovers()));
      const found = { outcome: outcome(await this.lab.client.result(last)), digests: await this.lab.digests() };
      this.reference ??= found;
      wrong.push(...differences(this.reference, found));
    }
    const { done, twice } = this.workDone();
    wrong.push(...this.tooOften(twice, struck), ...this.badTraining(), ...this.overlaps);
    return { struck, parked, wrong, seconds, done, twice };
  }

  /** To its end, answering it whenever it is parked and no fault is at work. null: it does not end. */
  private async follow(runId: string, parked: string[], wrong: string[]): Promise<RunStatus | null> {
    let answered = '';
    let lookAt = 0;
    for (const until = Date.now() + RUN_MS; Date.now() < until; await sleep(300)) {
      const look = Date.now() > lookAt;
      if (look) lookAt = Date.now() + 3000;
      if (look && !this.striking() && this.workers().length === 0) {
        wrong.push('the worker ended by itself');
        await this.startWorker();
      }
      const status = await this.lab.client.status(runId).catch(() => null);
      if (status?.endedAt) return status;
      if (!status?.parked || status.parked.since === answered || this.striking()) continue;
      const done = await this.lab.client.retry(runId, 'the fault is over').catch(() => null);
      if (!done) continue;
      answered = status.parked.since;
      parked.push(status.parked.type);
    }
    return null;
  }

  private striking = () => this.one.activeCount > 0;

  private async meet(fault: Fault): Promise<Struck> {
    const nothing = { fault, met: false, recoveredMs: null };
    if (!(await this.reached(fault.moment))) return nothing;
    // What waits for a request that never comes ends with the run.
    const over = async () => {
      while (this.running) await sleep(50);
      return null;
    };
    const at = await (fault.beside
      ? Promise.race([fault.strike(this), over()])
      : this.one(() => (this.running ? fault.strike(this) : null)));
    if (at === null) return nothing;
    const before = this.progress();
    while (this.running && this.progress() <= before) await sleep(100);
    return { fault, met: true, recoveredMs: Date.now() - at };
  }

  /** False: the run has ended before. */
  private async reached(moment: Moment): Promise<boolean> {
    const startedAt = Date.now();
    for (; this.running; await sleep(10)) {
      if (moment.in === 'start') {
        if (Date.now() - startedAt >= moment.ms) return true;
      } else if (moment.in === 'training') {
        const job = this.jobs()[moment.round];
        if (job && existsSync(join(job, 'state.json')) && this.stepsOf(job) >= moment.steps) return true;
      } else if (this.requestsOf(moment.in) >= moment.requests) return true;
    }
    return false;
  }

  private readonly lines = new Map<string, { size: number; count: number }>();

  /** Looked at so often that it must cost nothing while nothing happens. */
  private stepsOf(job: string): number {
    const path = join(job, 'steps.jsonl');
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    const known = this.lines.get(path);
    if (known?.size === size) return known.count;
    const count = this.lab.steps(job).length;
    this.lines.set(path, { size, count });
    return count;
  }

  /** Job folders, in the order of the rounds. */
  jobs(): string[] {
    for (const job of this.lab.jobs()) if (!this.jobsSeen.includes(job)) this.jobsSeen.push(job);
    return this.jobsSeen;
  }

  private asked: { size: number; all: ServedRequest[] } = { size: 0, all: [] };

  private requestsOf(step: 'sampling' | 'scoring' | 'evaluation 0' | 'evaluation 1'): number {
    const path = join(this.lab.folder, 'work/servers/local-deterministic/requests.jsonl');
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (size !== this.asked.size) this.asked = { size, all: this.lab.requests() };
    const { all } = this.asked;
    const of = (prefix: string) => all.filter(({ request }) => request?.startsWith(prefix));
    if (step === 'sampling') return of('enrich:').length;
    if (step === 'scoring') return of('score:').length;
    const answers = of('answer:');
    const models = [...new Set(answers.map(({ model }) => model))];
    return answers.filter(({ model }) => model === models[step === 'evaluation 0' ? 0 : 1]).length;
  }

  /** Whatever grows when a run goes on. */
  private progress(): number {
    const records = this.files('steps').length;
    const steps = this.lab.jobs().reduce((sum, job) => sum + this.lab.steps(job).length, 0);
    return records + steps + this.lab.requests().length + this.teacher.answered.length;
  }

  // --- between runs -------------------------------------------------------------------------------------------------

  private async reset(): Promise<void> {
    await this.heal();
    const { artifactRoot, folder } = this.lab;
    for (const name of await readdir(artifactRoot)) {
      // A worker makes tmp/ when it starts, and not again.
      const inside = name === 'tmp' ? await readdir(join(artifactRoot, name)) : [''];
      for (const one of inside) await rm(join(artifactRoot, name, one), { recursive: true, force: true });
    }
    for (const server of await readdir(join(folder, 'work/servers')).catch(() => [])) {
      await rm(join(folder, 'work/servers', server, 'requests.jsonl'), { force: true });
    }
    this.teacher.answered.length = 0;
    this.jobsSeen = [];
    this.overlaps = [];
  }

  private async heal(): Promise<void> {
    this.empty();
    this.line.heal();
    this.server.clear();
    this.teacher.clear();
    for (const { pid } of this.lab.processes()) signal(pid, 'SIGCONT');
    if (this.workers().length === 0) await this.startWorker();
  }

  // --- what faults do things with -----------------------------------------------------------------------------------

  workers(): number[] {
    return this.lab.processes('client/cli/main.js').map(({ pid }) => pid);
  }

  servers(): number[] {
    return this.lab.processes('server.py').map(({ pid }) => pid);
  }

  trainers(): number[] {
    return this.lab.processes('trainer.py').map(({ pid }) => pid);
  }

  /** Again and again until it is up, as a supervisor of services would. */
  async startWorker(): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        await this.lab.startWorker();
        return;
      } catch (error) {
        if (tries === 20) throw error;
        await sleep(500);
      }
    }
  }

  /** Leaves `bytes` of the store's file system. */
  fill(bytes: number): void {
    const { bavail, bsize } = statfsSync(this.lab.artifactRoot);
    const file = openSync(this.ballast(), 'w');
    const block = Buffer.alloc(1 << 20);
    try {
      for (let left = bavail * bsize - bytes; left > 0; left -= block.length) {
        writeSync(file, block, 0, Math.min(left, block.length));
      }
    } catch {
      // Somebody else took the last of it.
    } finally {
      closeSync(file);
    }
  }

  empty(): void {
    rmSync(this.ballast(), { force: true });
  }

  private ballast = () => join(this.lab.artifactRoot, 'ballast');

  /** Until the run has parked, for so long at most. */
  async parks(ms: number): Promise<void> {
    for (const until = Date.now() + ms; this.running && Date.now() < until; await sleep(100)) {
      const status = await this.lab.client.status(this.runId).catch(() => null);
      if (status?.state === 'parked') return;
    }
  }

  // --- what must hold -----------------------------------------------------------------------------------------------

  /** Processes and files that nobody needs any more; they have a few seconds to end. */
  private async leftovers(): Promise<string[]> {
    let found: string[] = [];
    for (const until = Date.now() + SETTLE_MS; Date.now() < until; await sleep(200)) {
      const { lab } = this;
      const stray = this.files('.').filter((path) =>
        /^tmp\/|\.partial$|~\d+~[0-9a-f]{12}$|^jobs\/[^/]+\/(checkpoints|model|\.model\.partial|\.result\.json)/.test(
          path,
        ),
      );
      found = [
        ...this.trainers().map((pid) => `a trainer is left (${pid})`),
        ...(this.servers().length > 1 ? ['two model servers are left'] : []),
        ...(this.workers().length !== 1 ? [`${this.workers().length} workers are left`] : []),
        ...stray.map((path) => `a stray file: ${path}`),
        ...readdirSync(join(lab.folder, 'work/servers'))
          .flatMap((name) => readdirSync(join(lab.folder, 'work/servers', name)))
          .filter((name) => name.endsWith('.tmp'))
          .map((name) => `a stray file: ${name}`),
      ];
      if (found.length === 0) return [];
    }
    return found;
  }

  private workDone(): { done: Twice; twice: Twice } {
    const asked = this.lab.requests().filter(({ request }) => request);
    const key = ({ model, request }: { model: string; request: string }) => `${model} ${request}`;
    const scores = asked.filter(({ request }) => request.startsWith('score:')).map(key);
    const samples = asked.filter(({ request }) => !request.startsWith('score:')).map(key);
    samples.push(...this.teacher.answered);
    const steps = this.jobs().flatMap((job) => this.lab.steps(job).map(({ step }) => `${job} ${step}`));
    const again = (all: string[]) => all.length - counts(all).size;
    return {
      done: { samples: samples.length, scores: scores.length, steps: steps.length },
      twice: { samples: again(samples), scores: again(scores), steps: again(steps) },
    };
  }

  /** A fault costs at most the chunk in work of each shard in flight, once for each attempt it ends. */
  private tooOften({ samples, scores }: Twice, struck: Struck[]): string[] {
    const interrupts = struck.reduce((sum, { fault, met }) => sum + (met ? fault.interrupts : 0), 0);
    const most = interrupts * CHUNK_ROWS * SHARDS_IN_FLIGHT;
    return samples + scores > most
      ? [`${samples} rows were sampled and ${scores} scored twice; at most ${most} may be`]
      : [];
  }

  /** One writer after the other, each going on from the newest checkpoint that was complete. */
  private badTraining(): string[] {
    const wrong: string[] = [];
    for (const job of this.jobs().filter((folder) => existsSync(folder))) {
      const turns: TrainingStep[][] = [];
      for (const step of this.lab.steps(job)) {
        const last = turns.at(-1);
        if (last && last[0]!.pid === step.pid) last.push(step);
        else turns.push([step]);
      }
      const name = basename(job);
      if (new Set(turns.map(([first]) => first!.pid)).size !== turns.length) {
        wrong.push(`two trainers wrote ${name} at a time`);
      }
      let reached = 0;
      for (const turn of turns) {
        const first = turn[0]!.step;
        // A step is written before the checkpoint after it: this one is sure to be complete once the next step is done.
        const kept = CHECKPOINT_STEPS * Math.floor(Math.max(0, reached - 1) / CHECKPOINT_STEPS);
        if (first <= kept || first > reached + 1) wrong.push(`${name}: step ${first} came after step ${reached}`);
        if (turn.some(({ step }, i) => step !== first + i)) wrong.push(`${name}: steps are left out`);
        reached = Math.max(reached, turn.at(-1)!.step);
      }
    }
    return wrong;
  }

  private readonly together = new Map<string, number>();

  /** A second one that finds the lock taken ends within a moment. */
  private watchTrainers(): void {
    if (!this.running) return;
    const jobs = counts(this.lab.processes('trainer.py').map(({ command }) => command.split('trainer.py ')[1] ?? ''));
    for (const job of this.together.keys()) if (!jobs.has(job)) this.together.delete(job);
    for (const [job, trainers] of jobs) {
      const looks = trainers > 1 ? (this.together.get(job) ?? 0) + 1 : 0;
      this.together.set(job, looks);
      if (looks === 6) this.overlaps.push(`two trainers of ${basename(job)} lived for 3 s`);
    }
  }

  // --- details ------------------------------------------------------------------------------------------------------

  /** The worker finds the server by its card: the port on it becomes the proxy's. */
  private standBeforeServer(): void {
    const card = join(this.lab.folder, 'work/servers/local-deterministic/server.json');
    try {
      const told = JSON.parse(readFileSync(card, 'utf8'));
      if (told.port === this.server.port) return;
      this.serverPort = told.port;
      writeFileSync(`${card}.chaos`, JSON.stringify({ ...told, port: this.server.port }));
      renameSync(`${card}.chaos`, card);
    } catch {
      // There is none now.
    }
  }

  /** Paths of the store, below `folder`. */
  private files(folder: string): string[] {
    const root = join(this.lab.artifactRoot, folder);
    for (let tries = 0; existsSync(root); tries++) {
      try {
        return readdirSync(root, { recursive: true }).map(String);
      } catch (error) {
        if (tries === 5) throw error; // A folder that is being deleted goes away while it is read.
      }
    }
    return [];
  }
}

async function undoAll(undo: (() => unknown)[]): Promise<void> {
  for (const one of undo.splice(0).reverse()) await one();
}

export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false; // It has ended.
  }
}

/** A file system of its own for the store; false where that is not allowed. */
function mount(folder: string): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${STORE_MB}m`, 'srlm-chaos', folder], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

async function someWithoutRationale(file: string): Promise<void> {
  const rows = (await readFile(file, 'utf8')).trim().split('\n');
  const some = rows.map((row, i) => {
    const { rationale, ...rest } = JSON.parse(row);
    return JSON.stringify(i % 4 === 0 ? rest : { ...rest, rationale });
  });
  await writeFile(file, `${some.join('\n')}\n`);
}

function differences(reference: Reference, found: Reference): string[] {
  const wrong: string[] = [];
  if (JSON.stringify(found.outcome) !== JSON.stringify(reference.outcome)) wrong.push('its result is another');
  const paths = new Set([...Object.keys(reference.digests), ...Object.keys(found.digests)]);
  const other = [...paths].filter((path) => reference.digests[path] !== found.digests[path]);
  if (other.length > 0) {
    const shown = other.slice(0, 3).map((path) => {
      if (!(path in found.digests)) return `${path} is missing`;
      return `${path} is ${path in reference.digests ? 'another' : 'new'}`;
    });
    wrong.push(`${other.length} files differ: ${shown.join(', ')}`);
  }
  return wrong;
}
