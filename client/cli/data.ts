/** Commands that need no Temporal: data check (reads a file as a run would), init (writes a spec for one) and schema. */
import { Argument, type Command, Option } from 'commander';
import { z } from 'zod';
import { CatalystSpec } from '../../contracts/catalysts.js';
import { Deployment } from '../../contracts/deployment.js';
import { Fields, RunSpec, SampleSpec } from '../../contracts/spec.js';
import { DataKind } from '../../contracts/steps.js';
import { StudySpec } from '../../contracts/study.js';
import { clip, wrap } from '../../text/columns.js';
import { printable, visible, visibleJson } from '../../text/text.js';
import type { FileReport } from '../check-file.js';
import type { TokenReport } from '../check-tokens.js';
import { checkCommand, fieldsYaml } from '../fields-yaml.js';
import { checkSpec } from '../spec-file.js';
import { action, type Context, collect, EXIT, number, pairs, patiently, UsageError } from './context.js';

interface CheckOptions {
  as: DataKind;
  field?: string[];
  model?: string;
  maxLength?: number;
}

const SCHEMAS = {
  run: RunSpec,
  sample: SampleSpec,
  catalysts: CatalystSpec,
  study: StudySpec,
  config: Deployment,
} as const;
const SAMPLE_LINES = 12;

export function addDataCommands(program: Command): void {
  program
    .command('data')
    .description('check data files')
    .command('check')
    .description('read a file as a run would, and report what is in it')
    .argument('<file>', 'JSONL, a JSON list, CSV, TSV or Parquet, also as .gz or .zst')
    .addOption(new Option('--as <kind>', 'what it is for').choices([...DataKind.options]).default('examples'))
    .option('--field <name=field>', 'name of a field in your file, such as answer=solution; may be repeated', collect)
    .option('--model <folder>', 'encode the rows as the trainer of this model will, and show their tokens')
    .option(
      '--max-length <tokens>',
      'with --model: training.maxLength of your spec (default: that of a spec without it)',
      number('--max-length', 16, 1_000_000),
    )
    .action(
      action(async (context, file: string, options: CheckOptions) => {
        const fields = fieldsOf(options.field);
        const { checkFile } = await import('../check-file.js');
        const { checkTokens, FirstRows } = await import('../check-tokens.js');
        const first = new FirstRows();
        const reading = checkFile(options.as, { path: file, fields }, process.cwd(), first.add);
        const report = await patiently(context, `Reading ${file} ...`, reading);
        let tokens: TokenReport | null = null;
        if (options.model !== undefined && report.rows > 0) {
          const encoding = checkTokens(options.model, first, options, await context.deployment());
          tokens = await patiently(context, `Encoding rows with ${options.model} ...`, encoding);
          for (const warning of tokens.warnings) context.say(`warning: ${options.model}: ${warning}.`);
        }
        for (const warning of report.warnings) context.say(`warning: ${file}: ${warning}.`);
        for (const { message } of report.faults) context.say(printable(message));
        const all = tokens ? { ...report, tokens } : report;
        context.print(all, [...reportLines(report, context), ...(tokens ? tokenLines(tokens, report.rows) : [])]);
        return report.invalid > 0 ? EXIT.wrongInput : EXIT.done;
      }),
    );

  program
    .command('init')
    .description('write a commented spec for a data file and a model, by looking at both; replaces no file')
    .argument('<data>', 'the data that the model learns from')
    .option('--model <folder>', 'a Hugging Face model folder below a model root')
    .option('--field <name=field>', 'name of a field in your file; may be repeated', collect)
    .option('--out <file>', 'the spec to write (default: named for the data file)')
    .action(
      action(async (context, data: string, options: { model?: string; field?: string[]; out?: string }) => {
        const { writeFirstSpec } = await import('../first-spec.js');
        const request = {
          data,
          model: options.model ?? null,
          fields: fieldsOf(options.field),
          out: options.out ?? null,
        };
        const writing = writeFirstSpec(request, await context.deployment(), process.cwd());
        const { spec, notes } = await patiently(context, `Reading ${data} ...`, writing);
        for (const note of notes) context.say(note);
        context.print({ spec, notes }, [spec]);
        context.say(`Written. Read it, then:  srlm start ${spec} --watch`);
        return EXIT.done;
      }),
    );

  program
    .command('schema')
    .description('print the JSON Schema of a run spec, a sample spec, a catalyst spec or temporal.config')
    .addArgument(new Argument('[which]', 'of what').choices(Object.keys(SCHEMAS)).default('run'))
    .action(
      action(async (context, which: keyof typeof SCHEMAS) => {
        const json = z.toJSONSchema(SCHEMAS[which], { io: 'input', unrepresentable: 'any' });
        context.print(json, visibleJson(json, 2).split('\n'));
        return EXIT.done;
      }),
    );
}

/** `input` may be given several times. */
function fieldsOf(given: readonly string[] = []): Fields {
  const inputs = given.filter((text) => text.startsWith('input=')).map((text) => text.slice('input='.length));
  const named: Record<string, unknown> = pairs('--field', given);
  if (inputs.length > 1) named.input = inputs;
  if (inputs.includes('')) throw new UsageError('--field input=: expected field=value.');
  return checkSpec(named, Fields, '--field');
}

function reportLines(report: FileReport, context: Context): string[] {
  const { file, kind, rows, invalid, reasons, uses, unused, missingRationales, duplicates, suggested } = report;
  const means = {
    instruction: report.meanInstructionChars,
    rationale: report.meanRationaleChars,
    answer: report.meanAnswerChars,
  };
  const shown = Object.entries(means).filter(([, chars]) => chars > 0);
  return [
    line('file', file),
    line('kind', kind),
    line('rows', invalid > 0 ? `${rows}, and ${invalid} that cannot be used` : `${rows}`),
    ...reasons
      .slice(0, 20)
      .map(({ reason, rows, line: at }) =>
        line('', visible(`${rows} x ${reason}${at === null ? '' : ` (first at line ${at})`}`)),
      ),
    ...Object.entries(uses).map(([part, names]) => line(PART_NAMES[part] ?? part, visible(list(names)))),
    ...(unused.length > 0 ? [line('not used', visible(list(unused)))] : []),
    ...(missingRationales > 0
      ? [line('no rationale', `${missingRationales} (the model writes them before round 0)`)]
      : []),
    ...(duplicates > 0 ? [line('duplicates', `${duplicates} (rows that ask what an earlier row asks)`)] : []),
    ...(shown.length > 0
      ? [line('mean length', `${shown.map(([name, chars]) => `${name} ${chars}`).join(', ')} characters`)]
      : []),
    ...sampleLines(report, context.width),
    ...(suggested ? suggestion(report, suggested) : invalid > 0 && rows > 0 ? [SKIP] : []),
  ];
}

const PART_NAMES: Record<string, string> = { before: 'earlier turns' };
const SKIP = 'A run refuses such rows. skipInvalid: true beside `path` in the spec leaves them out, and counts them.';

const line = (name: string, text: string) => `${name.padEnd(15)} ${text}`;
const list = (names: readonly string[]) =>
  names.length > 12 ? `${names.slice(0, 12).join(', ')} and ${names.length - 12} more` : names.join(', ');

/** Quoted, so that spaces and line breaks are seen. */
const quoted = (text: string) => visible(JSON.stringify(text));

function tokenLines(tokens: TokenReport, rows: number): string[] {
  const { prompt, whole, leftOut, cut, maxLength, first } = tokens;
  const share = (count: number) => `${count} of ${tokens.rows} rows (${((100 * count) / tokens.rows).toFixed(1)} %)`;
  const spread = ({ median, most, longest }: { median: number; most: number; longest: number }) =>
    `median ${median}, 95 % at most ${most}, longest ${longest}`;
  return [
    ...(tokens.rows < rows ? [line('tokens of', `the first ${tokens.rows} rows`)] : []),
    ...(whole ? [line('tokens', `${spread(whole)} (prompt and reply)`)] : []),
    ...(prompt ? [line('prompt tokens', spread(prompt))] : []),
    ...(leftOut > 0 ? [line('left out', `${share(leftOut)}: their replies do not fit maxLength ${maxLength}`)] : []),
    ...(cut > 0 ? [line('cut', `${share(cut)}: longer than maxLength ${maxLength}, they lose their beginning`)] : []),
    ...(first ? lossLines(first) : []),
  ];
}

const lossLines = ({ tokens, promptTokens, promptEnds, replyBegins, replyEnds }: NonNullable<TokenReport['first']>) => [
  line('the loss begins', `after token ${promptTokens} of ${tokens}: ${quoted(promptEnds)} | ${quoted(replyBegins)}`),
  line('and ends with', quoted(replyEnds)),
];

/** The first row, as the model reads and writes it. */
function sampleLines({ sample }: FileReport, width: number): string[] {
  if (!sample) return [];
  const turns = [...sample.prompt, ...(sample.reply === null ? [] : [{ role: 'reply', content: sample.reply }])];
  return ['', 'the first row:', ...turns.flatMap(({ role, content }) => turnLines(role, content, width)), ''];
}

function turnLines(role: string, content: string, width: number): string[] {
  const lines = content.split('\n').flatMap((text) => (text.trim() === '' ? [''] : wrap(text, width - 13)));
  const kept = lines.length > SAMPLE_LINES ? [...lines.slice(0, SAMPLE_LINES - 1), clip('...', width)] : lines;
  return kept.map((text, i) => `  ${(i === 0 ? role : '').padEnd(10)} ${text}`.trimEnd());
}

function suggestion({ file, kind }: FileReport, fields: Fields): string[] {
  const as = kind === 'examples' ? '' : ` --as ${kind}`;
  return [
    'With these fields the rows can be read. Here, and in the spec:',
    `  ${checkCommand(file, fields, as)}`,
    `  fields: ${fieldsYaml(fields)}`,
  ];
}
