/** Commands that need no Temporal: data check (reads a file as a run would) and schema. */
import { Argument, type Command, Option } from 'commander';
import { z } from 'zod';
import { Deployment } from '../../contracts/deployment.js';
import { Fields, RunSpec, SampleSpec } from '../../contracts/spec.js';
import { DataKind } from '../../contracts/steps.js';
import { visibleJson } from '../../text/text.js';
import { checkSpec } from '../spec-file.js';
import { action, collect, EXIT, pairs, patiently } from './context.js';

const SCHEMAS = { run: RunSpec, sample: SampleSpec, config: Deployment } as const;

export function addDataCommands(program: Command): void {
  program
    .command('data')
    .description('check data files')
    .command('check')
    .description('read a file as a run would, and report what is in it')
    .argument('<file>', 'JSONL or a JSON array, plain or .gz')
    .addOption(new Option('--as <kind>', 'what it is for').choices([...DataKind.options]).default('examples'))
    .option('--field <name=field>', 'name of a field in your file, such as answer=solution; may be repeated', collect)
    .action(
      action(async (context, file: string, options: { as: DataKind; field?: string[] }) => {
        const fields = checkSpec(pairs('--field', options.field), Fields, '--field');
        const { checkFile } = await import('../preflight.js');
        const reading = checkFile(options.as, { path: file, fields }, process.cwd());
        const report = await patiently(context, `Reading ${file} ...`, reading);
        for (const warning of report.warnings) context.say(`warning: ${file}: ${warning}.`);
        const { rows, missingRationales, meanInstructionChars, meanRationaleChars, meanAnswerChars } = report;
        const means = { instruction: meanInstructionChars, rationale: meanRationaleChars, answer: meanAnswerChars };
        const shown = Object.entries(means).filter(([, chars]) => chars > 0);
        context.print(report, [
          `file            ${file}`,
          `kind            ${options.as}`,
          `rows            ${rows}`,
          ...(missingRationales > 0
            ? [`no rationale    ${missingRationales} (the model writes them before round 0)`]
            : []),
          `mean length     ${shown.map(([name, chars]) => `${name} ${chars}`).join(', ')} characters`,
        ]);
        return EXIT.done;
      }),
    );

  program
    .command('schema')
    .description('print the JSON Schema of a run spec, a sample spec or temporal.config')
    .addArgument(new Argument('[which]', 'of what').choices(Object.keys(SCHEMAS)).default('run'))
    .action(
      action(async (context, which: keyof typeof SCHEMAS) => {
        const json = z.toJSONSchema(SCHEMAS[which], { io: 'input', unrepresentable: 'any' });
        context.print(json, visibleJson(json, 2).split('\n'));
        return EXIT.done;
      }),
    );
}
