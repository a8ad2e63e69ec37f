/** What happened to a run, from the histories of its executions: `srlm history` shows it, `srlm audit export` writes it. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { exportOf } from '../../audit/bundle.js';
import { readEvals, renderEvals } from '../../audit/evals.js';
import { exportRun } from '../../audit/export.js';
import { buildTimeline } from '../../audit/history-reader.js';
import { loadRun, type Origin } from '../../audit/load.js';
import { renderTimeline } from '../../audit/render-timeline.js';
import { lazyClient } from '../../config/connection.js';
import { fileNotWritable, Problem } from '../../contracts/errors.js';
import { refusalCode } from '../../storage/files.js';
import { readableStore } from '../../storage/store.js';
import { operator } from '../operator.js';
import { action, type Context, EXIT, runName, UsageError } from './context.js';

export function addHistoryCommands(program: Command): void {
  program
    .command('history')
    .description('show what happened to a run: steps, attempts, reuse, interventions, gates')
    .argument('<run>', 'id of the run', runName)
    .action(
      action(async (context, runId: string) => {
        const { artifactRoot } = await context.deployment();
        const timeline = await withoutTemporal(context, async (origin) =>
          buildTimeline(await loadRun({ ...origin, root: artifactRoot }, runId)),
        );
        const evals = await readEvals(exportOf(artifactRoot, timeline.run, timeline.firstRunId));
        const filed = evals.length > 0 ? ['', 'evaluated by other tools', ...renderEvals(evals)] : [];
        context.print(timeline, context.json ? [] : [...renderTimeline(timeline, context.width), ...filed]);
        return EXIT.done;
      }),
    );

  const audit = program.command('audit').description('keep what Temporal deletes after a while');
  audit
    .command('export')
    .description('write the histories, spec and timeline of a run to files')
    .argument('<run>', 'id of the run', runName)
    .requiredOption('--out <folder>', 'folder to write to')
    .option('--force', 'replace an export that is there')
    .action(
      action(async (context, runId: string, { out, force = false }: { out: string; force?: boolean }) => {
        const folder = resolve(out);
        const store = readableStore(await context.deployment());
        const run = await writing(out, async () => {
          if (existsSync(folder) && !statSync(folder).isDirectory())
            throw new UsageError(`--out ${out}: this is not a folder. Choose another.`);
          if (!force && existsSync(folder) && readdirSync(folder).length > 0)
            throw new UsageError(`--out ${out}: the folder is not empty. Choose another, or add --force.`);
          return withoutTemporal(context, (origin) =>
            exportRun({ ...origin, store, workflowId: runId, by: operator() }, folder),
          );
        });
        const files = run.executions.filter(({ file }) => file !== null).length;
        const histories = `${files} ${files === 1 ? 'history' : 'histories'}`;
        context.print(run, [
          `${runId}: ${histories} and the keys of ${run.records.length} step records are in ${out}.`,
          ...(run.exported.note ? [run.exported.note] : []),
        ]);
        return EXIT.done;
      }),
    );
}

/** Throws file.not-writable for what the file system says of `out`. */
async function writing<T>(out: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { path, syscall } = error as NodeJS.ErrnoException;
    if (syscall !== 'write' && !path?.startsWith(resolve(out))) throw error;
    throw fileNotWritable(out, `the folder cannot be written (${refusalCode(error)})`);
  }
}

/** From Temporal where it answers; without it, from what runs have exported by themselves. */
async function withoutTemporal<T>(
  context: Context,
  work: (origin: Pick<Origin, 'temporal' | 'decoding'>) => Promise<T>,
): Promise<T> {
  const client = await context.connect().catch((error: unknown) => {
    if (error instanceof Problem && error.type === 'temporal.unreachable') return error;
    throw error;
  });
  if (!(client instanceof Problem)) return work({ temporal: client.temporal, decoding: client.temporal.options });
  const { options } = lazyClient(await context.deployment());
  return work({ temporal: null, decoding: options }).catch((error: unknown) => {
    // Only Temporal can say that there is no such run.
    throw error instanceof Problem && error.type === 'run.unknown' ? client : error;
  });
}
