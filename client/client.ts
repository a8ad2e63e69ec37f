/**
 * SrlmClient: starts runs, reports their status, sends them commands: what the command line does, as a library.
 * Throws the Problems of contracts/errors.ts.
 */
import { type Client, ServiceError, WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import type { z } from 'zod';
import { connect } from '../config/connection.js';
import { resolveDeployment, workflowConfigOf } from '../config/load.js';
import { idProblem, newId } from '../config/run-id.js';
import { checkSdk } from '../config/sdk.js';
import { setsSearchAttributes } from '../config/search-attributes.js';
import { CatalystInput, CatalystResult, CatalystSpec } from '../contracts/catalysts.js';
import type { CommandName } from '../contracts/commands.js';
import type { Deployment, DeploymentInput } from '../contracts/deployment.js';
import { commandRefused, runBroken, runExists, runSilent, show, specInvalid } from '../contracts/errors.js';
import { explain } from '../contracts/issues.js';
import type { RunStatus } from '../contracts/run.js';
import {
  codeFailureText,
  OperatorRecord,
  RunInput,
  type RunMemo,
  RunResult,
  type RunState,
  SampleInput,
  SampleResult,
} from '../contracts/run.js';
import { RunSpec, SampleSpec } from '../contracts/spec.js';
import type { WorkflowConfig } from '../contracts/workflow-config.js';
import { sha256 } from '../storage/files.js';
import { readableStore, type Store } from '../storage/store.js';
import { argumentsOf, type Described } from './executions.js';
import { continuation, type Fork, recordOfFork } from './fork.js';
import { type CommandFields, send, terminate, unlessBroken } from './operate.js';
import { operator } from './operator.js';
import { otherConfigs } from './other-config.js';
import { Pace } from './pace.js';
import type { Checked } from './preflight.js';
import { COMMAND_QUERY_MS, type RunListing, RunReader } from './status.js';
import type { CheckedStudy } from './study/check.js';
import { startStudy } from './study/operate.js';

/** As Temporal has them. */
export const PRIORITY = { first: 1, last: 5, default: 3 } as const;

export interface StartOptions {
  /** Default: the spec's name and the time. */
  id?: string;
  /** What relative data paths are relative to. Default: the current folder. */
  folder?: string;
  /** From 1, which is first, to 5. Default: 3. */
  priority?: number | undefined;
}

export interface Started {
  runId: string;
  warnings: string[];
}

/** What is started -> the type of its workflow. */
const TYPES = { run: 'srlmRun', sample: 'srlmSample', catalysts: 'srlmCatalysts' } as const;

/** What a run begins with: `input` is the argument of its workflow. */
export type Ready<Input> = Checked<Input> & { input: Input };

export class SrlmClient {
  private readonly reader: RunReader;
  private opened: Store | null = null;

  private constructor(
    readonly temporal: Client,
    readonly deployment: Deployment,
    private readonly isOwn: boolean,
  ) {
    this.reader = new RunReader(temporal, deployment, () => this.store);
  }

  /**
   * `temporal`: a client of your own, with its own plugins, data converter and interceptors; `close` leaves it open.
   * Default: by Temporal's environment configuration, with those of `config`. Throws config.invalid, temporal.sdk,
   * temporal.unreachable.
   */
  static async connect(config: DeploymentInput = {}, temporal?: Client): Promise<SrlmClient> {
    const deployment = resolveDeployment(config, process.cwd());
    checkSdk({ client: temporal });
    return new SrlmClient(temporal ?? (await connect(deployment)), deployment, temporal === undefined);
  }

  async close(): Promise<void> {
    if (this.isOwn) await this.temporal.connection.close();
  }

  /** To read from: what is stored for a run is stored before it starts (client/preflight.ts). */
  get store(): Store {
    this.opened ??= readableStore(this.deployment);
    return this.opened;
  }

  // --- starting -------------------------------------------------------------------------------------------------------

  /** Checks everything that can be checked, stores the data, starts. Returns at once. */
  async start(spec: unknown, options: StartOptions = {}): Promise<Started> {
    return this.startChecked(await this.runInput(spec, options), options);
  }

  async startSample(spec: unknown, options: StartOptions = {}): Promise<Started> {
    return this.startChecked(await this.sampleInput(spec, options), options);
  }

  /** Has a teacher write catalysts: what `srlm catalyst build` does. */
  async startCatalysts(spec: unknown, options: StartOptions = {}): Promise<Started> {
    return this.startChecked(await this.catalystInput(spec, options), options);
  }

  /** Starts what checkRun, checkSample or checkCatalysts has checked and stored. */
  async startChecked(
    { runId, input, warnings }: Checked<RunInput> | Checked<SampleInput> | Checked<CatalystInput>,
    { priority = PRIORITY.default }: Pick<StartOptions, 'priority'> = {},
  ): Promise<Started> {
    const others = await otherConfigs(this.temporal, this.deployment);
    await this.launch(runId, { ...input, config: await this.config() }, { priority });
    return { runId, warnings: [...warnings, ...others] };
  }

  /** Starts what checkStudy (client/study/check.ts) has checked and stored. Returns warnings. */
  async startStudy(
    checked: CheckedStudy,
    { priority = PRIORITY.default }: Pick<StartOptions, 'priority'> = {},
  ): Promise<string[]> {
    const warnings = await otherConfigs(this.temporal, this.deployment);
    const { taskQueue } = this.deployment;
    await startStudy(this.temporal, checked, { taskQueue, config: await this.config(), priority });
    return warnings;
  }

  /** Checks a spec and stores its data; `input` is for a workflow of your own that runs srlmRun as a child. */
  async runInput(spec: unknown, { id, folder = process.cwd() }: StartOptions = {}): Promise<Ready<RunInput>> {
    const { checkRun, checkSpec } = await checks();
    return this.ready(await checkRun(checkSpec(spec, RunSpec, 'spec'), this.deployment, folder, checkedId(id)));
  }

  /** The same for srlmSample. */
  async sampleInput(spec: unknown, { id, folder = process.cwd() }: StartOptions = {}): Promise<Ready<SampleInput>> {
    const { checkSample, checkSpec } = await checks();
    return this.ready(await checkSample(checkSpec(spec, SampleSpec, 'spec'), this.deployment, folder, checkedId(id)));
  }

  /** The same for srlmCatalysts. */
  async catalystInput(spec: unknown, { id, folder = process.cwd() }: StartOptions = {}): Promise<Ready<CatalystInput>> {
    const { checkSpec } = await checks();
    const { checkCatalysts } = await import('./catalysts.js');
    const checking = checkCatalysts(checkSpec(spec, CatalystSpec, 'spec'), this.deployment, folder, checkedId(id));
    return this.ready(await checking);
  }

  private async ready<Input>(checked: Checked<Input>): Promise<Ready<Input>> {
    return { ...checked, input: { ...checked.input, config: await this.config() } as Input };
  }

  /**
   * A new run that finds everything before `fromRound` done, then applies `set`.
   * Throws run.unknown, run.refused, run.silent, run.broken, spec.invalid.
   */
  async fork(runId: string, { fromRound, set, id }: Fork & { id?: string }): Promise<{ runId: string }> {
    const parent = await this.parent(runId, 'fork');
    const record = recordOfFork(parent.state, parent.input.settings, { fromRound, set });
    const fork = { of: runId, fromRound, fields: Object.keys(set) };
    return this.launchFork(parent, { input: { ...parent.input, fork }, record, id: id ?? newId(`${runId}-fork`) });
  }

  /**
   * A new run that finds all rounds of one that has ended done, and adds `rounds` of them.
   * Throws run.unknown, run.refused, run.silent, run.broken, spec.invalid.
   */
  async continue(runId: string, { rounds, id }: { rounds: number; id?: string }): Promise<{ runId: string }> {
    const parent = await this.parent(runId, 'continue');
    const { settings, fromRound, record } = continuation(runId, parent.state, parent.input.settings, rounds);
    // The gate's own end comes again, in the same round.
    const { rounds: finished } = await this.status(runId);
    if (finished.at(-1)?.gate?.verdict === 'stop') throw commandRefused(runId, 'continue', ENDED_BY_GATE);
    const fork = { of: runId, fromRound, fields: [] };
    const input = { ...parent.input, settings, fork };
    return this.launchFork(parent, { input, record, id: id ?? newId(`${runId}-continued`) });
  }

  private async launchFork(
    { described }: Parent,
    { input, record, id }: { input: RunInput; record: OperatorRecord; id: string },
  ): Promise<{ runId: string }> {
    const runId = checkedId(id)!;
    const priority = described.raw.workflowExecutionInfo?.priority?.priorityKey || PRIORITY.default;
    await this.launch(runId, { ...input, config: await this.config() }, { record, priority });
    return { runId };
  }

  /** What a run was started with, and what has become of it: in its history only, which a worker has to read. */
  private async parent(runId: string, command: string): Promise<Parent> {
    const { described, state, codeFailure } = await this.reader.look(runId, COMMAND_QUERY_MS);
    if (described.type !== 'srlmRun')
      throw commandRefused(
        runId,
        command,
        described.type === 'srlmSample' ? 'it is a sample run' : 'it builds catalysts',
      );
    if (codeFailure) throw runBroken(runId, codeFailureText(codeFailure));
    const [started] = await argumentsOf(this.temporal, described);
    const input = RunInput.safeParse(started);
    if (!input.success) throw commandRefused(runId, command, 'it was started by another version of srlm');
    if (!state) throw runSilent(runId);
    // What is started from a run of a study is none of that study.
    const { study: _, ...own } = input.data;
    return { described, state, input: own };
  }

  /** Throws run.exists, also for a run that ended with a result; spec.invalid for what the workflow would refuse, and fail. */
  private async launch(
    workflowId: string,
    input: RunInput | SampleInput | CatalystInput,
    { record, priority = PRIORITY.default }: { record?: OperatorRecord; priority?: number },
  ): Promise<void> {
    if (!(Number.isInteger(priority) && priority >= PRIORITY.first && priority <= PRIORITY.last))
      throw specInvalid(
        { file: 'options', field: 'priority' },
        `expected a whole number from 1 to 5, found ${show(priority)}.`,
      );
    const isRun = 'fork' in input;
    const what = isRun && input.fork ? 'fork' : 'spec';
    const args = [
      isRun
        ? accepted(RunInput, input, what)
        : 'kind' in input
          ? accepted(CatalystInput, input, what)
          : accepted(SampleInput, input, what),
      ...(record ? [accepted(OperatorRecord, record, what)] : []),
    ];
    const memo: RunMemo = {
      phase: 'running',
      round: null,
      lastRound: isRun ? input.settings.rounds : null,
      step: null,
      halt: null,
      table: null,
      forkOf: isRun ? (input.fork?.of ?? null) : null,
    };
    try {
      const kind = isRun ? 'run' : 'kind' in input ? input.kind : 'sample';
      await this.temporal.workflow.start(TYPES[kind], {
        workflowId,
        args,
        taskQueue: this.deployment.taskQueue,
        memo: { srlm: memo },
        // Commands find a run by its id: the models and rows of one that has a result must not be hidden by another.
        workflowIdReusePolicy: isRun ? 'ALLOW_DUPLICATE_FAILED_ONLY' : 'ALLOW_DUPLICATE',
        // Its activities and continued executions inherit it.
        priority: { priorityKey: priority, fairnessKey: fairnessKeyOf(workflowId) },
        staticSummary: `${input.settings.name} · ${kind}`,
      });
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) throw runExists(workflowId);
      throw error;
    }
  }

  private async config(): Promise<WorkflowConfig> {
    const { searchAttributes } = this.deployment;
    return workflowConfigOf(this.deployment, await setsSearchAttributes(this.temporal, searchAttributes));
  }

  // --- looking --------------------------------------------------------------------------------------------------------

  /** What a run is doing, with or without a worker to answer. Throws run.unknown. */
  status(runId: string): Promise<RunStatus> {
    return this.reader.status(runId);
  }

  /**
   * Statuses as they change, until the run has ended. A parked run has not. While nothing changes, it looks ten times less
   * often. Throws run.unknown.
   */
  async *watch(runId: string, everyMs = 1000): AsyncGenerator<RunStatus> {
    const pace = new Pace(everyMs);
    for (;;) {
      const status = await this.status(runId);
      yield status;
      if (status.endedAt) return;
      await new Promise((resolve) => setTimeout(resolve, pace.after(status)));
    }
  }

  list(): Promise<RunListing[]> {
    return this.reader.list();
  }

  /** Waits for the end of the run, through all its executions. Throws what ended a failed run. */
  async result(runId: string): Promise<RunResult> {
    return RunResult.parse(await this.end(runId));
  }

  async sampleResult(runId: string): Promise<SampleResult> {
    return SampleResult.parse(await this.end(runId));
  }

  async catalystResult(runId: string): Promise<CatalystResult> {
    return CatalystResult.parse(await this.end(runId));
  }

  private async end(runId: string): Promise<unknown> {
    for (;;) {
      try {
        return await this.temporal.workflow.getHandle(runId).result();
      } catch (error) {
        // A busy server lets a long wait run out instead of answering "not yet", which the SDK reports as a failure.
        // A deadline that the caller set reads differently.
        const { details } = (error as { cause?: { details?: unknown } }).cause ?? {};
        if (!(error instanceof ServiceError && details === 'context deadline exceeded')) throw error;
      }
    }
  }

  // --- commands -------------------------------------------------------------------------------------------------------

  /**
   * Sends a command of contracts/commands.ts, such as `send(runId, 'pause', { why: 'lunch' })`, and returns what it was
   * about: the step or the approval that it answers, else the round. Throws run.unknown, run.not-parked, run.refused,
   * run.broken.
   */
  send<Name extends CommandName>(runId: string, name: Name, fields: CommandFields<Name>): Promise<string> {
    return send(this.temporal, this.reader, runId, name, fields);
  }

  /**
   * Ends a run, whatever it is doing; all artifacts are kept. Resolves when its processes have ended. `terminate`: without
   * the help of its workflow code, which may be broken; GPU workers end its processes within a minute, and the history of
   * its last execution is not exported. Throws run.unknown, run.broken.
   */
  async abort(runId: string, why = '', { terminate: byForce = false } = {}): Promise<void> {
    const hasEnded = async () => (await this.status(runId)).endedAt !== null;
    if (await hasEnded()) return;
    if (byForce) {
      await terminate(this.temporal, runId, `${operator()}${why && `: ${why}`}`);
      return;
    }
    await this.send(runId, 'abort', { why }).catch(async (error) => {
      if (!(await hasEnded())) throw error; // It ended by itself meanwhile.
    });
    await unlessBroken(
      this.temporal,
      runId,
      this.end(runId).catch(() => {}),
    );
  }
}

interface Parent {
  described: Described;
  state: RunState;
  input: RunInput;
}

const ENDED_BY_GATE =
  'its gate has ended it, after gate.patience rounds rolled back in a row; fork it with a larger gate.patience';

/** Loaded for what starts a run: a look at one is twice as fast without them. */
const checks = async () => ({ ...(await import('./preflight.js')), ...(await import('./spec-file.js')) });

/** Runs of the same priority take turns in a queue. Temporal takes 64 bytes as a key. */
function fairnessKeyOf(workflowId: string): string {
  return workflowId.length <= 64 ? workflowId : sha256(workflowId);
}

/** Throws spec.invalid. */
function checkedId(id: string | undefined): string | undefined {
  const problem = id === undefined ? null : idProblem(id);
  if (problem) throw specInvalid({ file: 'options', field: 'id' }, `${problem}.`);
  return id;
}

/** `value` as the workflow will parse it. Throws spec.invalid. */
function accepted<T>(schema: z.ZodType<T>, value: unknown, file: string): T {
  const parsed = schema.safeParse(value, { reportInput: true });
  if (parsed.success) return parsed.data;
  const { field, reason } = explain(parsed.error.issues[0]!);
  throw specInvalid({ file, field }, `${reason}.`);
}
