/**
 * What operators want of a run: answers to a parked step or an approval, pause, stop, new settings. Validators refuse
 * what does not fit before it is in history; what is accepted is on record in `state.interventions`. Deterministic
 * workflow code. The one who runs steps (steps.ts) asks `Orders` what to do, and waits where it says so.
 */
import type { UpdateDefinition } from '@temporalio/common';
import { ApplicationFailure, condition, setHandler, workflowInfo } from '@temporalio/workflow';
import type { z } from 'zod';
import type { Operations } from '../contracts/deployment.js';
import { type Intervention, Order, type Waiting, type WorkflowState } from '../contracts/progress.js';
import { assertPerRound, assertUndecided, describeSettings, isAnyTime, withSettings } from '../contracts/settings.js';
import { RunSpec, SampleSpec } from '../contracts/spec.js';
import type { RunInput, Settings } from '../contracts/steps.js';
import * as budgets from '../method/spending.js';
import {
  abortUpdate,
  approveUpdate,
  orderSignal,
  pauseUpdate,
  promoteUpdate,
  rejectUpdate,
  resumeUpdate,
  retryUpdate,
  setUpdate,
  skipUpdate,
  stateQuery,
  stopUpdate,
} from './messages.js';

export type Spec = RunSpec | SampleSpec;
type Kind = Intervention['kind'];

/** As the round of what is set before the first one. */
const BEFORE_ROUNDS = -1;
const NEARLY_SPENT = ': more than 80 % is spent.';

export interface Beginning {
  operations: Operations;
  spec: Spec;
  round: number | null;
  rounds: number | null;
  /** When the run began, and what it spent before this workflow did. */
  startedAt?: string | undefined;
  spent?: WorkflowState['spent'] | undefined;
  /** Some round of the run has a score. */
  scored?: boolean;
  fork?: RunInput['fork'];
}

export class Orders {
  readonly state: WorkflowState;
  spec: Spec;
  readonly startedAtMs: number;
  stopAfter: 'round' | 'step' | null = null;
  /** Tells the round what is ordered of the run. */
  forward: ((kind: Kind, order: Order) => void) | null = null;
  /** Called when a pause begins: work under way is to end soon. */
  onPause: () => void = () => {};
  /** Called when something that others are told has changed. */
  onChange: () => void = () => {};
  private paused = false;
  /** The last round that has begun, in whichever pass through the steps. */
  private reached = BEFORE_ROUNDS;
  private decision: { kind: Kind; order: Order } | null = null;

  constructor(private readonly beginning: Beginning) {
    const { spec, round, rounds, spent, startedAt } = beginning;
    this.spec = spec;
    this.startedAtMs = startedAt ? Date.parse(startedAt) : workflowInfo().startTime.getTime();
    this.state = {
      ...{ state: 'running', round, rounds, steps: [], parked: null, waiting: null, summaries: [], warnings: [] },
      ...{ interventions: [], spent: spent ?? budgets.NOTHING, changes: [], rulings: [] },
    };
    setHandler(stateQuery, () => this.state);
    this.handleAnswers();
    if (round === null) this.handleRunOrders();
    else setHandler(orderSignal, ({ kind, order }) => this.obey(kind, order));
  }

  // --- asked by who runs the steps ------------------------------------------------------------------------------------

  get isPaused(): boolean {
    return this.paused;
  }

  /** Between two steps: waits while the run is paused. Throws run.stopped where it is to end with the step that is done. */
  async clear(): Promise<void> {
    await this.resumed();
    if (this.stopAfter === 'step') throw stopped('step');
  }

  /** Within a step: waits while the run is paused. */
  async resumed(): Promise<void> {
    if (this.paused) await condition(() => !this.paused);
  }

  /** Waits for an answer to what `state.parked` or `state.waiting` says. */
  async answer(): Promise<{ kind: Kind; order: Order }> {
    await condition(() => this.decision !== null);
    const decision = this.decision!;
    this.decision = null;
    return decision;
  }

  /** true: approved, or nobody asked to be asked. */
  async approved(
    approval: Waiting['approval'],
    about: Omit<Waiting, 'approval' | 'since' | 'round'>,
  ): Promise<boolean> {
    if (!('approvals' in this.spec) || !this.spec.approvals?.includes(approval)) return true;
    const { round } = this.state;
    if (this.wasApproved(approval, round)) return true;
    this.state.waiting = { approval, round, since: now(), ...about };
    this.settle();
    const { kind, order } = await this.answer();
    this.state.waiting = null;
    this.settle();
    if (kind === 'approve') return true;
    if (kind === 'abort') throw aborted(approval, order);
    return false;
  }

  /** Before the run went through its steps again, or in the run that it was forked from. */
  wasApproved(approval: Waiting['approval'], round: number | null): boolean {
    return (
      this.state.interventions.some((one) => one.kind === 'approve' && one.step === approval && one.round === round) ||
      this.beginning.fork?.approved?.some((one) => one.approval === approval && one.round === round) === true
    );
  }

  /** From here on the run is in this round: what was set for it holds. */
  begin(round: number): void {
    this.state.round = round;
    this.reached = Math.max(this.reached, round);
    this.spec = this.specAt(round);
    if ('rounds' in this.spec) this.state.rounds = this.spec.rounds;
  }

  /** Back to before the first round: what comes is made, and found, by the settings that held then. */
  rewind(): void {
    const { fork } = this.beginning;
    if (fork && this.state.changes.length === 0) {
      this.state.changes.push(...fork.changes);
      this.state.rulings.push(...fork.rulings);
    }
    this.spec = this.specAt(BEFORE_ROUNDS);
  }

  /**
   * The spec as it is in a round: what was set for it and for the rounds before it. Of fields that decide nothing that
   * is made (budget, engine, ...), all that has come to hold so far: it also holds where rounds are gone through again.
   */
  private specAt(round: number): Spec {
    const inOrder = [...this.state.changes].sort((a, b) => a.fromRound - b.fromRound);
    return inOrder.reduce((spec, { fromRound, set }) => {
      const fields = Object.entries(set).filter(([field]) => fromRound <= (isAnyTime(field) ? this.reached : round));
      return fields.length > 0 ? withSettings(spec, Object.fromEntries(fields), this.schema()) : spec;
    }, this.beginning.spec);
  }

  hours(): number {
    return (Date.now() - this.startedAtMs) / 3_600_000;
  }

  spend(spent: WorkflowState['spent']): void {
    this.state.spent = budgets.sum(this.state.spent, spent);
    this.warn();
  }

  get budget() {
    return this.spec.budget ?? {};
  }

  overdrawn(): string | null {
    return budgets.overdrawn(this.budget, this.state.spent, this.hours());
  }

  /** Of what is nearly spent; a budget that was raised since is no longer warned of. */
  private warn(): void {
    const shares = Object.entries(budgets.shares(this.budget, this.state.spent, this.hours()));
    const nearly = shares.filter(([, share]) => share >= 0.8).map(([bound]) => `${bound}${NEARLY_SPENT}`);
    this.state.warnings = [...this.state.warnings.filter((warning) => !warning.endsWith(NEARLY_SPENT)), ...nearly];
  }

  record(kind: Kind, { who, why, set }: Order, step: string | null, answers: string | null = null): void {
    const { round } = this.state;
    this.state.interventions.push({ kind, at: now(), who, why, round, step, answers, set: set ?? null });
  }

  /** Takes over what a round was told, for the rounds after it. */
  adopt(round: number, set: Settings): void {
    this.spec = withSettings(this.spec, set, this.schema());
    this.state.changes.push({ fromRound: round, set });
  }

  settle(): void {
    const { parked, waiting } = this.state;
    this.state.state = parked ? 'parked' : waiting ? 'waiting' : this.paused ? 'paused' : 'running';
    this.onChange();
  }

  schema(): z.ZodType<Spec> {
    return ('rounds' in this.spec ? RunSpec : SampleSpec) as z.ZodType<Spec>;
  }

  // --- answers to what is parked or waits -----------------------------------------------------------------------------

  private handleAnswers(): void {
    this.handle(retryUpdate, 'retry', (order) => {
      const parked = this.openParked(order);
      if (!order.set) {
        if (parked.type === 'budget.spent' && this.overdrawn()) {
          throw new Error(`${this.overdrawn()} is still spent: raise it with --set ${this.overdrawn()}=N`);
        }
        return;
      }
      this.assertSettable(order.set);
      const { budget = {} } = withSettings(this.spec, order.set, this.schema());
      const still = budgets.overdrawn(budget, this.state.spent, this.hours());
      if (parked.type === 'budget.spent' && still)
        throw new Error(`${still} is spent with that, too: raise it further`);
    });
    this.handle(skipUpdate, 'skip', (order) => {
      const { skippable, step } = this.openParked(order);
      if (!skippable)
        throw new Error(`${step} cannot be skipped: only an evaluation, or the enrichment of one round, can`);
    });
    this.handle(abortUpdate, 'abort', (order) => {
      if (this.state.waiting) this.openWaiting(order);
      else this.openParked(order);
    });
    this.handle(approveUpdate, 'approve', (order) => void this.openWaiting(order));
    this.handle(rejectUpdate, 'reject', (order) => void this.openWaiting(order));
  }

  private handle(update: UpdateDefinition<string, [Order]>, kind: Kind, validator: (order: Order) => void): void {
    setHandler(
      update,
      (order: Order) => {
        const about = this.state.parked?.step ?? this.state.waiting?.approval ?? null;
        const since = this.state.parked?.since ?? this.state.waiting?.since ?? null;
        this.record(kind, order, about, since);
        if (order.set) this.change(order.set);
        this.decision = { kind, order };
        return about ?? '';
      },
      { validator: checked(kind, validator) },
    );
  }

  private openParked(order: Order) {
    const { parked } = this.state;
    this.assertOpen(order, parked?.since ?? null, 'parked');
    return parked!;
  }

  private openWaiting(order: Order) {
    const { waiting } = this.state;
    this.assertOpen(order, waiting?.since ?? null, 'waiting for an approval');
    return waiting!;
  }

  /** Two operators may answer the same: the second is told of the first. */
  private assertOpen(order: Order, since: string | null, what: string): void {
    const answered = this.state.interventions.findLast(
      ({ answers }) => answers !== null && answers === (order.answers ?? since),
    );
    if (answered)
      throw new Error(
        `already resolved by ${answered.who}: ${answered.kind} at ${answered.at}${answered.why && `, "${answered.why}"`}`,
      );
    if (since === null) throw new Error(`it is not ${what}`);
    if (this.decision || (order.answers !== undefined && order.answers !== since))
      throw new Error('it has gone on since');
  }

  // --- orders to the run ----------------------------------------------------------------------------------------------

  private handleRunOrders(): void {
    const order = (update: UpdateDefinition<string, [Order]>, kind: Kind, validator: (order: Order) => void) =>
      setHandler(
        update,
        (order: Order) => {
          this.record(kind, order, null);
          this.obey(kind, order);
          this.forward?.(kind, order);
          return String(this.state.round ?? '');
        },
        { validator: checked(kind, validator) },
      );
    const lastPause = () => this.state.interventions.findLast(({ kind }) => kind === 'pause');
    order(pauseUpdate, 'pause', () => {
      if (this.paused) throw new Error(`already paused by ${lastPause()?.who} at ${lastPause()?.at}`);
    });
    order(resumeUpdate, 'resume', () => {
      if (!this.paused) throw new Error('it is not paused');
    });
    order(stopUpdate, 'stop', () => {});
    order(setUpdate, 'set', ({ set, fromRound }) => {
      if (!set || Object.keys(set).length === 0) throw new Error('there is nothing to set');
      if (fromRound === null || fromRound === undefined) {
        this.assertSettable(set);
        return;
      }
      const { round, rounds } = this.state;
      if (rounds === null) throw new Error('a sampling has no rounds: leave --from-round out');
      if (round !== null && fromRound <= round)
        throw new Error(`round ${fromRound} has begun: the first that has not is ${round + 1}`);
      if (fromRound > rounds) throw new Error(`the last round is ${rounds}`);
      const whole = Object.keys(set).find((field) => field === 'rounds' || field.startsWith('budget'));
      if (whole) throw new Error(`${whole} is of the whole run: set it without --from-round`);
      assertPerRound(set, this.scored());
      withSettings(this.spec, set, this.schema());
    });
    order(promoteUpdate, 'promote', ({ round }) => {
      if (this.state.summaries.every((summary) => summary.round !== round))
        throw new Error(`round ${round} is not done`);
    });
  }

  private obey(kind: Kind, order: Order): void {
    if (kind === 'pause') {
      this.paused = true;
      this.onPause();
    } else if (kind === 'resume') this.paused = false;
    else if (kind === 'stop') {
      this.paused = false; // A step that is to be finished must go on.
      if (order.after === 'step' || order.after === 'round') this.stopAfter = order.after;
    } else if (kind === 'set' && order.set) {
      const { round } = this.state;
      if (typeof order.fromRound === 'number') {
        // The run keeps what is for later rounds; a round would take it for its own, and tell the run so.
        if (this.beginning.round === null && (round === null || order.fromRound > round))
          this.state.changes.push({ fromRound: order.fromRound, set: order.set });
      } else {
        // A round that was told so by its run need not tell the run.
        this.change(order.set, this.beginning.round === null);
        if (this.state.parked?.type === 'budget.spent' && !this.overdrawn()) this.decision ??= { kind: 'retry', order };
      }
    } else if (kind === 'promote' && order.round !== undefined) {
      this.state.rulings.push({ round: order.round, verdict: 'promote', before: (this.state.round ?? 0) + 1 });
    }
    this.settle();
  }

  private change(set: Settings, tell = true): void {
    this.spec = withSettings(this.spec, set, this.schema());
    if ('rounds' in this.spec && this.state.rounds !== null) this.state.rounds = this.spec.rounds;
    this.warn();
    if (tell) this.state.changes.push({ fromRound: this.state.round ?? this.reached, set });
  }

  private assertSettable(set: Settings): void {
    const { round, parked, steps } = this.state;
    const spec = withSettings(this.spec, set, this.schema());
    // The run knows its round, not the step the round is at: what the round has begun is settled, for all the run knows.
    const own = round === null || this.beginning.round !== null;
    const step = own ? (parked?.step ?? steps.at(-1)?.step ?? null) : 'gate';
    assertUndecided(set, { round, step, parked: parked !== null, scored: this.scored() });
    if ('rounds' in spec && round !== null && spec.rounds < round) throw new Error(`rounds: round ${round} has begun`);
  }

  private scored(): boolean {
    return this.beginning.scored === true || this.state.summaries.some(({ score }) => score !== null);
  }
}

/** Anybody may send an Update, from the Temporal UI too. */
const checked = (kind: Kind, validator: (order: Order) => void) => (order: Order) => {
  const { success, error } = Order.safeParse(order);
  const issue = error?.issues[0];
  if (!success) throw new Error(`expected {"who": "...", "why": "..."}: ${issue?.path.join('.')}: ${issue?.message}`);
  if (order.set && kind !== 'retry' && kind !== 'set') throw new Error(`${kind} takes no settings`);
  validator(order);
};

const now = () => new Date(Date.now()).toISOString();

export const stopped = (after: string) =>
  ApplicationFailure.nonRetryable(`Stopped after the ${after}. All artifacts are kept.`, 'run.stopped');

export function aborted(where: string, { who, why }: Order, verb = 'Aborted') {
  return ApplicationFailure.nonRetryable(
    `${verb} at ${where} by ${who}${why ? `: ${why}` : ''}. All artifacts are kept.`,
    'run.aborted',
  );
}

/** `microBatchSize = 4`, with what it was. */
export const decided = (why: string, set: Settings): Order => ({
  who: 'srlm',
  why: `${why}: ${describeSettings(set)}`,
  set,
});
