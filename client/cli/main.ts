#!/usr/bin/env node
/**
 * srlm: the command line. Results on stdout (--json: JSON), everything else on stderr.
 * Exit codes: 0 done, 1 failed, 2 wrong input or usage, 3 parked, 130 interrupted (SIGINT, SIGTERM, SIGHUP).
 */
import './node-version.js';
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { Problem, temporalSettings } from '../../contracts/errors.js';
import { fileSystemProblem } from '../../storage/files.js';
import { writeJson, writeNote } from '../../text/terminal.js';
import { printable } from '../../text/text.js';
import { isAway, missingNamespace } from '../away.js';
import { addCommands } from './commands.js';
import { EXIT, type Exit, Interrupted, UsageError } from './context.js';

const { version } = JSON.parse(readFileSync(require.resolve('srlm/package.json'), 'utf8')) as { version: string };

/** A run makes a damaged object again by itself; a command cannot. */
const MADE_AGAIN = 'Start the run again with the same spec: what is intact is found, and the rest is made again.';

const program = new Command('srlm')
  .description(
    'Self-reasoning language models on Temporal: a model improves itself round after round, and no work is lost.',
  )
  .version(version)
  .option('--config <file>', 'the deployment (default: temporal.config.ts of the current folder)')
  .option('--json', 'one JSON document on stdout (watch, show: one a line)')
  .configureHelp({ showGlobalOptions: true })
  .configureOutput({ outputError: () => {} })
  .exitOverride();

const words = process.argv.slice(2);
const named = words.filter((word, i) => !word.startsWith('-') && words[i - 1] !== '--config');
const called = (named[0] === 'help' ? named[1] : named[0]) ?? '';

// `srlm list | head -1`: a reader that has enough closes the pipe, which is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? EXIT.done : EXIT.failed);
});
// Nobody reads the notes any more, or the terminal is closed: what the command does is not stopped by that.
process.stderr.on('error', () => {});

void main();

async function main(): Promise<never> {
  try {
    await addCommands(program, called);
    await program.parseAsync();
  } catch (error) {
    process.exitCode = report(error);
  }
  // Connections that a command has abandoned may keep the process alive; flush the output before the exit.
  await Promise.all(
    [process.stdout, process.stderr].map((stream) => new Promise((resolve) => stream.write('', resolve))),
  );
  process.exit();
}

/** One sentence on stderr; a stack only for what no user could have caused. */
function report(error: unknown): Exit {
  if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done; // --help, --version
  if (error instanceof CommanderError && error.code === 'commander.help') return EXIT.wrongInput; // commander has written it to stderr
  const { exit, type, message } = explained(error);
  if (process.argv.includes('--json')) writeJson({ error: { type, message } });
  writeNote(message);
  if (type === 'unexpected' && error instanceof Error) for (const line of `${error.stack}`.split('\n')) writeNote(line);
  return exit;
}

function explained(thrown: unknown): { exit: Exit; type: string; message: string } {
  const namespace = missingNamespace(thrown);
  const error = namespace === null ? fileSystemProblem(thrown) : withoutNamespace(namespace);
  if (error instanceof Problem) {
    const { message } = error.type === 'artifact.damaged' ? error.adding(MADE_AGAIN) : error;
    return { exit: error.retry ? EXIT.failed : EXIT.wrongInput, type: error.type, message: printable(message) };
  }
  if (error instanceof UsageError) return { exit: EXIT.wrongInput, type: 'usage', message: `${error.message} [usage]` };
  if (error instanceof CommanderError)
    return { exit: EXIT.wrongInput, type: 'usage', message: usage(error, process.argv[2]) };
  if (error instanceof Interrupted) return { exit: EXIT.interrupted, type: 'interrupted', message: error.message };
  const message = error instanceof Error ? error.message : String(error);
  if (isAway(error)) {
    return {
      exit: EXIT.failed,
      type: 'temporal.unreachable',
      message: `Temporal no longer answers (${printable(message)}). Try again. [temporal.unreachable]`,
    };
  }
  return { exit: EXIT.failed, type: 'unexpected', message: printable(message) };
}

const withoutNamespace = (name: string): Problem =>
  temporalSettings(`there is no namespace ${JSON.stringify(name)} (TEMPORAL_NAMESPACE), or it may not be read`);

/** `error: unknown command 'strat'\n(Did you mean start?)` -> `Unknown command 'strat': did you mean start? ...` */
function usage({ message, code }: CommanderError, command = ''): string {
  const [what = '', ...more] = message
    .replace(/^error: /, '')
    .trim()
    .split('\n');
  const hint = more.join(' ').replace(/^\(Did you mean (.+)\?\)$/, '; did you mean $1?');
  // An option before the command is none of a command's.
  const of = code === 'commander.unknownCommand' || command.startsWith('-') ? '' : `${command} `;
  return `${what.charAt(0).toUpperCase()}${what.slice(1).replace(/\.$/, '')}${hint || '.'} See \`srlm ${of}--help\`. [usage]`;
}
