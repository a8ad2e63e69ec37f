/** Part of the build, after tsc: the list of commands that `srlm --help` shows (client/cli/commands.ts). */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { addAllCommands, SUMMARIES } from '../dist/client/cli/commands.js';

const program = new Command();
await addAllCommands(program);
const help = program.createHelp();
const summaries = help
  .visibleCommands(program)
  .filter((command) => command.name() !== 'help')
  .map((command) => ({ term: help.subcommandTerm(command), description: help.subcommandDescription(command) }));
writeFileSync(
  fileURLToPath(new URL(`../dist/client/cli/${SUMMARIES}`, import.meta.url)),
  `${JSON.stringify(summaries)}\n`,
);
