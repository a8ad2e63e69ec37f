/**
 * Commands that change a run's course: those of contracts/commands.ts, a row each, fork and continue. A command takes --why, which is
 * recorded with who gave the command and when (`srlm history`). Throws run.refused and run.not-parked.
 */
import { type Command, Option } from 'commander';
import { answeredBy, CommandName, type Settings } from '../../contracts/commands.js';
import { shellWord } from '../../contracts/errors.js';
import { describeSettings } from '../../contracts/settings.js';
import type { CommandFields } from '../operate.js';
import { yamlValue } from '../spec-file.js';
import {
  action,
  beforeStart,
  type Context,
  checkId,
  collect,
  EXIT,
  type Exit,
  MAX_ROUND,
  number,
  pairs,
  patiently,
  runName,
  UsageError,
  untilInterrupted,
} from './context.js';

const NO_WORKER =
  'No worker has answered yet; one that runs workflows is needed (`srlm up` or `srlm worker`). Waiting for one ...';

const ENDING = 'The command is sent; the run ends as soon as a worker takes it.';

const TERMINATED = (runId: string) =>
  `GPU workers end its processes within a minute. The history of its last execution is not exported; while Temporal keeps it:  srlm audit export ${shellWord(runId)} --out DIR`;

/** The options of all commands here. */
interface Given {
  why: string;
  set?: string[];
  fromRound?: number;
  round?: number;
  rounds?: number;
  after?: 'round' | 'step' | 'now';
  id?: string;
  terminate?: boolean;
  acceptModel?: true;
}

interface Row<Name extends CommandName> {
  description: string;
  /** Adds the arguments and options that only this command has. */
  options?: (command: Command) => unknown;
  /** The command's own fields. `values`: of the argument that `options` has added. */
  fields?: (given: Given, values: string[]) => Omit<CommandFields<Name>, 'why'>;
  /** Printed when the run has taken the command. `about`: the step or approval that was answered, else the round. */
  line: (runId: string, about: string, given: Omit<CommandFields<Name>, 'why'>) => string;
}

const SET = ['--set <field=value>', 'set a field of the spec, such as sampling.k=8; may be repeated', collect] as const;

const COMMAND_LINES: { [Name in CommandName]: Row<Name> } = {
  retry: {
    description: 'try the parked step of a run again',
    options: (command) =>
      command
        .option(...SET)
        .option('--accept-model', 'the model folder has changed since the run began: continue with it as it is now'),
    fields: ({ set, acceptModel }) => ({
      ...(set ? { set: settings(set) } : {}),
      ...(acceptModel ? { acceptModel } : {}),
    }),
    line: (runId, step, { set, acceptModel }) =>
      `${runId}: ${step} is tried again${acceptModel ? ' with the model folder as it is now' : ''}${set ? ` with ${describeSettings(set)}` : ''}.`,
  },
  skip: {
    description: 'continue without the parked step: an evaluation, or the enrichment of one round',
    line: (runId, step) => `${runId} continues without ${step}.`,
  },
  approve: {
    description: 'continue a run that is waiting for approval',
    line: (runId, approval) => `${runId}: ${approval} approved.`,
  },
  reject: {
    description: 'after a round: roll it back; before: end the run with what it has',
    line: (runId, approval) => `${runId}: ${approval} rejected.`,
  },
  pause: {
    description: 'finish the chunks that are being worked on, and begin nothing more',
    line: (runId) => `${runId} pauses after the current chunks. To continue:  srlm resume ${shellWord(runId)}`,
  },
  resume: {
    description: 'continue a paused run',
    line: (runId) => `${runId} continues.`,
  },
  stop: {
    description: 'end a run before its last round, with what it has',
    options: (command) =>
      command.addOption(
        new Option('--after <when>', 'now: as abort').choices(['round', 'step', 'now']).makeOptionMandatory(),
      ),
    fields: ({ after }) => ({ after: after as 'round' | 'step' }),
    line: (runId, _, { after }) => `${runId} ends after this ${after}.`,
  },
  set: {
    description: 'change settings of a running run, at once or from a round on',
    options: (command) =>
      command
        .argument('<field=value...>', 'fields of the spec, such as sampling.k=8')
        .option(
          '--from-round <n>',
          'apply from this round on, which has not begun',
          number('--from-round', 0, MAX_ROUND),
        ),
    fields: ({ fromRound = null }, values) => ({ set: settings(values), fromRound }),
    line: (runId, _, { set, fromRound }) =>
      `${runId}: ${describeSettings(set)} ${fromRound === null ? 'from now on' : `from round ${fromRound} on`}.`,
  },
  promote: {
    description: 'let the next round start from the model of this one, whatever the gate decided',
    options: (command) =>
      command.requiredOption('--round <n>', 'a round that is done', number('--round', 0, MAX_ROUND)),
    fields: ({ round }) => ({ round: round! }),
    line: (runId, _, { round }) =>
      `${runId}: round ${round} is promoted: the next round starts from it, or it is the result.`,
  },
  abort: {
    description: 'end a run where it is; everything it made is kept',
    options: (command) =>
      command.option('--terminate', 'without its help: for a run whose workflow code fails, or has no worker'),
    line: (runId, state) => `${runId} ended (${state}). Everything it made is kept.`,
  },
};

export function addOperateCommands(program: Command): void {
  for (const name of CommandName.options) addCommand(program, name);
  addFork(program);
  addContinue(program);
}

function addCommand<Name extends CommandName>(program: Command, name: Name): void {
  const { description, options, fields: fieldsOf, line } = COMMAND_LINES[name] as Row<Name>;
  const command = program
    .command(name)
    .description(description)
    .argument('<run>', 'id of the run', runName)
    .option('--why <text>', 'kept in the history', '');
  options?.(command);
  command.action(
    action(async (context, runId: string, ...rest: unknown[]) => {
      const given = rest.pop() as Given;
      if (name === 'abort' || given.after === 'now') return abort(context, runId, given);
      const [values = []] = rest as string[][];
      const own = fieldsOf?.(given, values) ?? ({} as Omit<CommandFields<Name>, 'why'>);
      const fields = { ...own, why: given.why } as CommandFields<Name>;
      const client = await context.connect();
      const about = await patiently(context, NO_WORKER, client.send(runId, name, fields));
      const answered = answeredBy(name) ? { answered: about } : {};
      context.print({ runId, ...answered, ...own }, [line(runId, about, own)]);
      return EXIT.done;
    }),
  );
}

async function abort(context: Context, runId: string, { why, terminate = false }: Given): Promise<Exit> {
  const client = await context.connect();
  const before = await client.status(runId);
  if (before.endedAt) {
    context.print({ runId, state: before.state }, [`${runId} has ended already (${before.state}).`]);
    return EXIT.done;
  }
  await untilInterrupted(ENDING, patiently(context, NO_WORKER, client.abort(runId, why, { terminate })));
  const { state } = await client.status(runId);
  context.print({ runId, state }, [COMMAND_LINES.abort.line(runId, state, {})]);
  if (terminate) context.say(TERMINATED(runId));
  return EXIT.done;
}

function addFork(program: Command): void {
  program
    .command('fork')
    .description('start a new run that reuses all steps before a round, then applies other settings')
    .argument('<run>', 'id of the run', runName)
    .requiredOption('--from-round <n>', 'the first round that may differ', number('--from-round', 0, MAX_ROUND))
    .option(...SET)
    .option('--id <id>', "the new run's id")
    .action(
      action(async (context, of: string, { set = [], fromRound, id }: Given) => {
        const runId = await beforeStart(async () => {
          const own = checkId(id);
          const fork = { fromRound: fromRound!, set: settings(set), ...(own === undefined ? {} : { id: own }) };
          const client = await context.connect();
          return (await patiently(context, NO_WORKER, client.fork(of, fork))).runId;
        });
        context.say(`Started. Follow it with:  srlm watch ${shellWord(runId)}`);
        context.print({ runId, of, fromRound }, [runId]);
        return EXIT.done;
      }),
    );
}

function addContinue(program: Command): void {
  program
    .command('continue')
    .description('start a new run that adds rounds to one that has ended, and reuses all of it')
    .argument('<run>', 'id of the run', runName)
    .requiredOption('--rounds <n>', 'how many rounds to add', number('--rounds', 1, MAX_ROUND))
    .option('--id <id>', "the new run's id")
    .action(
      action(async (context, of: string, { rounds, id }: Given) => {
        const runId = await beforeStart(async () => {
          const own = checkId(id);
          const client = await context.connect();
          const added = { rounds: rounds!, ...(own === undefined ? {} : { id: own }) };
          return (await patiently(context, NO_WORKER, client.continue(of, added))).runId;
        });
        context.say(`Started. Follow it with:  srlm watch ${shellWord(runId)}`);
        context.print({ runId, of, rounds }, [runId]);
        return EXIT.done;
      }),
    );
}

/** Values are YAML, as in a spec. */
function settings(given: readonly string[]): Settings {
  const texts = Object.entries(pairs('--set', given));
  return Object.fromEntries(
    texts.map(([field, text]) => {
      const value = yamlValue(text);
      if (value === undefined)
        throw new UsageError(`--set ${field}: this is not a YAML value: ${JSON.stringify(text)}.`);
      return [field, value as Settings[string]];
    }),
  );
}
