/** srlm catalyst check: what is in a file of catalysts, and what of it must be fixed (exit code 2). Needs no Temporal. */
import type { Command } from 'commander';
import { Fields } from '../../contracts/spec.js';
import type { Finding, Lengths } from '../../method/catalysts/measure.js';
import { clip } from '../../text/columns.js';
import { printable } from '../../text/text.js';
import type { CatalystReport } from '../catalyst-check.js';
import { checkSpec } from '../spec-file.js';
import { action, collect, EXIT, pairs, patiently } from './context.js';

interface CheckOptions {
  data?: string;
  evaluation?: string;
  field?: string[];
}

export function addCatalystCheck(group: Command): void {
  group
    .command('check')
    .description('report skills, lengths, duplicates, answers given away and overlap of a file of catalysts')
    .argument('<file>', 'JSONL, a JSON list, CSV, TSV or Parquet, also as .gz or .zst')
    .option('--data <file>', 'training data to compare with')
    .option('--evaluation <file>', 'held-out questions to compare with')
    .option('--field <name=field>', 'name of a field in the file of catalysts; may be repeated', collect)
    .action(
      action(async (context, file: string, { data, evaluation, field }: CheckOptions) => {
        const fields = checkSpec(pairs('--field', field), Fields, '--field');
        const { checkCatalystFile, mustFix } = await import('../catalyst-check.js');
        const reading = checkCatalystFile({ file, fields, training: data, evaluation }, process.cwd());
        const report = await patiently(context, `Reading ${file} ...`, reading);
        for (const fault of report.faults) context.say(printable(fault));
        const isAccepted = !mustFix(report);
        context.print({ ...report, accepted: isAccepted }, reportLines(report, isAccepted, context.width));
        return isAccepted ? EXIT.done : EXIT.wrongInput;
      }),
    );
}

const line = (name: string, text: string) => `${name.padEnd(15)} ${text}`;
const spread = ({ median, shortest, longest }: Lengths) => `median ${median}, ${shortest} to ${longest} characters`;

function reportLines(report: CatalystReport, isAccepted: boolean, width: number): string[] {
  const { file, catalysts, skills, withoutSkills, invalid, findings, trainingRows, evaluationRows } = report;
  const compared = [
    ...(trainingRows === null ? [] : [`${trainingRows} rows of training data`]),
    ...(evaluationRows === null ? [] : [`${evaluationRows} questions of the evaluation`]),
  ];
  return [
    line('file', printable(file)),
    line('catalysts', `${catalysts}${invalid > 0 ? `; ${invalid} rows cannot be used` : ''}`),
    ...Object.entries(skills).map(([skill, count], i) => line(i === 0 ? 'skills' : '', `${skill} ${count}`)),
    ...(withoutSkills > 0 ? [line('', `none ${withoutSkills}`)] : []),
    line('short', spread(report.rationaleChars)),
    line('enriched', spread(report.enrichedChars)),
    ...(compared.length > 0 ? [line('compared with', compared.join(', '))] : []),
    ...findings.flatMap((finding) => findingLines(finding, width)),
    '',
    isAccepted
      ? 'Nothing has to be fixed.'
      : 'What is marked ! has to be fixed: edit the file, or drop rows with `srlm catalyst review`.',
  ];
}

function findingLines({ what, catalysts, mustFix, worst }: Finding, width: number): string[] {
  return [
    '',
    `${mustFix ? '!' : '-'} ${catalysts} ${catalysts === 1 ? 'catalyst' : 'catalysts'}: ${what}`,
    ...worst.map(({ id, detail, text }) =>
      clip(`    ${printable(id)}${detail ? ` (${printable(detail)})` : ''}: ${printable(text)}`, width),
    ),
  ];
}
