/**
 * SrlmClient: starts runs, reports their status, sends them commands: what the command line does, as a library.
 * Throws the Problems of contracts/errors.ts.
 */
import { type Client, ServiceError, WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import { connect } from '../config/connection.js';
import { resolveDeployment } from '../config/load.js';
import { idProblem, newId } from '../config/run-id.js';
import { ensureSearchAttributes } from '../config/search-attributes.js';
import { workflowConfigOf } from '../config/workflow-config.js';
import type { CommandName, Settings } from '../contracts/commands.js';
import type { Deployment, DeploymentInput } from '../contracts/deployment.js';
import { commandRefused, runExists, runSilent, specInvalid } from '../contracts/errors.js';
import {
  type OperatorRecord,
  RunInput,
  type RunMemo,
  RunResult,
  type RunStatus,
  type SampleInput,
  SampleResult,
} from '../contracts/run.js';
import { RunSpec, SampleSpec } from '../contracts/spec.js';
import { openStore, type Store } from '../storage/store.js';
import { argumentsOf } from './executions.js';
import { type Fork, recordOfFork } from './fork.js';
import { type CommandFields, Operator } from './operate.js';
import { type Checked, checkRun, checkSample } from './preflight.js';
import { checkSpec } from './spec-file.js';
import { COMMAND_QUERY_MS, type RunListing, RunReader } from './status.js';

export interface StartOptions {
  /** Default: the spec's name and the time. */
  id?: string;
  /** What relative data paths are relative to. Default: the current folder. */
  folder?: string;
}

export class SrlmClient {
  private readonly reader: RunReader;
  private readonly operator: Operator;
  private opened: Store | null = null;

  private constructor(
    readonly temporal: Client,
    readonly deployment: Deployment,
    private readonly searchAttributes: boolean,
  ) {
    this.reader = new RunReader(temporal, () => this.store);
    this.operator = new Operator(temporal, this.reader);
  }

  /** `temporal`: a client of your own; default: by Temporal's environment configuration. Throws config.invalid. */
  static async connect(config: DeploymentInput = {}, temporal?: Client): Promise<SrlmClient> {
    const deployment = resolveDeployment(config, process.cwd());
    const client = temporal ?? (await connect());
    return new SrlmClient(client, deployment, await ensureSearchAttributes(client));
  }

  async close(): Promise<void> {
    await this.temporal.connection.close();
  }

  /** Throws storage.not-writable. */
  get store(): Store {
    this.opened ??= openStore(this.deployment);
    return this.opened;
  }

  // --- starting -------------------------------------------------------------------------------------------------------

  /** Checks everything that can be checked, stores the data, starts. Returns at once. */
  async start(spec: unknown, options: StartOptions = {}): Promise<{ runId: string; warnings: string[] }> {
    const checked = await this.checkedRun(spec, options);
    return { runId: await this.startChecked(checked), warnings: checked.warnings };
  }

  /** Durable sampling of a data set, a run of its own. */
  async startSample(spec: unknown, options: StartOptions = {}): Promise<{ runId: string }> {
    return { runId: await this.startChecked(await this.checkedSample(spec, options)) };
  }

  /** Starts what checkRun or checkSample has checked and stored. */
  async startChecked({ runId, input }: Checked<RunInput> | Checked<SampleInput>): Promise<string> {
    return this.launch(runId, [{ ...input, config: this.config }]);
  }

  /** The argument of srlmRun, its data checked and stored: for a workflow of your own that runs it as a child. */
  async runInput(spec: unknown, options: StartOptions = {}): Promise<{ input: RunInput; warnings: string[] }> {
    const { input, warnings } = await this.checkedRun(spec, options);
    return { input: { ...input, config: this.config }, warnings };
  }

  /** The argument of srlmSample, its data checked and stored. */
  async sampleInput(spec: unknown, options: StartOptions = {}): Promise<SampleInput> {
    const { input } = await this.checkedSample(spec, options);
    return { ...input, config: this.config };
  }

  private checkedRun(spec: unknown, { id, folder = process.cwd() }: StartOptions): Promise<Checked<RunInput>> {
    return checkRun(checkSpec(spec, RunSpec, 'spec'), this.deployment, folder, checkedId(id));
  }

  private checkedSample(spec: unknown, { id, folder = process.cwd() }: StartOptions): Promise<Checked<SampleInput>> {
    return checkSample(checkSpec(spec, SampleSpec, 'spec'), this.deployment, folder, checkedId(id));
  }

  /**
   * A new run that finds everything before `fromRound` done, then applies `set`.
   * Throws run.unknown, run.refused, run.silent, spec.invalid.
   */
  async fork(runId: string, { fromRound, set, id }: Fork & { id?: string }): Promise<{ runId: string }> {
    const { described, state } = await this.reader.look(runId, COMMAND_QUERY_MS);
    if (described.type !== 'srlmRun') throw commandRefused(runId, 'fork', 'it is a sample run');
    const [started] = await argumentsOf(this.temporal, described);
    const input = RunInput.safeParse(started);
    if (!input.success) throw commandRefused(runId, 'fork', 'it was started by another version of srlm');
    // Settings changed while the run was running are in its history only, which a worker has to read.
    if (!state) throw runSilent(runId);
    const record = recordOfFork(state, input.data.settings, { fromRound, set });
    const forked: RunInput = {
      ...input.data,
      config: this.config,
      fork: { of: runId, fromRound, fields: Object.keys(set) },
    };
    return { runId: await this.launch(checkedId(id) ?? newId(`${runId}-fork`), [forked, record]) };
  }

  private async launch(workflowId: string, args: [RunInput | SampleInput, OperatorRecord?]): Promise<string> {
    const [{ settings, ...input }] = args;
    const isRun = 'rounds' in settings;
    const memo: RunMemo = {
      ...{ phase: 'running', round: null, step: null, halt: null },
      lastRound: isRun ? settings.rounds : null,
      forkOf: 'fork' in input ? (input.fork?.of ?? null) : null,
    };
    try {
      await this.temporal.workflow.start(isRun ? 'srlmRun' : 'srlmSample', {
        ...{ workflowId, args, taskQueue: this.deployment.taskQueue, memo: { srlm: memo } },
        staticSummary: `${settings.name} · ${isRun ? 'run' : 'sample'}`,
      });
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) throw runExists(workflowId);
      throw error;
    }
    return workflowId;
  }

  private get config() {
    return workflowConfigOf(this.deployment, this.searchAttributes);
  }

  // --- looking --------------------------------------------------------------------------------------------------------

  /** What a run is doing, with or without a worker to answer. Throws run.unknown. */
  status(runId: string): Promise<RunStatus> {
    return this.reader.status(runId);
  }

  /** Statuses as they change, until the run has ended. A parked run has not. Throws run.unknown. */
  async *watch(runId: string, everyMs = 1000): AsyncGenerator<RunStatus> {
    for (;;) {
      const status = await this.status(runId);
      yield status;
      if (status.endedAt) return;
      await new Promise((resolve) => setTimeout(resolve, everyMs));
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

  /** Any command of contracts/commands.ts. Throws run.unknown, run.not-parked, run.refused. */
  send<Name extends CommandName>(runId: string, name: Name, fields: CommandFields<Name>): Promise<string> {
    return this.operator.send(runId, name, fields);
  }

  /** Tries the parked step again, with other settings where `set` has any. */
  async retry(runId: string, why = '', set?: Settings): Promise<{ step: string }> {
    return { step: await this.send(runId, 'retry', { why, ...(set ? { set } : {}) }) };
  }

  /** Continues without the parked step: an evaluation, or one round's enrichment. */
  async skip(runId: string, why = ''): Promise<{ step: string }> {
    return { step: await this.send(runId, 'skip', { why }) };
  }

  /** Continues a run that is waiting for approval. */
  async approve(runId: string, why = ''): Promise<{ approval: string }> {
    return { approval: await this.send(runId, 'approve', { why }) };
  }

  /** After a round: rolls it back. Before: ends the run with what it has. */
  async reject(runId: string, why = ''): Promise<{ approval: string }> {
    return { approval: await this.send(runId, 'reject', { why }) };
  }

  /** Shards finish the chunks they are at, a training writes a checkpoint, and nothing more begins. */
  async pause(runId: string, why = ''): Promise<void> {
    await this.send(runId, 'pause', { why });
  }

  async resume(runId: string, why = ''): Promise<void> {
    await this.send(runId, 'resume', { why });
  }

  /** Ends a run after its current round or step. `now`: aborts it. */
  async stop(runId: string, after: 'round' | 'step' | 'now', why = ''): Promise<void> {
    if (after === 'now') await this.abort(runId, why);
    else await this.send(runId, 'stop', { why, after });
  }

  /** Other settings, at once or for the rounds from `fromRound` on. */
  async set(
    runId: string,
    set: Settings,
    { fromRound = null, why = '' }: { fromRound?: number | null; why?: string } = {},
  ): Promise<void> {
    await this.send(runId, 'set', { why, set, fromRound });
  }

  /** The next round starts from the model of this one, whatever the gate decided. */
  async promote(runId: string, round: number, why = ''): Promise<void> {
    await this.send(runId, 'promote', { why, round });
  }

  /** Ends a run, whatever it is doing; all artifacts are kept. Resolves when its processes have ended. */
  async abort(runId: string, why = ''): Promise<void> {
    const hasEnded = async () => (await this.status(runId)).endedAt !== null;
    if (await hasEnded()) return;
    await this.send(runId, 'abort', { why }).catch(async (error) => {
      if (!(await hasEnded())) throw error; // It ended by itself meanwhile.
    });
    await this.end(runId).catch(() => {});
  }
}

/** Throws spec.invalid. */
function checkedId(id: string | undefined): string | undefined {
  const problem = id === undefined ? null : idProblem(id);
  if (problem) throw specInvalid({ file: 'options', field: 'id' }, `${problem}.`);
  return id;
}
