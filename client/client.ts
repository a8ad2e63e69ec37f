/**
 * SrlmClient: starts runs, tells how they stand, answers parked ones. What the command line does, as a library.
 * Throws the Problems of contracts/errors.ts.
 */
import { hostname, userInfo } from 'node:os';
import {
  type Client,
  ServiceError,
  WorkflowExecutionAlreadyStartedError,
  type WorkflowExecutionDescription,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import { CancelledFailure, defaultPayloadConverter } from '@temporalio/common';
import type { Manifest } from '../contracts/artifacts.js';
import type { Deployment, DeploymentInput } from '../contracts/deployment.js';
import { orderRefused, runExists, runNotParked, runSilent, runUnknown, specInvalid } from '../contracts/errors.js';
import {
  Heartbeat,
  type Intervention,
  type Order,
  Parked,
  RunState,
  type RunStatus,
  Waiting,
  WorkflowState,
} from '../contracts/progress.js';
import { assertPerRound, withSettings } from '../contracts/settings.js';
import { RunSpec, SampleSpec } from '../contracts/spec.js';
import { RunInput, RunResult, type SampleRunInput, SampleRunResult, type Settings } from '../contracts/steps.js';
import { ArtifactStore } from '../storage/store.js';
import { operationsOf, resolveDeployment } from '../worker/config.js';
import type { srlmRun, srlmSample } from '../workflows/index.js';
import {
  abortUpdate,
  approveUpdate,
  pauseUpdate,
  promoteUpdate,
  rejectUpdate,
  resumeUpdate,
  retryUpdate,
  setUpdate,
  skipUpdate,
  stateQuery,
  stopUpdate,
} from '../workflows/messages.js';
import { connect, ensureSearchAttributes } from './connection.js';
import { type Checked, checkRun, checkSample } from './preflight.js';
import { checkSpec } from './spec-file.js';

export interface StartOptions {
  /** Default: the spec's name and the time. */
  id?: string;
  /** What relative data paths are relative to. Default: the current folder. */
  folder?: string;
  /** What checkRun or checkSample gave for this very spec and folder: it is not checked again. */
  checked?: Checked;
}

export interface RunListing {
  runId: string;
  kind: 'run' | 'sample';
  state: RunStatus['state'];
  round: number | null;
  rounds: number | null;
  step: string | null;
  startedAt: string;
  endedAt: string | null;
}

export class SrlmClient {
  private constructor(
    readonly temporal: Client,
    readonly deployment: Deployment,
    private readonly searchAttributes: boolean,
  ) {}

  /** `temporal`: a client of your own; default: by Temporal's environment configuration. */
  static async connect(config: DeploymentInput = {}, temporal?: Client): Promise<SrlmClient> {
    const client = temporal ?? (await connect());
    return new SrlmClient(client, resolveDeployment(config, process.cwd()), await ensureSearchAttributes(client));
  }

  async close(): Promise<void> {
    await this.temporal.connection.close();
  }

  /** Checks everything that can be checked, uploads the data, starts. Returns at once. */
  async start(spec: unknown, options: StartOptions = {}): Promise<{ runId: string; warnings: string[] }> {
    const { input, warnings } = await this.runInput(spec, options);
    return { runId: await this.launch('srlmRun', input, options.id), warnings };
  }

  /** Durable sampling of a data set, a run of its own. */
  async startSample(spec: unknown, options: StartOptions = {}): Promise<{ runId: string }> {
    return { runId: await this.launch('srlmSample', await this.sampleInput(spec, options), options.id) };
  }

  /** What srlmRun takes, checked and uploaded: for a workflow of your own that runs it as a child. */
  async runInput(spec: unknown, options: StartOptions = {}): Promise<{ input: RunInput; warnings: string[] }> {
    const checked = checkSpec(spec, RunSpec, 'spec');
    const { warnings, files } =
      options.checked ?? (await checkRun(checked, this.deployment, options.folder ?? process.cwd()));
    const store = ArtifactStore.open(this.deployment.artifactRoot);
    const put = async (path: string | null): Promise<Manifest | null> => (path ? store.putFile(path) : null);
    const input: RunInput = {
      spec: checked,
      data: await store.putFile(files.data),
      catalysts: await put(files.catalysts),
      evaluation: await put(files.evaluation),
      operations: operationsOf(this.deployment, this.searchAttributes),
    };
    return { input, warnings };
  }

  /** What srlmSample takes, checked and uploaded: for a workflow of your own that runs it as a child. */
  async sampleInput(spec: unknown, options: StartOptions = {}): Promise<SampleRunInput> {
    const checked = checkSpec(spec, SampleSpec, 'spec');
    const { files } = options.checked ?? (await checkSample(checked, this.deployment, options.folder ?? process.cwd()));
    const store = ArtifactStore.open(this.deployment.artifactRoot);
    return {
      spec: checked,
      data: await store.putFile(files.data),
      operations: operationsOf(this.deployment, this.searchAttributes),
    };
  }

  private async launch(type: 'srlmRun' | 'srlmSample', input: RunInput | SampleRunInput, id: string | undefined) {
    const workflowId = id ?? newId(input.spec.name);
    const fork = 'fork' in input ? input.fork : undefined;
    const begun = { state: 'running', round: null, rounds: null, step: null, parked: null };
    try {
      await this.temporal.workflow.start<typeof srlmRun | typeof srlmSample>(type, {
        workflowId,
        taskQueue: this.deployment.taskQueue,
        args: [input as never],
        memo: { srlm: { ...begun, ...(fork ? { forkOf: fork.of } : {}) } },
        staticSummary: `${input.spec.name} · ${type === 'srlmRun' ? 'run' : 'sample'}`,
      });
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) throw runExists(workflowId);
      throw error;
    }
    return workflowId;
  }

  /** How a run stands, with or without a worker up. Throws run.unknown. */
  async status(runId: string): Promise<RunStatus> {
    const described = await this.describe(runId);
    const own = await this.ask(runId, described);
    const state = stateOf(described);
    const child =
      own.round === null || state !== 'running'
        ? null
        : await this.describeChild(`${runId}.round-${own.round}`, described);
    const inner = child && stateOf(child) === 'running' ? await this.ask(child.workflowId, child) : null;
    const parked = own.parked ?? inner?.parked ?? null;
    const waiting = own.waiting ?? inner?.waiting ?? null;
    const halted = parked ? 'parked' : waiting ? 'waiting' : own.state === 'paused' ? 'paused' : 'running';
    return {
      runId,
      state: state === 'running' ? halted : state,
      stale: own.stale || inner?.stale === true,
      startedAt: described.startTime.toISOString(),
      endedAt: described.closeTime?.toISOString() ?? null,
      round: own.round,
      rounds: own.rounds,
      preparation: own.steps,
      steps: inner?.steps ?? [],
      live: [...livesOf(described), ...(child ? livesOf(child) : [])],
      parked,
      waiting,
      summaries: own.summaries,
      warnings: [...new Set([...own.warnings, ...(inner?.warnings ?? [])])],
      interventions: [...own.interventions, ...(inner?.interventions ?? [])],
      // A round begins with what the run had spent before it.
      spent: inner && !inner.stale ? inner.spent : own.spent,
      forkOf: memoOf(described.memo).forkOf,
      failure: ['failed', 'aborted', 'stopped'].includes(state) ? await this.failureOf(runId, own.interventions) : null,
    };
  }

  /** Statuses as they change, until the run has ended. `parked` does not end it. */
  async *watch(runId: string, everyMs = 1000): AsyncGenerator<RunStatus> {
    for (;;) {
      const status = await this.status(runId);
      yield status;
      if (status.endedAt) return;
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }

  async list(): Promise<RunListing[]> {
    const runs: RunListing[] = [];
    for await (const info of this.temporal.workflow.list({ query: 'WorkflowType IN ("srlmRun", "srlmSample")' })) {
      const memo = memoOf(info.memo);
      // A round parks, its run waits: only a look at the round tells.
      const status = info.status.name === 'RUNNING' ? await this.status(info.workflowId).catch(() => null) : null;
      runs.push({
        runId: info.workflowId,
        kind: info.type === 'srlmRun' ? 'run' : 'sample',
        state: status?.state ?? stateOf(info),
        round: memo.round,
        rounds: memo.rounds,
        step: status?.parked?.step ?? status?.steps.at(-1)?.step ?? memo.step,
        startedAt: info.startTime.toISOString(),
        endedAt: info.closeTime?.toISOString() ?? null,
      });
    }
    return runs;
  }

  // --- results --------------------------------------------------------------------------------------------------------

  /** Waits for the end. Throws what ended a failed run. */
  async result(runId: string): Promise<RunResult> {
    return RunResult.parse(await this.end(runId));
  }

  async sampleResult(runId: string): Promise<SampleRunResult> {
    return SampleRunResult.parse(await this.end(runId));
  }

  private async end(runId: string): Promise<unknown> {
    for (;;) {
      try {
        return await this.handle(runId).result();
      } catch (error) {
        // A busy server lets a long wait run out instead of answering "not yet", and the SDK takes that for a failure.
        // A deadline of the caller's own reads otherwise.
        const { details } = (error as { cause?: { details?: unknown } }).cause ?? {};
        if (!(error instanceof ServiceError && details === 'context deadline exceeded')) throw error;
      }
    }
  }

  // --- operating a run ------------------------------------------------------------------------------------------------

  /** Goes on from the parked step, with other settings where `set` has any. Throws run.not-parked, run.refused. */
  async retry(runId: string, why = '', set?: Settings): Promise<{ step: string }> {
    return { step: await this.answer(runId, 'retry', retryUpdate, why, set) };
  }

  /** Goes on without the parked step: an evaluation, or one round's enrichment. Throws run.not-parked, run.refused. */
  async skip(runId: string, why = ''): Promise<{ step: string }> {
    return { step: await this.answer(runId, 'skip', skipUpdate, why) };
  }

  /** Goes on where the run waits for approval. Throws run.not-waiting, run.refused. */
  async approve(runId: string, why = ''): Promise<{ approval: string }> {
    return { approval: await this.answer(runId, 'approve', approveUpdate, why) };
  }

  /** After a round: it is rolled back. Before: the run ends, with what it has. Throws run.not-waiting, run.refused. */
  async reject(runId: string, why = ''): Promise<{ approval: string }> {
    return { approval: await this.answer(runId, 'reject', rejectUpdate, why) };
  }

  /** Shards in flight finish their chunk, a training writes a checkpoint, and no more is begun. Throws run.refused. */
  async pause(runId: string, why = ''): Promise<void> {
    await this.order(runId, runId, 'pause', pauseUpdate, { why });
  }

  async resume(runId: string, why = ''): Promise<void> {
    await this.order(runId, runId, 'resume', resumeUpdate, { why });
  }

  /** Ends a run with its round or step; `now`: where it is. Throws run.refused. */
  async stop(runId: string, after: 'round' | 'step' | 'now', why = ''): Promise<void> {
    await this.order(runId, runId, 'stop', stopUpdate, { why, after });
    if (after !== 'now') return;
    await this.handle(runId).cancel();
    await this.settled(runId);
  }

  /** Other settings, at once or for the rounds from `fromRound` on. Throws run.refused. */
  async set(runId: string, set: Settings, { fromRound = null, why = '' }: { fromRound?: number | null; why?: string }) {
    await this.order(runId, runId, 'set', setUpdate, { why, set, fromRound });
  }

  /** The next round starts from the model of this one, whatever the gate said. Throws run.refused. */
  async promote(runId: string, round: number, why = ''): Promise<void> {
    await this.order(runId, runId, 'promote', promoteUpdate, { why, round });
  }

  /** Ends a run where it is; all artifacts stay. Resolves when its processes have ended. */
  async abort(runId: string, why = ''): Promise<void> {
    const status = await this.status(runId);
    if (status.endedAt) return;
    if (status.state === 'parked' || status.state === 'waiting') await this.answer(runId, 'abort', abortUpdate, why);
    else return this.stop(runId, 'now', why);
    await this.settled(runId);
  }

  /**
   * A new run that does as this one did until `fromRound` began, and so finds all of it done, then by other settings.
   * Throws run.unknown, spec.invalid.
   */
  async fork(
    runId: string,
    { fromRound, set, id }: { fromRound: number; set: Settings; id?: string },
  ): Promise<{ runId: string }> {
    const described = await this.describe(runId);
    const own = await this.ask(runId, described);
    const input = RunInput.parse(await this.inputOf(described));
    // What was set while it was under way stands in its history, which only a worker can tell.
    if (own.stale) throw runSilent(runId);
    const { changes } = own;
    const before = changes.reduce((spec, change) => withSettings(spec, change.set, RunSpec), input.spec);
    try {
      if (fromRound > before.rounds) throw new Error(`the last round is ${before.rounds}`);
      assertPerRound(set, true);
      withSettings(before, set, RunSpec);
    } catch (error) {
      throw specInvalid({ file: 'fork' }, `${(error as Error).message}.`);
    }
    const rulings = own.rulings.filter((ruling) => ruling.before <= fromRound);
    // What it sets is not set otherwise again by what its parent was told later.
    const kept = changes.map((change) =>
      change.fromRound <= fromRound
        ? change
        : { ...change, set: Object.fromEntries(Object.entries(change.set).filter(([field]) => !(field in set))) },
    );
    const approved = own.interventions.flatMap(({ kind, step, round }) =>
      kind === 'approve' ? [{ approval: step as Waiting['approval'], round }] : [],
    );
    approved.push(...(input.fork?.approved ?? []));
    const fork = {
      ...{ of: runId, fromRound, changes: [...kept, { fromRound, set }], rulings },
      approved: approved.filter(({ round }) => (round ?? -1) < fromRound),
    };
    const operations = operationsOf(this.deployment, this.searchAttributes);
    return { runId: await this.launch('srlmRun', { ...input, operations, fork }, id ?? newId(`${runId}-fork`)) };
  }

  /** What the run was started with: the first event of its history. */
  private async inputOf({ workflowId, runId }: WorkflowExecutionDescription): Promise<unknown> {
    const { workflowService, options } = this.temporal;
    const { history } = await workflowService.getWorkflowExecutionHistory({
      namespace: options.namespace,
      execution: { workflowId, runId },
      maximumPageSize: 1,
    });
    const payloads = history?.events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads;
    return payloads?.[0] ? defaultPayloadConverter.fromPayload(payloads[0]) : null;
  }

  private async settled(runId: string): Promise<void> {
    await this.handle(runId)
      .result()
      .catch(() => {});
  }

  /** To the workflow that waits for it, the run or its round. The second to answer is told of the first. */
  private async answer(runId: string, kind: string, update: typeof retryUpdate, why: string, set?: Settings) {
    const { parked, waiting, interventions } = await this.status(runId);
    const open = kind === 'approve' || kind === 'reject' ? waiting : kind === 'abort' ? (parked ?? waiting) : parked;
    if (!open) {
      const last = interventions.findLast(({ answers }) => answers !== null);
      const before = last && `${last.kind} at ${last.at}, ${last.step}, by ${last.who}${last.why && `: ${last.why}`}`;
      throw runNotParked(runId, kind === 'approve' || kind === 'reject' ? 'waiting for approval' : 'parked', before);
    }
    const workflowId =
      open.round === null || (open === waiting && waiting?.approval === 'after-round')
        ? runId
        : `${runId}.round-${open.round}`;
    return this.order(runId, workflowId, kind, update, { why, answers: open.since, ...(set ? { set } : {}) });
  }

  private async order(
    runId: string,
    workflowId: string,
    kind: string,
    update: typeof retryUpdate,
    order: Omit<Order, 'who'>,
  ): Promise<string> {
    const { endedAt } = await this.status(runId);
    if (endedAt) throw orderRefused(runId, kind, 'it has ended');
    const args: [Order] = [{ who: `${userInfo().username}@${hostname()}`, ...order }];
    try {
      return await this.temporal.workflow.getHandle(workflowId).executeUpdate(update, { args });
    } catch (error) {
      if (!(error instanceof WorkflowUpdateFailedError)) throw error;
      throw orderRefused(runId, kind, error.cause?.message ?? error.message);
    }
  }

  private handle(runId: string) {
    return this.temporal.workflow.getHandle<typeof srlmRun>(runId);
  }

  private async describe(runId: string): Promise<WorkflowExecutionDescription> {
    try {
      return await this.handle(runId).describe();
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) throw runUnknown(runId);
      throw error;
    }
  }

  /** The round's execution, unless it is one of an earlier run that had the same id. */
  private async describeChild(workflowId: string, parent: WorkflowExecutionDescription) {
    const child = await this.describe(workflowId).catch(() => null);
    return child && child.startTime >= parent.startTime ? child : null;
  }

  /** By query; with no worker to answer it, what the memo last told. */
  private async ask(workflowId: string, described: WorkflowExecutionDescription) {
    try {
      const client = this.temporal;
      const state = await client.withDeadline(Date.now() + 5000, () =>
        client.workflow.getHandle(workflowId).query(stateQuery),
      );
      return { ...WorkflowState.parse(state), stale: false };
    } catch {
      const { state, round, rounds, parked, waiting } = memoOf(described.memo);
      const known = { state: state ?? 'running', round, rounds, parked, waiting };
      return { ...WorkflowState.parse({ ...known, steps: [], summaries: [], warnings: [] }), stale: true };
    }
  }

  private async failureOf(runId: string, interventions: Intervention[]): Promise<string | null> {
    try {
      await this.handle(runId).result();
      return null;
    } catch (error) {
      let cause = error as Error;
      while (cause.cause instanceof Error) cause = cause.cause;
      const last = interventions.at(-1);
      if (cause instanceof CancelledFailure && last?.kind === 'stop')
        return `Ended by ${last.who}${last.why && `: ${last.why}`}. All artifacts are kept.`;
      return cause.message;
    }
  }
}

function newId(name: string): string {
  return `${name}-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')}`;
}

function stateOf(info: { status: { name: string }; memo?: Record<string, unknown> }): RunStatus['state'] {
  switch (info.status.name) {
    case 'RUNNING':
      return 'running';
    case 'COMPLETED':
      return memoOf(info.memo).state === 'stopped' ? 'stopped' : 'done';
    case 'CANCELLED':
    case 'TERMINATED':
      return 'aborted';
    default: {
      // An aborted step fails its run; only the run's own word tells this from a fault.
      const { state } = memoOf(info.memo);
      return state === 'aborted' || state === 'stopped' ? state : 'failed';
    }
  }
}

function memoOf(memo: Record<string, unknown> | undefined) {
  const ours = (memo?.srlm ?? {}) as Record<string, unknown>;
  const parked = Parked.safeParse(ours.parked);
  const waiting = Waiting.safeParse(ours.waiting);
  const state = RunState.safeParse(ours.state);
  return {
    state: state.success ? state.data : null,
    round: (ours.round as number | null) ?? null,
    rounds: (ours.rounds as number | null) ?? null,
    step: (ours.step as string | null) ?? null,
    parked: parked.success ? parked.data : null,
    waiting: waiting.success ? waiting.data : null,
    forkOf: (ours.forkOf as string | null) ?? null,
  };
}

/** The activities under way, by their heartbeats; one that sent none yet waits for a worker, or failed before it could. */
function livesOf(described: WorkflowExecutionDescription): RunStatus['live'] {
  return (described.raw.pendingActivities ?? []).map((pending) => {
    const payload = pending.heartbeatDetails?.payloads?.[0];
    const beat = payload ? Heartbeat.safeParse(defaultPayloadConverter.fromPayload(payload)) : null;
    const waits: Heartbeat = {
      step: pending.activityType?.name ?? '',
      unit: 'rows',
      done: 0,
      total: 0,
      rate: null,
      secondsLeft: null,
    };
    return {
      ...(beat?.success ? beat.data : waits),
      attempt: pending.attempt ?? 1,
      lastFailure: pending.lastFailure?.message ?? null,
    };
  });
}
