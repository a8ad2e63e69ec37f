/** Histories built by hand: executions of a run, event by event, in the form in which Temporal's SDK writes them as JSON. */
import type { Event, Execution } from '../../audit/events.js';
import { type CommandName, updateName } from '../../contracts/commands.js';
import type { DatasetRef, ModelRef, ObjectRef, Usage } from '../../contracts/refs.js';
import type { Halt, OperatorRecord, RunInput, RunMemo, RunProgress } from '../../contracts/run.js';
import { RunSpec, splitRunSpec } from '../../contracts/spec.js';
import type { EvalResult, RoundSummary } from '../../contracts/steps.js';

export const WORKFLOW = 'run-1';

/** A digest that is easy to recognise when it is cut to twelve digits. */
export const sha = (name: string): string => Buffer.from(name).toString('hex').padEnd(64, '0').slice(0, 64);
export const object = (name: string): ObjectRef => ({ sha256: sha(name), rows: 0, bytes: 10 });
export const dataset = (name: string, rows = 24): DatasetRef => ({ sha256: sha(name), rows, bytes: 10, chunks: 3 });
export const model = (name: string): ModelRef => ({ sha256: sha(name), bytes: 10, path: null });

export const spec = RunSpec.parse({
  model: { path: 'tiny' },
  data: { path: 'train.jsonl' },
  catalysts: 'none',
  rounds: 2,
});
export const { settings, texts } = splitRunSpec(spec);

export const runInput = (fork: RunInput['fork'] = null): RunInput => ({
  ...{ version: 2, settings, texts: object('texts'), data: object('data'), catalysts: null, evaluation: null, fork },
  config: {
    ...{ cpuQueue: 'cpu', gpuQueue: 'gpu', hostQueues: false, heartbeatSeconds: 20, shardsInFlight: 2, maxAttempts: 5 },
    ...{ searchAttributes: false, upgrades: false },
  },
});

export const record = (fields: Partial<OperatorRecord> = {}): OperatorRecord => ({
  ...{ changes: [], overrides: [], approved: { catalysts: -1, 'before-train': -1, 'after-round': -1 } },
  ...{ interventions: [], interventionCount: 0, paused: null, stopAfter: null, ...fields },
});

export const progress = (fields: Partial<RunProgress> = {}): RunProgress => ({
  ...{ startedAt: '2026-11-22T10:00:00.000Z', round: null, reached: -1, repairs: 0, prepared: null, head: null },
  ...{
    best: null,
    rollbacksInARow: 0,
    table: null,
    rounds: 0,
    usage: usage(0),
    warnings: [],
    unexported: [],
    ...fields,
  },
});

export const usage = (tokens: number): Usage => ({ tokens, gpuSeconds: 0, money: 0 });
export const head = (round: number | null, name: string, data: string) => ({
  ...{ round, model: model(name), set: { dataset: dataset(data), rows: 24, enriched: 0, meanRationaleChars: 9 } },
});
export const evaluation = (accuracy: number): EvalResult => ({
  ...{ grades: dataset('grades'), correct: 12, total: 24, accuracy, low: 0.4, high: 0.6 },
});
export const summary = (round: number, fields: Partial<RoundSummary> = {}): RoundSummary => ({
  ...{
    round,
    changed: null,
    candidates: null,
    decisions: null,
    trainLoss: 2.5,
    evaluation: null,
    gate: null,
    steps: [],
  },
  set: { dataset: dataset(`data-${round}`), rows: 24, enriched: round, meanRationaleChars: 9 },
  ...{ model: model(`model-${round}`), ...fields },
});

/** The result of a step that keeps a record. */
export const done = (output: unknown, key: string, reusedFrom?: string, cost: Usage | null = null) => ({
  output,
  meta: { key: sha(key), reused: reusedFrom !== undefined, run: reusedFrom ?? WORKFLOW, usage: cost },
});

const payload = (data: unknown) => ({
  metadata: { encoding: Buffer.from('json/plain').toString('base64') },
  data: Buffer.from(JSON.stringify(data)).toString('base64'),
});
export const payloads = (...data: unknown[]) => ({ payloads: data.map(payload) });
export const failure = (type: string, message: string) => ({
  ...{ message: 'Activity task failed', cause: { message, applicationFailureInfo: { type } } },
});

interface ActivityOptions {
  identity?: string;
  attempt?: number;
  lastFailure?: object;
  seconds?: number;
}

/** One execution. Each event is a second after the one before. */
export class HistoryBuilder {
  readonly events: Event[] = [];

  constructor(
    readonly runId: string,
    readonly args: unknown[],
    private readonly chain: { first?: string; continued?: string; at?: string; type?: string } = {},
  ) {
    const { first = runId, continued = '', type = 'srlmRun' } = chain;
    this.add('WORKFLOW_EXECUTION_STARTED', {
      workflowExecutionStartedEventAttributes: {
        workflowType: { name: type },
        input: payloads(...args),
        identity: 'ann@desk',
        ...{ originalExecutionRunId: runId, firstExecutionRunId: first, continuedExecutionRunId: continued },
      },
    });
    this.workflowTask();
  }

  private now = 0;

  /** The history as it is now. */
  get execution(): Execution {
    return structuredClone({ workflowId: WORKFLOW, runId: this.runId, history: { events: this.events } });
  }

  wait(seconds: number): this {
    this.now += seconds;
    return this;
  }

  workflowTask(identity = '1@host', buildId = '@temporalio/worker@1.24.0+73ce9e8cc60a0cf7'): this {
    return this.add('WORKFLOW_TASK_COMPLETED', {
      workflowTaskCompletedEventAttributes: { identity, workerVersion: { buildId } },
    });
  }

  memo(round: number | null, step: string | null, halt: Halt | null = null, phase?: RunMemo['phase']): this {
    const srlm: RunMemo = {
      phase: phase ?? halt?.kind ?? 'running',
      round,
      lastRound: 2,
      step,
      halt,
      table: null,
      forkOf: null,
    };
    return this.add('WORKFLOW_PROPERTIES_MODIFIED', {
      workflowPropertiesModifiedEventAttributes: { upsertedMemo: { fields: { srlm: payload(srlm) } } },
    });
  }

  parked(round: number | null, step: string, type = 'python.missing', message = `No python. [${type}]`): this {
    const parked = { step, round, type, message, attempts: 1, since: this.time(), kept: '', skippable: false };
    return this.memo(round, step, { kind: 'parked', ...parked });
  }

  waiting(round: number | null, step: string, approval: 'catalysts' | 'before-train' | 'after-round'): this {
    const review = { data: null, rows: 24, enriched: null, evaluation: null, gate: null };
    return this.memo(round, step, { kind: 'waiting', approval, round, since: this.time(), ...review });
  }

  /** Returns the id of the activity. */
  scheduled(name: string, input: unknown): string {
    this.add('ACTIVITY_TASK_SCHEDULED', {
      activityTaskScheduledEventAttributes: { activityType: { name }, input: payloads(input) },
    });
    return this.events.at(-1)!.eventId;
  }

  private startedActivity(scheduledEventId: string, options: ActivityOptions): void {
    const { identity = '1@host', attempt = 1, lastFailure, seconds = 0 } = options;
    this.add('ACTIVITY_TASK_STARTED', {
      activityTaskStartedEventAttributes: {
        scheduledEventId,
        identity,
        attempt,
        ...(lastFailure ? { lastFailure } : {}),
      },
    });
    this.wait(seconds);
  }

  completed(scheduledEventId: string, result: unknown, options: ActivityOptions = {}): this {
    this.startedActivity(scheduledEventId, options);
    return this.add('ACTIVITY_TASK_COMPLETED', {
      activityTaskCompletedEventAttributes: { scheduledEventId, result: payloads(result) },
    });
  }

  activity(name: string, input: unknown, result: unknown, options: ActivityOptions = {}): this {
    return this.completed(this.scheduled(name, input), result, options);
  }

  failed(name: string, input: unknown, type: string, message: string): this {
    const scheduledEventId = this.scheduled(name, input);
    this.startedActivity(scheduledEventId, {});
    return this.add('ACTIVITY_TASK_FAILED', {
      activityTaskFailedEventAttributes: { scheduledEventId, failure: failure(type, message) },
    });
  }

  command(name: CommandName, fields: object = {}): this {
    const input = { name: updateName(name), args: payloads({ who: 'ann', why: '', ...fields }) };
    return this.add('WORKFLOW_EXECUTION_UPDATE_ACCEPTED', {
      workflowExecutionUpdateAcceptedEventAttributes: { acceptedRequest: { input } },
    });
  }

  event(type: string, attributes: Partial<Event>): this {
    return this.add(type, attributes);
  }

  /** Ends this execution; the next one is started with `args`. */
  continueAsNew(runId: string, ...args: [RunInput, OperatorRecord, RunProgress]): HistoryBuilder {
    this.add('WORKFLOW_EXECUTION_CONTINUED_AS_NEW', {
      workflowExecutionContinuedAsNewEventAttributes: { newExecutionRunId: runId, input: payloads(...args) },
    });
    const first = this.chain.first ?? this.runId;
    return new HistoryBuilder(runId, args, { first, continued: this.runId, at: this.time() });
  }

  done(result: unknown): this {
    return this.add('WORKFLOW_EXECUTION_COMPLETED', {
      workflowExecutionCompletedEventAttributes: { result: payloads(result) },
    });
  }

  private time(): string {
    const start = Date.parse(this.chain.at ?? '2026-11-22T10:00:00Z');
    return new Date(start + this.now * 1000).toISOString();
  }

  private add(type: string, attributes: Partial<Event>): this {
    const eventId = String(this.events.length + 1);
    this.events.push({ eventId, eventTime: this.time(), eventType: `EVENT_TYPE_${type}`, ...attributes });
    this.now++;
    return this;
  }
}

// --- whole runs -------------------------------------------------------------------------------------------------------
export const PREPARED = {
  ...{ model: model('start'), set: { dataset: dataset('examples'), rows: 24, enriched: 0, meanRationaleChars: 9 } },
  ...{ catalysts: null, questions: null },
};

/** Steps before round 0. */
export function prepare(history: HistoryBuilder): HistoryBuilder {
  return history
    .memo(null, 'prepare')
    .activity('srlmPrepareModel', { texts: object('texts') }, model('start'))
    .memo(null, 'ingest examples')
    .activity(
      'srlmIngest',
      { kind: 'examples', source: 'data', texts: object('texts'), file: object('file'), limit: null, chunkSize: 8 },
      done({ dataset: dataset('examples'), missingRationales: 0, meanRationaleChars: 9 }, 'ingest'),
    );
}

/** Mixture and training of a round, which is then kept. */
export function train(history: HistoryBuilder, round: number, fields: Partial<RoundSummary> = {}): HistoryBuilder {
  const kept = summary(round, fields);
  const mixture = dataset(`mixture-${round}`, 30);
  const output = { model: kept.model, steps: 9, trainLoss: 2.5, tokens: 700, precision: 'fp32' };
  return history
    .memo(round, 'mix')
    .activity(
      'srlmMix',
      { data: kept.set.dataset, catalysts: null, copies: 1, use: 'enrich', texts: object('texts') },
      done(mixture, `mix-${round}`),
    )
    .memo(round, 'fineTune')
    .activity(
      'srlmFineTune',
      { trainer: 'local', base: model('start'), data: mixture, training: {}, seed: 0, deterministic: false },
      done(output, `fineTune-${round}`, undefined, usage(700)),
      { seconds: 60 },
    )
    .memo(round, 'record')
    .activity('srlmKeepRound', { table: null, preparation: null, round: kept }, object('table'));
}

/** A run of rounds 0 and 1, complete: two executions. */
export function wholeRun(input = runInput()): [HistoryBuilder, HistoryBuilder] {
  const first = train(prepare(new HistoryBuilder('exec-1', [input])), 0);
  const state = { round: 1, reached: 0, prepared: PREPARED, head: head(0, 'model-0', 'data-0'), rounds: 1 };
  const second = train(first.continueAsNew('exec-2', input, record(), progress(state)), 1)
    .memo(1, 'record', null, 'done')
    .activity('srlmExport', { workflowId: WORKFLOW, firstRunId: 'exec-1', runId: 'exec-2', last: true }, null)
    .done({ best: 1, model: model('model-1'), table: object('table'), stopped: false });
  return [first, second];
}
