/**
 * srlm curves: accuracy against the number of samples and the depth, of a round whose evaluation drew samples. From what
 * is stored, without a request. Throws run.unknown, run.no-model, artifact.damaged, file.not-writable.
 */
import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { CurvesReport } from '../../contracts/curves.js';
import { runHasNoModel } from '../../contracts/errors.js';
import type { RoundSummary } from '../../contracts/steps.js';
import { table } from '../../text/columns.js';
import { percent, visibleJson } from '../../text/text.js';
import type { SrlmClient } from '../client.js';
import { curveCells, curvesCsv, curvesSvg } from '../curves.js';
import { action, EXIT, MAX_ROUND, number, runName, UsageError } from './context.js';
import { fileMaker } from './output-file.js';
import { roundOf } from './show.js';

interface Options {
  round?: number;
  out?: string;
}

/** By the end of the file's name. */
const FORMS: Record<string, (report: CurvesReport, title: string) => string> = {
  '.svg': curvesSvg,
  '.csv': curvesCsv,
  '.json': (report) => `${visibleJson(report, 2)}\n`,
};

export function addCurvesCommand(program: Command): void {
  program
    .command('curves')
    .description('show accuracy against the number of samples and of enrichments, of a round')
    .argument('<run>', 'id of the run', runName)
    .option('--round <n>', 'a finished round (default: the newest that has curves)', number('--round', 0, MAX_ROUND))
    .option('--out <file>', 'write a plot (.svg) or all numbers (.csv, .json)')
    .action(
      action(async (context, runId: string, { round: n, out }: Options) => {
        const write = out === undefined ? null : await writer(out);
        const client = await context.connect();
        const round = n === undefined ? await newest(client, runId) : await roundOf(client, runId, n);
        if (!round.curves)
          throw runHasNoModel(
            runId,
            `drew no samples in the evaluation of round ${round.round}: set evaluation.samples or evaluation.enrich`,
          );
        const report = await client.store.objects.readJson(round.curves, CurvesReport);
        const title = `${runId} · round ${round.round} · ${report.questions} questions`;
        await write?.(report, title);
        const { head, rows } = curveCells(report);
        context.print({ runId, round: round.round, ...report }, [
          `${title} · ${samplesText(report)} · greedy reply ${percent(report.greedy)} %`,
          '',
          ...table(head, rows),
          '',
          'In %, with the standard error over the questions; expected over all ways to take N of the samples.',
          ...report.depths.map(
            ({ depth, replies, changed, silent }) =>
              `depth ${depth}: ${depth === 0 ? '' : `${changed} of ${replies} replies changed, `}${silent} of ${replies} without an answer`,
          ),
          ...(out === undefined ? [] : ['', `Written: ${out}`]),
        ]);
        return EXIT.done;
      }),
    );
}

const samplesText = ({ samples, temperature }: CurvesReport): string =>
  samples === 1 ? 'one greedy sample' : `${samples} samples at temperature ${temperature}`;

/** The newest round that has curves; where none has, the newest. */
async function newest(client: SrlmClient, runId: string): Promise<RoundSummary> {
  const last = await roundOf(client, runId, undefined);
  if (last.curves) return last;
  const { rounds } = await client.status(runId);
  return rounds.findLast(({ curves }) => curves) ?? last;
}

async function writer(out: string): Promise<(report: CurvesReport, title: string) => Promise<void>> {
  const form = Object.entries(FORMS).find(([ending]) => out.toLowerCase().endsWith(ending))?.[1];
  if (!form) throw new UsageError(`--out ${out}: expected a name that ends in ${Object.keys(FORMS).join(', ')}.`);
  const make = await fileMaker(out);
  return (report, title) => make((temporary) => writeFile(temporary, form(report, title), { flush: true }));
}
