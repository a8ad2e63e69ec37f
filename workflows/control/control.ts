/**
 * Operator control of a run: owns the run's only state, takes operators' commands, and makes the run wait where it must.
 * Invariants:
 * - The state is changed here and by the files in steps/ alone; its phase is derived, never stored.
 * - A command that does not parse or does not fit is rejected before it is in the history; no message throws in
 *   workflow code, and none is accepted once the run has ended.
 * - Handlers are synchronous: a command is recorded and applied in one workflow task, or not at all.
 */
import {
  CancellationScope,
  condition,
  currentUpdateInfo,
  defineQuery,
  defineUpdate,
  log,
  setDefaultSignalHandler,
  setHandler,
} from '@temporalio/workflow';
import type { z } from 'zod';
import type { CatalystSettings } from '../../contracts/catalysts.js';
import {
  COMMANDS,
  type Command,
  type CommandName,
  commandProblem,
  type Settings,
  STATE_QUERY,
  updateName,
} from '../../contracts/commands.js';
import { jsonBytes, MAX_PAYLOAD_BYTES, type ObjectRef } from '../../contracts/refs.js';
import type { Intervention, OperatorRecord, RunProgress, RunState, Waiting } from '../../contracts/run.js';
import { assertUndecided, withSettings } from '../../contracts/settings.js';
import type { Approval, RunSettings, SampleSettings } from '../../contracts/spec.js';
import type { WorkflowConfig } from '../../contracts/workflow-config.js';
import { stopped } from '../failures.js';
import { publish } from '../status.js';
import { warnOfBudget } from './budget.js';
import { COMMAND_RULES } from './commands.js';
import { assertRoom } from './record.js';
import { BEFORE_ROUNDS, changedNow, settingsAt } from './settings.js';

export type AnySettings = RunSettings | SampleSettings | CatalystSettings;
type Actor = { who: string; why: string };
/** An answer to what the run waits for. */
export type Answer = { kind: 'retry' | 'skip' | 'approve' | 'reject'; command: Actor };

/** Steps that use no setting -> the last step before them that does. */
const COMES_AFTER: Record<string, string> = { addRationales: 'rationalize', record: 'gate' };

/** A longer id of an Update is not kept: such a command has to reach the execution that answers it. */
const MAX_ID_BYTES = 100;

export interface RunStart<S extends AnySettings> {
  settings: S;
  schema: z.ZodType<S>;
  config: WorkflowConfig;
  forkOf: string | null;
  record: OperatorRecord;
  progress: RunProgress;
}

export class RunControl<S extends AnySettings = AnySettings> {
  readonly state: RunState;
  readonly config: WorkflowConfig;
  readonly forkOf: string | null;
  /** As they hold now: operators may change them. */
  settings: S;
  answer: Answer | null = null;
  /** The round can do without the step that runs now. */
  skippable = false;
  /** The texts of the spec, where the run has a starting model. */
  texts: ObjectRef | null = null;
  /** Who has accepted the starting model as its folder is now. */
  acceptsModel: Actor | null = null;
  /** To the study that it is a run of (workflows/report.ts). */
  report: ((state: RunState) => void) | null = null;
  /** Who ended the run. */
  aborted: Actor | null = null;
  /** All of the run's work: an abort cancels it. */
  readonly work = new CancellationScope({ cancellable: true });
  /** Parts of the work that a pause interrupts. */
  readonly pausable = new Set<CancellationScope>();
  /** Ends when the histories of the executions before this one are exported, or were given up. */
  exported: Promise<void> = Promise.resolve();
  private readonly started: S;
  private readonly schema: z.ZodType<S>;

  constructor({ settings, schema, config, forkOf, record, progress }: RunStart<S>) {
    this.started = settings;
    this.schema = schema;
    this.config = config;
    this.forkOf = forkOf;
    const { round, reached } = progress;
    this.settings = settingsAt(settings, record.changes, round ?? BEFORE_ROUNDS, reached, schema);
    this.state = { ...progress, ...record, ...this.shown(), steps: [], halt: null, end: null };
    setHandler(defineQuery<RunState>(STATE_QUERY), () => this.state);
    for (const name of Object.keys(COMMANDS) as CommandName[]) this.handle(name);
    setDefaultSignalHandler((name) => log.warn(`the signal ${JSON.stringify(name)} is unknown and ignored`));
  }

  private handle<Name extends CommandName>(name: Name): void {
    const rule = COMMAND_RULES[name];
    const schema = COMMANDS[name] as unknown as z.ZodType<Command<Name>>;
    setHandler(
      defineUpdate<string, [Command<Name>]>(updateName(name)),
      (raw) => {
        const known = this.repeated(name);
        if (known) return answerOf(known);
        const command = schema.parse(raw);
        const { halt } = this.state;
        rule.apply(this, command);
        const answered = this.answer?.command === command || name === 'abort' ? halt : null;
        const about = answered && (answered.kind === 'parked' ? answered.step : answered.approval);
        const intervention = this.intervened(name, command, about, answered?.since ?? null);
        warnOfBudget(this);
        publish(this);
        return answerOf(intervention);
      },
      {
        validator: (raw) => {
          const problem = commandProblem(name, raw);
          if (problem) throw new Error(problem);
          if (jsonBytes(raw) > MAX_PAYLOAD_BYTES) throw new Error(`more than ${MAX_PAYLOAD_BYTES} bytes of JSON`);
          if (this.repeated(name)) return;
          if (this.state.end) throw new Error('the run has ended');
          rule.allowed(this, schema.parse(raw));
        },
      },
    );
  }

  /** A command that a client sends again, because the answer to the first time did not reach it. */
  private repeated(name: CommandName): Intervention | undefined {
    const { id } = currentUpdateInfo() ?? {};
    if (id === undefined) return undefined;
    return this.state.interventions.findLast((one) => one.id === id && one.kind === name);
  }

  // --- waiting ----------------------------------------------------------------------------------------------------------
  /** Between two steps. Waits while the run is paused. Throws run.stopped when `stop --after step` was requested. */
  async checkpoint(): Promise<void> {
    await this.unpaused();
    if (this.state.stopAfter === 'step' && this.isFirstPass) throw stopped('Stopped after the step');
  }

  /** Not again in a round that was done before the run repeated its steps: a stop does not give that up. */
  get isFirstPass(): boolean {
    return (this.state.round ?? BEFORE_ROUNDS) >= this.state.reached;
  }

  async unpaused(): Promise<void> {
    if (this.state.paused) await condition(() => !this.state.paused);
  }

  /** Waits until somebody answers what `halt` asks. */
  async halted(halt: NonNullable<RunState['halt']>): Promise<Answer> {
    this.answer = null;
    this.state.halt = halt;
    publish(this);
    try {
      await condition(() => this.answer !== null);
      return this.answer!;
    } finally {
      this.answer = null;
      this.state.halt = null;
      publish(this);
    }
  }

  /** true: approved, now or in an earlier pass over the steps, or the settings ask for no approval here. */
  async approval(approval: Approval, review: Omit<Waiting, 'kind' | 'approval' | 'since' | 'round'>): Promise<boolean> {
    const { round, approved } = this.state;
    const wanted = 'approvals' in this.settings && this.settings.approvals.includes(approval);
    if (!wanted || approved[approval] >= (round ?? 0)) return true;
    const { kind } = await this.halted({ kind: 'waiting', approval, round, since: now(), ...review });
    if (kind === 'approve') approved[approval] = round ?? 0;
    return kind === 'approve';
  }

  // --- what commands do -------------------------------------------------------------------------------------------------
  pause(who: string): void {
    this.state.paused = { who, at: now() };
    for (const scope of this.pausable) scope.cancel();
  }

  abort({ who, why }: Actor): void {
    this.aborted = { who, why };
    this.state.paused = null;
    this.work.cancel();
  }

  /** Applies settings from now on; throws nothing that `assertSettable` has let pass. */
  change(set: Settings): void {
    this.settings = withSettings(this.settings, set, this.schema);
    this.state.changes = changedNow(this.state, set);
    Object.assign(this.state, this.shown());
  }

  /** Throws a plain Error that says why `set` cannot hold from now on. */
  assertSettable(set: Settings): void {
    const { round, reached, halt, steps } = this.state;
    const parked = halt?.kind === 'parked';
    const step = parked ? halt.step : (steps.at(-1)?.step ?? null);
    const before = step === null ? undefined : COMES_AFTER[step];
    assertUndecided(set, { round, step: before ?? step, parked: parked && !before, evaluated: this.evaluated });
    const settings = this.preview(set);
    const begun = Math.max(reached, round ?? BEFORE_ROUNDS);
    if ('rounds' in settings && settings.rounds < begun) throw new Error(`rounds: round ${begun} has begun`);
    assertRoom(changedNow(this.state, set));
  }

  /** The settings as they would be. */
  preview(set: Settings): S {
    return withSettings(this.settings, set, this.schema);
  }

  /** Some round has an evaluation. */
  get evaluated(): boolean {
    return this.state.best?.evaluation != null;
  }

  /** Records what an operator, or the run itself (`decision`), changed. */
  intervened(
    kind: Intervention['kind'],
    { who, why, set = null }: Actor & { set?: Settings | undefined | null },
    step: string | null,
    answers: string | null = null,
  ): Intervention {
    const { interventions, round } = this.state;
    const { id = '' } = currentUpdateInfo() ?? {};
    const known = id !== '' && jsonBytes(id) <= MAX_ID_BYTES ? id : null;
    const intervention = { kind, at: now(), who, why, round, step, answers, set, id: known };
    interventions.push(intervention);
    this.state.interventionCount++;
    return intervention;
  }

  // --- rounds ------------------------------------------------------------------------------------------------
  /** From here on the run is in this round, and what was set for it holds. */
  enter(round: number): void {
    this.state.round = round;
    this.state.reached = Math.max(this.state.reached, round);
    this.settings = settingsAt(this.started, this.state.changes, round, this.state.reached, this.schema);
    Object.assign(this.state, this.shown());
  }

  /** Settings that whoever looks at the run needs. */
  private shown(): Pick<RunState, 'lastRound' | 'final'> {
    const { settings: s } = this;
    return 'rounds' in s ? { lastRound: s.rounds, final: s.final } : { lastRound: null, final: 'best' };
  }
}

/** What an Update returns: the step, the approval or the round that it was about. */
const answerOf = ({ step, round }: Intervention): string => step ?? String(round ?? '');

export const now = () => new Date(Date.now()).toISOString();
