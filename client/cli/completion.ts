/**
 * srlm completion: a script that completes commands, options and their choices, for bash, zsh or fish. It is made of the
 * commands as they are, and starts nothing when a key is pressed. Where it knows nothing, files are completed.
 */
import { Argument, type Command } from 'commander';
import { addAllCommands } from './commands.js';
import { action, EXIT } from './context.js';

/** A word that may come next, and what it does. */
interface Word {
  word: string;
  description: string;
}

/** What may come after a command. `path`: `/data/check`; empty: srlm itself. */
interface Place {
  path: string;
  words: Word[];
  /** After an option that takes one of a few values: `--role` -> all, workflow, cpu, gpu. */
  choices: { option: string; words: string[] }[];
}

const SCRIPTS = { bash, zsh, fish } as const;

export function addCompletionCommand(program: Command): void {
  program
    .command('completion')
    .description('print a script for your shell that completes commands and options')
    .addArgument(new Argument('<shell>', 'which shell').choices(Object.keys(SCRIPTS)))
    .action(
      action(async (context, shell: keyof typeof SCRIPTS) => {
        const all = program.createCommand(program.name());
        for (const option of program.options) all.addOption(option);
        await addAllCommands(all);
        const script = SCRIPTS[shell](placesOf(all));
        context.print({ shell, script }, script.split('\n'));
        return EXIT.done;
      }),
    );
}

export function placesOf(command: Command, path = '', above: readonly Word[] = []): Place[] {
  const help = command.createHelp();
  const commands = help.visibleCommands(command).filter((one) => path === '' || one.name() !== 'help');
  const options = help.visibleOptions(command).map(({ long, short, description }) => ({
    word: long ?? short ?? '',
    description,
  }));
  // The options of srlm itself are taken anywhere.
  const shared = path === '' ? options.filter(({ word }) => word !== '--version') : above;
  const own: Place = {
    path,
    words: unique([
      ...commands.map((one) => ({ word: one.name(), description: one.description() })),
      ...command.registeredArguments.flatMap(({ argChoices, description }) =>
        (argChoices ?? []).map((word) => ({ word, description })),
      ),
      ...options,
      ...shared,
    ]),
    choices: command.options.flatMap(({ long, argChoices }) =>
      long && argChoices ? [{ option: long, words: argChoices }] : [],
    ),
  };
  return [own, ...commands.flatMap((one) => placesOf(one, `${path}/${one.name()}`, shared))];
}

const unique = (words: Word[]): Word[] =>
  words.filter(({ word }, i) => words.findIndex((one) => one.word === word) === i);

/** For all three shells: between single quotes nothing is expanded. */
const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
const paths = (places: readonly Place[]) => places.filter(({ path }) => path !== '').map(({ path }) => path);
const listed = (words: readonly string[]) => quoted(words.join(' '));

/** Lines of a `case` on the command and the word before, then on the command alone. */
function cases(places: readonly Place[], wordsOf: (words: readonly Word[]) => string): string[] {
  const plain = (words: readonly string[]) => wordsOf(words.map((word) => ({ word, description: '' })));
  const choices = places.flatMap(({ path, choices: all }) =>
    all.map(({ option, words }) => `    ${path}:${option}) found=${plain(words)} ;;`),
  );
  return [...choices, ...places.map(({ path, words }) => `    ${path}:*) found=${wordsOf(words)} ;;`)];
}

function bash(places: readonly Place[]): string {
  return [
    '# To use it now:  source <(srlm completion bash)',
    '_srlm() {',
    "  local at='' word found",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: of the shell
    '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
    '    case "$at/$word" in',
    `      ${paths(places).join('|')}) at="$at/$word" ;;`,
    '    esac',
    '  done',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: of the shell
    '  case "$at:${COMP_WORDS[COMP_CWORD-1]}" in',
    ...cases(places, (words) => listed(words.map(({ word }) => word))),
    '  esac',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: of the shell
    '  COMPREPLY=($(compgen -W "$found" -- "${COMP_WORDS[COMP_CWORD]}"))',
    '}',
    'complete -o default -F _srlm srlm',
  ].join('\n');
}

function zsh(places: readonly Place[]): string {
  const described = ({ word, description }: Word) =>
    quoted(description ? `${word}:${description.replaceAll(':', '\\:')}` : word);
  return [
    '#compdef srlm',
    '# To use it now:  source <(srlm completion zsh)',
    '_srlm() {',
    "  local at='' word",
    '  local -a found',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: of the shell
    '  for word in "${words[@]:1:CURRENT-2}"; do',
    '    case "$at/$word" in',
    `      ${paths(places).join('|')}) at="$at/$word" ;;`,
    '    esac',
    '  done',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: of the shell
    '  case "$at:${words[CURRENT-1]}" in',
    ...cases(places, (words) => `(${words.map(described).join(' ')})`),
    '  esac',
    '  _describe srlm found || _files',
    '}',
    'compdef _srlm srlm',
  ].join('\n');
}

function fish(places: readonly Place[]): string {
  const line = (condition: string, words: string[], description = '') =>
    `complete -c srlm -n ${quoted(condition)} -a ${listed(words)}${description ? ` -d ${quoted(description)}` : ''}`;
  return [
    '# To use it now:  srlm completion fish | source',
    'function __srlm_at',
    "  set -l at ''",
    '  for word in (commandline -opc)[2..-1]',
    `    contains -- "$at/$word" ${paths(places).join(' ')}; and set at "$at/$word"`,
    '  end',
    '  test "$at" = "$argv[1]"',
    'end',
    ...places.flatMap(({ path, words, choices }) => [
      ...words.map(({ word, description }) => line(`__srlm_at "${path}"`, [word], description)),
      ...choices.map(({ option, words: values }) =>
        line(`__srlm_at "${path}"; and contains -- ${option} (commandline -opc)[-1]`, values),
      ),
    ]),
  ].join('\n');
}
