/** srlm export: the data that a round trained on, and its model, as a folder. Needs no worker. Throws run.no-model. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { fileNotWritable, runHasNoModel } from '../../contracts/errors.js';
import { RunInput } from '../../contracts/run.js';
import { joinRunSpec, type RunSpec, SpecTexts } from '../../contracts/spec.js';
import type { SrlmClient } from '../client.js';
import { argumentsOf, describe } from '../executions.js';
import { exportData, notEmpty } from '../export-data.js';
import { bestModel } from './ask.js';
import { action, EXIT, MAX_ROUND, number, patiently, runName } from './context.js';
import { roundOf } from './show.js';

interface ExportOptions {
  out: string;
  round?: number;
  model?: boolean;
}

export function addExportCommand(program: Command): void {
  program
    .command('export')
    .description('write the enriched data of a run to a folder that `datasets.load_dataset` opens')
    .argument('<run>', 'id of the run', runName)
    .requiredOption('--out <folder>', 'a new or empty folder')
    .option('--round <n>', 'a finished round (default: by the final of its spec)', number('--round', 0, MAX_ROUND))
    .option('--model', 'with the model of that round')
    .action(
      action(async (context, runId: string, { out, round: n, model: withModel = false }: ExportOptions) => {
        assertFree(out);
        const client = await context.connect();
        const spec = await specOf(client, runId);
        const round = await roundOf(client, runId, n ?? (await finalRound(client, runId)));
        const { interventions } = await client.status(runId);
        const writing = exportData(client.store, { runId, round, spec, interventions, withModel }, out);
        const files = await patiently(context, `Writing ${out} ...`, writing);
        const { rows, enriched } = round.set;
        context.print({ runId, round: round.round, out, files, rows, enriched }, [
          `${out}: ${rows} rows of round ${round.round}, ${enriched} of them enriched${withModel ? ', and its model' : ''}`,
        ]);
        context.say(`Open it in Python:  datasets.load_dataset(${JSON.stringify(out)}, split="train")`);
        return EXIT.done;
      }),
    );
}

/** Before anything is read. Throws file.not-writable. */
function assertFree(out: string): void {
  const folder = resolve(out);
  if (!existsSync(folder)) return;
  if (!statSync(folder).isDirectory()) throw fileNotWritable(out, 'it is not a folder', 'folder');
  if (readdirSync(folder).length > 0) throw notEmpty(out);
}

/** The round of the model that `srlm ask` asks. */
async function finalRound(client: SrlmClient, runId: string): Promise<number | undefined> {
  const { sha256 } = await bestModel(client, runId);
  const { rounds } = await client.status(runId);
  return rounds.findLast(({ model }) => model.sha256 === sha256)?.round;
}

/** As the run was started. */
export async function specOf(client: SrlmClient, runId: string): Promise<RunSpec> {
  const described = await describe(client.temporal, runId);
  if (described.type !== 'srlmRun')
    throw runHasNoModel(
      runId,
      described.type === 'srlmSample'
        ? 'is a sample run; `srlm sample --out` writes its texts'
        : 'builds catalysts; `srlm catalyst build --out` writes them',
    );
  const input = RunInput.safeParse((await argumentsOf(client.temporal, described))[0]).data;
  if (!input) throw runHasNoModel(runId, 'was started by another version of srlm');
  return joinRunSpec(input.settings, await client.store.objects.readJson(input.texts, SpecTexts));
}
