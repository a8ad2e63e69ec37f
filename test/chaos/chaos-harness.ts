/**
 * Runs of the tiny model that meet faults. Everything around them (site.ts) is kept from run to run, except for what a
 * fault has killed; the store is emptied. The report of a run says which faults were injected, what was computed twice,
 * and everything that is not as the undisturbed run left it.
 */
import { closeSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { cp, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { RunStatus } from '../../contracts/run.js';
import { counts, type Harness, harnessSpec, outcome } from '../support/harness.js';
import { type Chain, chainOf } from './chain.js';
import {
  differences,
  leftovers,
  type Reference,
  tooMuchTwice,
  trainingProblems,
  type Work,
  workDone,
} from './checks.js';
import { Commands } from './commands.js';
import type { Fault, Moment } from './faults/index.js';
import { Probe } from './probe.js';
import type { HeldRequest, HttpProxy, TcpProxy } from './proxies.js';
import { closeSite, openSite, type Site, unmount } from './site.js';
import { StoredFiles } from './stored.js';

/** Far more than a run with any fault takes on a busy machine. */
const RUN_MS = 360_000;
const SETTLE_MS = 15_000;

/** The RunProgress of a workflow task that ends in continue-as-new: no other request has one at the end of a value. */
const CONTINUES_AS_NEW = /"unexported":\["[^\]]+"\]\}/;

export interface Injection {
  fault: Fault;
  /** false: the run had ended, or what it was meant for did not exist. */
  injected: boolean;
  /** From the fault, or its end, to the next progress. */
  recoveredMs: number | null;
}

export interface Report {
  injections: Injection[];
  /** Types of the errors that parked it. */
  parked: string[];
  /** What does not hold. Empty: everything does. */
  wrong: string[];
  seconds: number;
  done: Work;
  twice: Work;
  chain: Pick<Chain, 'executions' | 'retried'>;
}

export class ChaosHarness {
  readonly harness: Harness;
  readonly fillable: boolean;
  readonly temporal: TcpProxy;
  readonly server: HttpProxy;
  readonly teacher: HttpProxy;
  readonly probe: Probe;
  readonly stored: StoredFiles;
  readonly commands: Commands;
  private readonly undo: Site['undo'];
  private readonly one = pLimit(1);
  private readonly timer = setInterval(() => this.watchTrainers(), 500);
  private reference: Reference | null = null;
  private runId = '';
  private running = false;
  private overlaps: string[] = [];

  private constructor({ harness, fillable, temporal, server, teacher, undo }: Site) {
    this.harness = harness;
    this.fillable = fillable;
    this.temporal = temporal;
    this.server = server;
    this.teacher = teacher;
    this.undo = undo;
    this.probe = new Probe(harness);
    this.stored = new StoredFiles(harness);
    this.commands = new Commands(() => harness.client);
  }

  static async open(name: string): Promise<ChaosHarness> {
    return new ChaosHarness(await openSite(name));
  }

  /** `keep`: the folder stays, with a copy of the store in it. */
  async close(keep = false): Promise<void> {
    clearInterval(this.timer);
    if (keep) {
      await cp(this.harness.artifactRoot, join(this.harness.folder, 'store-kept'), { recursive: true });
      this.undo.pop();
    }
    await closeSite(this.undo);
  }

  /** At once, and without a turn of the event loop, in which Temporal would be started again. */
  abandon(): void {
    for (let left = this.harness.processes(); left.length > 0; left = this.harness.processes()) {
      for (const { pid } of left) signal(pid, 'SIGKILL');
    }
    if (this.fillable) unmount(this.harness.artifactRoot);
    rmSync(this.harness.folder, { recursive: true, force: true });
  }

  // --- a run ----------------------------------------------------------------------------------------------------------
  /** Without faults: what all others are compared with. Throws if even that is not as it should be. */
  async undisturbed(): Promise<Report> {
    const report = await this.run('undisturbed', []);
    if (report.wrong.length === 0) return report;
    await this.close(true);
    throw new Error(`The undisturbed run: ${report.wrong.join('; ')}; see ${this.harness.folder}`);
  }

  async run(id: string, faults: Fault[]): Promise<Report> {
    await this.reset();
    const startedAt = Date.now();
    const wrong: string[] = [];
    const parked: string[] = [];
    await this.start(id);
    this.running = true;
    const injecting = Promise.all(faults.map((fault) => this.inject(fault)));
    injecting.catch(() => {}); // Reported where it is awaited.
    let ended = await this.follow(parked, wrong);
    this.running = false;
    const injections = await injecting;
    const chain: Chain = { executions: 0, retried: 0, wrong: [] };
    const look = async () => {
      const { executions, retried, wrong } = await chainOf(this.harness.client, this.runId, this.harness.artifactRoot);
      chain.executions += executions;
      chain.retried += retried;
      chain.wrong.push(...wrong, ...(await this.commands.problems()));
    };
    if (ended?.endedAt) await look();
    if (ended?.state === 'done' && injections.some(({ fault, injected }) => injected && fault.rerun)) {
      // Damage that no step came across is found when the same run is started again.
      await this.heal();
      await this.start(`${id}-again`);
      ended = await this.follow(parked, wrong);
      if (ended?.endedAt) await look();
    }
    const seconds = (Date.now() - startedAt) / 1000;
    wrong.push(...chain.wrong);
    if (ended?.state !== 'done') {
      wrong.push(ended ? `it ${ended.state}: ${ended.failure}` : `it did not end in ${RUN_MS / 1000} s`);
    } else {
      wrong.push(...(await this.leftovers()));
      const found = await this.found();
      this.reference ??= found;
      wrong.push(...differences(this.reference, found));
    }
    const { done, twice } = workDone(this.harness, this.probe.jobs(), this.teacher.answered);
    wrong.push(...tooMuchTwice(twice, injections), ...trainingProblems(this.harness, this.probe.jobs(), injections));
    return { injections, parked, wrong: [...wrong, ...this.overlaps], seconds, done, twice, chain };
  }

  private async start(id: string): Promise<void> {
    this.runId = await this.harness.start(this.spec, id);
    this.commands.begin(this.runId);
  }

  private readonly spec = harnessSpec({ rationalizeEngine: 'teacher' });

  private async found(): Promise<Reference> {
    const result = await this.harness.finish(this.runId);
    return { outcome: outcome(result), digests: await this.harness.digests() };
  }

  /** To its end; answers it whenever it is parked and no fault is at work. null: it does not end. */
  private async follow(parked: string[], wrong: string[]): Promise<RunStatus | null> {
    const { client } = this.harness;
    let answered = '';
    let lookAt = 0;
    for (const until = Date.now() + RUN_MS; Date.now() < until; await sleep(300)) {
      const look = Date.now() > lookAt;
      if (look) lookAt = Date.now() + 3000;
      if (look && !this.isInjecting() && this.workers().length === 0) {
        wrong.push('the worker ended by itself');
        await this.startWorker();
      }
      const status = await client.status(this.runId).catch(() => null);
      if (status?.endedAt) return status;
      const { halt } = status ?? {};
      if (halt?.kind !== 'parked' || halt.since === answered || this.isInjecting()) continue;
      const { type, since } = halt;
      // What only the user has: stored again as somebody does who starts the same spec once more.
      if (type === 'data.damaged') await client.runInput(this.spec, { folder: this.harness.folder });
      const done = await client.send(this.runId, 'retry', { why: 'the fault is over' }).catch(() => null);
      this.commands.count(done !== null);
      if (!done) continue;
      answered = since;
      parked.push(type);
    }
    return null;
  }

  private isInjecting = () => this.one.activeCount > 0;

  private async inject(fault: Fault): Promise<Injection> {
    const missed = { fault, injected: false, recoveredMs: null };
    const over = async () => {
      while (this.running) await sleep(50);
      return null;
    };
    const { moment } = fault;
    let held: HeldRequest | null = null;
    if (moment.in === 'continue-as-new') held = await Promise.race([this.continuesAsNew(), over()]);
    else if (!(await this.reached(moment))) return missed;
    if (moment.in === 'continue-as-new' && !held) return missed;
    // One that waits for a request that never comes ends with the run.
    const at = await (fault.concurrent
      ? Promise.race([fault.inject(this, held), over()])
      : this.one(() => (this.running ? fault.inject(this, held) : null)));
    held?.release();
    if (at === null) return missed;
    const before = this.probe.progress();
    while (this.running && this.probe.progress() <= before) await sleep(100);
    return { fault, injected: true, recoveredMs: Date.now() - at };
  }

  private continuesAsNew(): Promise<HeldRequest> {
    return this.temporal.hold((message) => CONTINUES_AS_NEW.test(message.toString('latin1')));
  }

  /** false: the run has ended before. */
  private async reached(moment: Exclude<Moment, { in: 'continue-as-new' }>): Promise<boolean> {
    const startedAt = Date.now();
    for (; this.running; await sleep(10)) if (this.probe.reached(moment, Date.now() - startedAt)) return true;
    return false;
  }

  // --- between runs ---------------------------------------------------------------------------------------------------
  private async reset(): Promise<void> {
    await this.heal();
    const { artifactRoot, folder } = this.harness;
    for (const name of await readdir(artifactRoot)) {
      // A worker makes tmp/ when it starts, and not again.
      const inside = name === 'tmp' ? await readdir(join(artifactRoot, name)) : [''];
      for (const one of inside) await rm(join(artifactRoot, name, one), { recursive: true, force: true });
    }
    for (const server of await readdir(join(folder, 'work/servers')).catch(() => [])) {
      await rm(join(folder, 'work/servers', server, 'requests.jsonl'), { force: true });
    }
    this.teacher.answered.length = 0;
    this.probe.reset();
    this.overlaps = [];
  }

  private async heal(): Promise<void> {
    this.empty();
    this.temporal.clear();
    this.temporal.heal();
    this.server.clear();
    this.teacher.clear();
    for (const { pid } of this.harness.processes()) signal(pid, 'SIGCONT');
    if (this.workers().length === 0) await this.startWorker();
  }

  // --- for faults -----------------------------------------------------------------------------------------------------
  workers(): number[] {
    return this.harness.processes('client/cli/main.js').map(({ pid }) => pid);
  }

  servers(): number[] {
    return this.harness.processes('server.py').map(({ pid }) => pid);
  }

  trainers(): number[] {
    return this.harness.processes('trainer.py').map(({ pid }) => pid);
  }

  /** Again and again until it is up, as a supervisor of services would. */
  async startWorker(): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        await this.harness.startWorker();
        return;
      } catch (error) {
        if (tries === 20) throw error;
        await sleep(500);
      }
    }
  }

  /** Leaves `bytes` of the store's file system. */
  fill(bytes: number): void {
    const { bavail, bsize } = statfsSync(this.harness.artifactRoot);
    const file = openSync(this.ballast(), 'w');
    const block = Buffer.alloc(1 << 20);
    try {
      for (let left = bavail * bsize - bytes; left > 0; left -= block.length)
        writeSync(file, block, 0, Math.min(left, block.length));
    } catch {
      // Another writer took the last of it.
    } finally {
      closeSync(file);
    }
  }

  empty(): void {
    rmSync(this.ballast(), { force: true });
  }

  private ballast = () => join(this.harness.artifactRoot, 'ballast');

  /** Waits until the run has parked, for so long at most. */
  async parks(ms: number): Promise<void> {
    for (const until = Date.now() + ms; this.running && Date.now() < until; await sleep(100)) {
      const status = await this.harness.client.status(this.runId).catch(() => null);
      if (status?.state === 'parked') return;
    }
  }

  // --- checks ---------------------------------------------------------------------------------------------------------
  /** Processes have a few seconds to end. */
  private async leftovers(): Promise<string[]> {
    let found: string[] = [];
    for (const until = Date.now() + SETTLE_MS; Date.now() < until; await sleep(200)) {
      found = leftovers(this);
      if (found.length === 0) break;
    }
    return found;
  }

  private readonly together = new Map<string, number>();

  /** A second trainer that finds the lock taken ends within a moment. */
  private watchTrainers(): void {
    if (!this.running) return;
    const jobs = counts(
      this.harness.processes('trainer.py').map(({ command }) => command.split('trainer.py ')[1] ?? ''),
    );
    for (const job of this.together.keys()) if (!jobs.has(job)) this.together.delete(job);
    for (const [job, trainers] of jobs) {
      const looks = trainers > 1 ? (this.together.get(job) ?? 0) + 1 : 0;
      this.together.set(job, looks);
      if (looks === 6) this.overlaps.push(`two trainers of ${basename(job)} lived for 3 s`);
    }
  }
}

export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false; // It has ended.
  }
}
