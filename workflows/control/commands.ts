/**
 * What each operator command does: when it is allowed, and how it changes the run. The only table of commands; their
 * schemas are in contracts/commands.ts. `allowed` runs in the Update's validator and must not change anything: it throws
 * a plain Error whose message is the operator's answer. `apply` runs when the command is in the history.
 */
import type { Command, CommandName } from '../../contracts/commands.js';
import type { Parked, Waiting } from '../../contracts/run.js';
import { assertPerRound } from '../../contracts/settings.js';
import { usedUpBound } from './budget.js';
import type { RunControl } from './control.js';
import { assertRoom, hasRoomForOverride, withChange } from './record.js';

interface CommandRule<Name extends CommandName> {
  allowed(run: RunControl, command: Command<Name>): void;
  apply(run: RunControl, command: Command<Name>): void;
}

/** A folder that changed, and one that was accepted before it was whole. */
const MODEL_PROBLEMS = ['model.changed', 'model.unusable'];

export const COMMAND_RULES: { [Name in CommandName]: CommandRule<Name> } = {
  retry: {
    allowed(run, command) {
      const { type } = parked(run, command);
      if (command.set) run.assertSettable(command.set);
      if (command.acceptModel && !(MODEL_PROBLEMS.includes(type) && run.state.prepared))
        throw new Error('there is no changed model to accept: leave --accept-model out');
      if (type !== 'budget.spent') return;
      const bound = usedUpBound(run, run.preview(command.set ?? {}).budget);
      if (bound) throw new Error(`${bound} is still used up: raise it with --set ${bound}=N`);
    },
    apply(run, command) {
      if (command.set) run.change(command.set);
      if (command.acceptModel) run.acceptsModel = command;
      run.answer = { kind: 'retry', command };
    },
  },
  skip: {
    allowed(run, command) {
      const { skippable, step } = parked(run, command);
      if (!skippable)
        throw new Error(`${step} cannot be skipped: only an evaluation, or the enrichment of one round, can`);
    },
    apply(run, command) {
      run.answer = { kind: 'skip', command };
    },
  },
  approve: {
    allowed: (run, command) => void waiting(run, command),
    apply(run, command) {
      run.answer = { kind: 'approve', command };
    },
  },
  reject: {
    allowed(run, command) {
      if (waiting(run, command).approval === 'after-round') assertRoomForOverride(run);
    },
    apply(run, command) {
      run.answer = { kind: 'reject', command };
    },
  },
  abort: {
    allowed(run, command) {
      if (run.aborted) throw new Error(`${run.aborted.who} has ended it already`);
      if (command.answers !== undefined) open(run, command, run.state.halt?.since ?? null, 'parked');
    },
    apply: (run, command) => run.abort(command),
  },
  pause: {
    allowed({ state: { paused } }) {
      if (paused) throw new Error(`already paused by ${paused.who} at ${paused.at}`);
    },
    apply: (run, { who }) => run.pause(who),
  },
  resume: {
    allowed({ state }) {
      if (!state.paused) throw new Error('it is not paused');
    },
    apply({ state }) {
      state.paused = null;
    },
  },
  stop: {
    allowed: () => {},
    apply({ state }, { after }) {
      // A step that is to be finished must not wait for `resume`.
      state.paused = null;
      state.stopAfter = after;
    },
  },
  set: {
    allowed(run, { set, fromRound }) {
      if (Object.keys(set).length === 0) throw new Error('there is nothing to set');
      if (fromRound === null) {
        run.assertSettable(set);
        return;
      }
      const { round, reached, lastRound, changes } = run.state;
      const begun = Math.max(reached, round ?? reached);
      if (lastRound === null) throw new Error('a sampling has no rounds: leave --from-round out');
      if (fromRound <= begun) throw new Error(`round ${fromRound} has begun: the first that has not is ${begun + 1}`);
      if (fromRound > lastRound) throw new Error(`the last round is ${lastRound}`);
      const whole = Object.keys(set).find((field) => field === 'rounds' || field.startsWith('budget'));
      if (whole) throw new Error(`${whole} holds for the whole run: set it without --from-round`);
      assertPerRound(set, run.evaluated);
      run.preview(set);
      assertRoom(withChange(changes, fromRound, set));
    },
    apply(run, command) {
      const { set, fromRound } = command;
      if (fromRound !== null) {
        run.state.changes = withChange(run.state.changes, fromRound, set);
        return;
      }
      run.change(set);
      const { halt } = run.state;
      const isPaidFor = halt?.kind === 'parked' && halt.type === 'budget.spent' && !usedUpBound(run);
      if (isPaidFor) run.answer ??= { kind: 'retry', command };
    },
  },
  promote: {
    allowed(run, { round }) {
      if (round >= run.state.rounds) throw new Error(`round ${round} is not done`);
      assertRoomForOverride(run);
    },
    apply({ state }, { round }) {
      state.overrides.push({ round, verdict: 'promote', before: (state.round ?? 0) + 1 });
    },
  },
};

function assertRoomForOverride({ state }: RunControl): void {
  if (!hasRoomForOverride(state)) throw new Error('too many rounds were promoted or rejected: fork the run');
}

function parked(run: RunControl, command: { answers?: string | undefined }): Parked {
  const { halt } = run.state;
  const found = halt?.kind === 'parked' ? halt : null;
  open(run, command, found?.since ?? null, 'parked');
  return found!;
}

function waiting(run: RunControl, command: { answers?: string | undefined }): Waiting {
  const { halt } = run.state;
  const found = halt?.kind === 'waiting' ? halt : null;
  open(run, command, found?.since ?? null, 'waiting for approval');
  return found!;
}

/** Two operators may answer the same question: the second is refused, and reads who was first. */
function open(
  run: RunControl,
  { answers }: { answers?: string | undefined },
  since: string | null,
  what: string,
): void {
  const first = run.state.interventions.findLast((one) => one.answers !== null && one.answers === (answers ?? since));
  if (first)
    throw new Error(`already resolved by ${first.who}: ${first.kind} at ${first.at}${first.why && `, "${first.why}"`}`);
  if (since === null) throw new Error(`it is not ${what}`);
  if (run.answer || (answers !== undefined && answers !== since)) throw new Error('it has continued since');
}
