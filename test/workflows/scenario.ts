/**
 * Workflows against a real Temporal server with scripted activities: no Python, no store, no files. One worker serves all
 * scenarios of a test file; each scenario has its own run, its own script, and a record of what was asked of it.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import { type WorkflowHandle, WorkflowUpdateFailedError } from '@temporalio/client';
import type { Priority } from '@temporalio/common';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, makeTelemetryFilterString, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import { inject, vi } from 'vitest';
import { type CatalystInput, CatalystSettings } from '../../contracts/catalysts.js';
import { type CommandName, STATE_QUERY, updateName } from '../../contracts/commands.js';
import type { ObjectRef } from '../../contracts/refs.js';
import type {
  OperatorRecord,
  RunInput,
  RunMemo,
  RunProgress,
  RunResult,
  RunState,
  SampleInput,
} from '../../contracts/run.js';
import { RunSettings, SampleSettings } from '../../contracts/spec.js';
import type { RoundSummary, RoundTable } from '../../contracts/steps.js';
import { WorkflowConfig } from '../../contracts/workflow-config.js';
import { freshRecord } from '../../workflows/control/record.js';
import { ACTIVITIES, defaults, failure, leftBefore, object, type Script } from './script.js';
import { PATIENCE_MS, within } from './waiting.js';

export interface Call {
  name: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests know which activity they look at
  input: any;
}

type Options = Pick<WorkerOptions, 'dataConverter' | 'workflowBundle'> & {
  /** The queue of the host that scripted activities choose is polled, too: for runs that a client starts. */
  servesHost?: boolean;
};
const BUNDLE = { codePath: join(import.meta.dirname, '../../dist/workflow-bundle.js') };

/** A round costs the fewest activities with these. */
export const SMALL = { rounds: 0, catalysts: 'none', evaluation: 'none', selection: { selector: 'length' } } as const;

vi.setConfig({ testTimeout: 4 * PATIENCE_MS, hookTimeout: PATIENCE_MS });

/** Runs under way at once: with more of them, each would wait for all the others. */
const AT_ONCE = 10;
/** Temporal's answers while an execution hands over to the next, or a worker is away: the same Update may be sent again. */
const TRANSIENT_GRPC_CODES = [1, 4, 8, 9, 14];

export interface Start {
  settings?: object;
  priority?: Priority;
  config?: Partial<WorkflowConfig>;
  script?: Script;
  id?: string;
  type?: string;
  /** Default: `settings` and `config` as input, `record` and what was left before `fromRound` if there is such. */
  args?: unknown[];
  /** The round to begin with, as if those before it were done. */
  fromRound?: number;
  progress?: Partial<RunProgress>;
  record?: Partial<OperatorRecord>;
  /** All rounds before `fromRound` have an evaluation. */
  evaluated?: boolean;
}

class Running {
  readonly calls: Call[] = [];
  private readonly waiting: { name: string; count: number; resolve: (call: Call) => void }[] = [];
  private wake: () => void = () => {};
  private next: Promise<void> | null = null;
  constructor(readonly script: Script) {}

  /** Settled when any activity is asked for. */
  nextCall(): Promise<void> {
    this.next ??= new Promise((resolve) => {
      this.wake = () => {
        this.next = null;
        resolve();
      };
    });
    return this.next;
  }

  async answer(name: string, input: unknown, second?: unknown, third?: unknown): Promise<unknown> {
    const call = { name, input };
    this.calls.push(call);
    const count = this.of(name).length;
    this.wake();
    for (const one of this.waiting) if (one.name === name && one.count === count) one.resolve(call);
    return this.script[name]!(input, count, second, third);
  }

  of = (name: string): Call[] => this.calls.filter((call) => call.name === name);

  called(name: string, count: number): Promise<Call> {
    const known = this.of(name)[count - 1];
    return known ? Promise.resolve(known) : new Promise((resolve) => this.waiting.push({ name, count, resolve }));
  }
}

/** Workers log what tests provoke. A process has one runtime, which another test file may have installed. */
function beQuiet(): void {
  const state = globalThis as { isSrlmQuiet?: boolean };
  if (state.isSrlmQuiet) return;
  state.isSrlmQuiet = true;
  const filter = makeTelemetryFilterString({ core: 'ERROR', other: 'ERROR' });
  Runtime.install({ logger: new DefaultLogger('ERROR'), telemetryOptions: { logging: { filter } } });
}

export class Scenarios {
  /** Ends the calls that wait for runs which never end. */
  private readonly closing = new AbortController();
  private readonly running = new Map<string, Running>();
  private free = AT_ONCE;
  private readonly queue: (() => void)[] = [];
  private workers: { worker: Worker; ended: Promise<void> }[] = [];

  private constructor(
    readonly env: TestWorkflowEnvironment,
    readonly taskQueue: string,
    private readonly options: Options,
  ) {}

  /** A data converter with paths needs a bundle that was made for it. */
  static async open({ dataConverter, workflowBundle = BUNDLE, servesHost = false }: Options = {}): Promise<Scenarios> {
    const temporal = inject('temporal');
    if ('missing' in temporal) throw new Error(temporal.missing);
    beQuiet();
    const env = await TestWorkflowEnvironment.createFromExistingServer({
      address: temporal.address,
      ...(dataConverter ? { client: { dataConverter } } : {}),
    });
    const taskQueue = `scenarios-${process.pid}-${Math.random().toString(36).slice(2)}`;
    // As long as a queue's name may be: it is part of many payloads.
    const scenarios = new Scenarios(env, taskQueue.padEnd(80, '-'), {
      workflowBundle,
      servesHost,
      ...(dataConverter ? { dataConverter } : {}),
    });
    await scenarios.startWorker();
    return scenarios;
  }

  async startWorker(): Promise<void> {
    const { servesHost, workflowBundle, dataConverter } = this.options;
    await this.poll(this.taskQueue, { workflowBundle, dataConverter });
    if (servesHost) await this.poll(`${this.taskQueue}@host-a`, { dataConverter });
  }

  private async poll(taskQueue: string, options: Partial<WorkerOptions>): Promise<void> {
    const worker = await Worker.create({
      connection: this.env.nativeConnection,
      taskQueue,
      activities: Object.fromEntries(
        ACTIVITIES.map((name) => [
          name,
          (input: unknown, second?: unknown, third?: unknown) => this.answer(name, input, second, third),
        ]),
      ),
      ...options,
      debugMode: true,
      maxConcurrentActivityTaskExecutions: 200,
      maxHeartbeatThrottleInterval: 200,
      defaultHeartbeatThrottleInterval: 200,
    });
    this.workers.push({ worker, ended: worker.run() });
  }

  async stopWorker(): Promise<void> {
    for (const { worker } of this.workers) worker.shutdown();
    await Promise.all(this.workers.map(({ ended }) => ended));
    this.workers = [];
  }

  private answer(name: string, input: unknown, second?: unknown, third?: unknown): Promise<unknown> {
    const id = Context.current().info.workflowExecution!.workflowId;
    const running = this.running.get(id);
    if (!running) throw failure('test.unknown', `no scenario has the id ${id}`);
    return running.answer(name, input, second, third);
  }

  config(changes: Partial<WorkflowConfig> = {}): WorkflowConfig {
    return WorkflowConfig.parse({
      cpuQueue: this.taskQueue,
      gpuQueue: this.taskQueue,
      hostQueues: false,
      heartbeatSeconds: 20,
      // Search attributes cost a quarter of a run's time, and no workflow decides by them.
      shardsInFlight: 4,
      maxAttempts: 3,
      searchAttributes: false,
      upgrades: true,
      ...changes,
    });
  }

  input(settings: object = {}, config: Partial<WorkflowConfig> = {}): RunInput {
    const parsed = RunSettings.parse({ data: {}, catalysts: {}, evaluation: {}, rounds: 1, ...settings });
    return {
      version: 2,
      settings: parsed,
      texts: object('texts'),
      data: object('data.jsonl'),
      catalysts: parsed.catalysts === 'none' ? null : object('catalysts.jsonl'),
      evaluation: parsed.evaluation === 'none' ? null : object('evaluation.jsonl'),
      config: this.config(config),
      fork: null,
    };
  }

  sampleInput(settings: object = {}, config: Partial<WorkflowConfig> = {}): SampleInput {
    return {
      version: 2,
      settings: SampleSettings.parse({ data: {}, ...settings }),
      texts: object('texts'),
      data: object('prompts.jsonl'),
      loadsModel: false,
      config: this.config(config),
    };
  }

  /** Starts a run whose activities answer by `script`, and where that has nothing, at once and well. */
  async start(start: Start = {}): Promise<Scenario> {
    const scenario = this.expect(start);
    await this.turn();
    const handle = await this.env.client.workflow.start(start.type ?? 'srlmRun', {
      workflowId: scenario.id,
      taskQueue: this.taskQueue,
      args: start.args ?? this.args(start, scenario.tables),
      ...(start.priority ? { priority: start.priority } : {}),
      // A worker of a busy machine is slow, not lost.
      workflowTaskTimeout: '60 seconds',
    });
    scenario.firstRunId = handle.firstExecutionRunId;
    const ended = () => scenario.handle.result();
    void within(this.env.client.withAbortSignal(this.closing.signal, ended), () => 'it has not ended')
      .catch(() => {})
      .finally(() => this.next());
    return scenario;
  }

  private turn(): Promise<void> | void {
    if (this.free > 0) this.free--;
    else return new Promise((resolve) => this.queue.push(resolve));
  }

  private next(): void {
    const waiting = this.queue.shift();
    if (waiting) waiting();
    else this.free++;
  }

  /** A run that something else starts. */
  expect({ id = `run-${Math.random().toString(36).slice(2)}`, script }: Start): Scenario {
    const tables = new Map<string, RoundTable>();
    const running = new Running({ ...defaults(tables), ...script });
    this.running.set(id, running);
    return new Scenario(this, this.env.client.workflow.getHandle(id), running, tables);
  }

  async startSample(start: Start = {}): Promise<Scenario> {
    const input = this.sampleInput(start.settings, start.config);
    return this.start({ type: 'srlmSample', args: [input], ...start });
  }

  catalystInput(settings: object = {}, config: Partial<WorkflowConfig> = {}): CatalystInput {
    return {
      ...{ version: 2, kind: 'catalysts', settings: CatalystSettings.parse({ data: {}, ...settings }) },
      ...{ texts: object('texts'), data: object('data.jsonl'), loadsModel: false, config: this.config(config) },
    };
  }

  async startCatalysts(start: Start = {}): Promise<Scenario> {
    const input = this.catalystInput(start.settings, start.config);
    return this.start({ type: 'srlmCatalysts', args: [input], ...start });
  }

  private args(start: Start, tables: Map<string, RoundTable>): unknown[] {
    const input = this.input(start.settings, start.config);
    if (start.fromRound === undefined) return [input, this.record(start.record)];
    const progress = leftBefore(start.fromRound, tables, start.evaluated);
    return [input, this.record(start.record), { ...progress, ...start.progress }];
  }

  record = (changes: Partial<OperatorRecord> = {}): OperatorRecord => ({ ...freshRecord(), ...changes });

  async close(): Promise<void> {
    await this.stopWorker();
    // Temporal's client would retry them once the connection is closed, and throw where nobody catches it.
    this.closing.abort();
    await this.env.teardown();
  }
}

export class Scenario {
  /** Temporal’s id of its first execution; empty until it is known. */
  firstRunId = '';

  constructor(
    readonly scenarios: Scenarios,
    readonly handle: WorkflowHandle,
    private readonly running: Running,
    readonly tables: Map<string, RoundTable>,
  ) {}

  get id(): string {
    return this.handle.workflowId;
  }

  get script(): Readonly<Script> {
    return { ...this.running.script };
  }

  /** Changes how activities answer from now on. */
  answer(script: Script): void {
    Object.assign(this.running.script, script);
  }

  // --- what the run has asked for ---------------------------------------------------------------------------------------
  calls = (name: string): Call[] => this.running.of(name);
  // biome-ignore lint/suspicious/noExplicitAny: tests know which activity they look at
  inputs = (name: string): any[] => this.calls(name).map(({ input }) => input);

  /** Names of all activities in the order in which they were asked for, exports left out. */
  asked(): string[] {
    return this.running.calls.map(({ name }) => name).filter((name) => name !== 'srlmExport');
  }

  /** Waits until an activity is asked for, for the `count`th time. */
  called = (name: string, count = 1): Promise<Call> =>
    within(this.running.called(name, count), () => `${name} is not asked for ${count} times: ${this.asked()}`);

  // --- what it shows ----------------------------------------------------------------------------------------------------
  state(): Promise<RunState> {
    return this.handle.query<RunState>(STATE_QUERY);
  }

  /** Waits until the state is as wanted. A query is costly: it is asked again when an activity was, or ever later. */
  async until(wanted: (state: RunState) => unknown, what = wanted.toString()): Promise<RunState> {
    let state: RunState | null = null;
    const end = Date.now() + PATIENCE_MS;
    for (let pause = 20; Date.now() < end; pause = Math.min(2 * pause, 400)) {
      const next = this.running.nextCall();
      state = await this.state().catch(() => null);
      if (state && wanted(state)) return state;
      await Promise.race([next, sleep(pause)]);
      await sleep(20);
    }
    throw new Error(`never: ${what}. The last state: ${JSON.stringify(state)}`);
  }

  parked = (step?: string) =>
    this.until(({ halt }) => halt?.kind === 'parked' && (!step || halt.step === step), `parked at ${step}`);
  waiting = (approval: string, round?: number | null) =>
    this.until(
      ({ halt }) =>
        halt?.kind === 'waiting' && halt.approval === approval && (round === undefined || halt.round === round),
      `waiting for ${approval}`,
    );

  async memo(): Promise<RunMemo> {
    return (await this.handle.describe()).memo?.srlm as RunMemo;
  }

  // --- what operators send ----------------------------------------------------------------------------------------------
  /** Sent as the client does: under one id, again after an error that says nothing of the command. */
  async command(name: CommandName, command: object = {}, updateId = Math.random().toString(36)): Promise<string> {
    return this.send(updateName(name), [{ who: 'ana', why: '', ...command }], updateId);
  }

  async send(update: string, args: unknown[], updateId = Math.random().toString(36)): Promise<string> {
    for (const end = Date.now() + PATIENCE_MS; ; ) {
      try {
        return await this.handle.executeUpdate<string, [unknown]>(update, { args: args as [unknown], updateId });
      } catch (error) {
        const { code } = ((error as Error).cause ?? {}) as { code?: number };
        if (!TRANSIENT_GRPC_CODES.includes(code ?? 0) || Date.now() > end) throw error;
        await sleep(50);
      }
    }
  }

  /** Why a command is refused. */
  refused = (name: CommandName, command: object = {}): Promise<string> =>
    this.refusedUpdate(updateName(name), [{ who: 'ana', why: '', ...command }]);

  async refusedUpdate(update: string, args: unknown[]): Promise<string> {
    try {
      await this.send(update, args);
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError) return error.cause?.message ?? '';
      throw error;
    }
    throw new Error(`${update} was not refused`);
  }

  // --- how it ends ------------------------------------------------------------------------------------------------------
  async result<T = RunResult>(): Promise<T> {
    return (await within(this.handle.result(), () => `no result: ${this.asked()}`)) as T;
  }

  /** What ended a run that has no result. */
  async failure(): Promise<{ type: string; message: string }> {
    try {
      await this.result();
    } catch (error) {
      const cause = (error as { cause?: Error & { type?: string } }).cause ?? (error as Error & { type?: string });
      return { type: cause.type ?? cause.name, message: cause.message };
    }
    throw new Error('the run has a result');
  }

  /** The rounds that the run has recorded. */
  rounds = ({ table }: { table: ObjectRef | null }): RoundSummary[] => (table ? this.table({ table }).rounds : []);
  table = ({ table }: { table: ObjectRef }): RoundTable => this.tables.get(table.sha256)!;

  /** All executions, the first one first. */
  async executions() {
    const { workflow } = this.scenarios.env.client;
    if (!this.firstRunId) this.firstRunId = (await this.handle.describe()).raw.workflowExecutionInfo!.firstRunId!;
    const executions = [];
    for (let runId: string | undefined = this.firstRunId; runId; ) {
      const history = await workflow.getHandle(this.id, runId).fetchHistory();
      executions.push({ runId, history, events: history.events! });
      runId = history.events!.at(-1)!.workflowExecutionContinuedAsNewEventAttributes?.newExecutionRunId ?? undefined;
    }
    return executions;
  }
}
