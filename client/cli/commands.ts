/**
 * Every command, by the file that it is in. A file is loaded when one of its commands is called; the list of all commands
 * (`srlm --help`, a name that is wrong) comes from a file that the build has written, so that it loads none.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { CommandName } from '../../contracts/commands.js';

type AddCommands = (program: Command) => void;

/** Named here, too: the schemas of the commands take a while to load. */
const OPERATOR_COMMANDS: { [Name in CommandName]: true } = {
  ...{ retry: true, skip: true, approve: true, reject: true, pause: true },
  ...{ resume: true, stop: true, set: true, promote: true, abort: true },
};

const GROUPS: { names: string[]; load: () => Promise<AddCommands> }[] = [
  { names: ['up', 'worker'], load: async () => (await import('./up.js')).addWorkerCommands },
  { names: ['start', 'sample'], load: async () => (await import('./start.js')).addStartCommands },
  { names: ['study'], load: async () => (await import('./study.js')).addStudyCommand },
  { names: ['watch', 'status', 'list'], load: async () => (await import('./runs.js')).addRunCommands },
  {
    names: [...Object.keys(OPERATOR_COMMANDS), 'fork', 'continue'],
    load: async () => (await import('./operate.js')).addOperateCommands,
  },
  { names: ['history', 'audit'], load: async () => (await import('./history.js')).addHistoryCommands },
  { names: ['show'], load: async () => (await import('./show.js')).addShowCommand },
  { names: ['catalyst'], load: async () => (await import('./catalyst.js')).addCatalystCommands },
  { names: ['scores', 'reselect'], load: async () => (await import('./scores.js')).addScoreCommands },
  { names: ['curves'], load: async () => (await import('./curves.js')).addCurvesCommand },
  { names: ['export'], load: async () => (await import('./export.js')).addExportCommand },
  { names: ['serve'], load: async () => (await import('./serve.js')).addServeCommand },
  { names: ['eval'], load: async () => (await import('./eval.js')).addEvalCommand },
  { names: ['ask'], load: async () => (await import('./ask.js')).addAskCommand },
  { names: ['data', 'init', 'schema'], load: async () => (await import('./data.js')).addDataCommands },
  { names: ['codec-server'], load: async () => (await import('./codec-server.js')).addCodecServerCommand },
  { names: ['gc'], load: async () => (await import('./gc.js')).addGcCommand },
  { names: ['completion'], load: async () => (await import('./completion.js')).addCompletionCommand },
  { names: ['doctor'], load: async () => (await import('./doctor.js')).addDoctorCommand },
];

/** Beside the compiled file. */
export const SUMMARIES = 'commands.json';

/** `watch <run>` and what it does. */
export interface Summary {
  term: string;
  description: string;
}

/** Adds the command `name`, with those of its file; without one of that name, the summaries of all. */
export async function addCommands(program: Command, name: string): Promise<void> {
  const group = GROUPS.find(({ names }) => names.includes(name));
  const path = join(__dirname, SUMMARIES);
  if (group) (await group.load())(program);
  else if (existsSync(path))
    for (const { term, description } of JSON.parse(readFileSync(path, 'utf8')) as Summary[])
      program.command(term).description(description);
  else await addAllCommands(program);
}

/** All of them, with their arguments and options. */
export async function addAllCommands(program: Command): Promise<void> {
  for (const { load } of GROUPS) (await load())(program);
}
