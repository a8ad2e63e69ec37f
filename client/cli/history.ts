/** What happened to a run, from its histories: `srlm history` tells it, `srlm audit export` writes it down. */
import { existsSync, readdirSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { resolve } from 'node:path';
import type { Client } from '@temporalio/client';
import type { Command } from 'commander';
import { exportRun } from '../../audit/export.js';
import { loadRun } from '../../audit/load.js';
import { Records } from '../../audit/records.js';
import { tell } from '../../audit/tell.js';
import { renderAccount } from '../../audit/text.js';
import { Problem } from '../../contracts/errors.js';
import { ArtifactStore } from '../../storage/store.js';
import { action, type Context, EXIT, UsageError } from './context.js';

export function addHistoryCommands(program: Command): void {
  program
    .command('history')
    .description('what happened to a run: steps, attempts, reuse, interventions, gates')
    .argument('<run>', 'id of the run')
    .action(
      action(async (context, runId: string) => {
        const { artifactRoot, engines } = await context.deployment();
        const account = await withoutTemporal(context, async (temporal) => {
          const histories = await loadRun(temporal, artifactRoot, runId);
          const store = ArtifactStore.open(artifactRoot);
          return tell(histories, await Records.read(store, engines, histories, 'where some were found'));
        });
        const width = process.stdout.isTTY ? (process.stdout.columns || 80) - 1 : 120;
        context.print(account, context.json ? [] : renderAccount(account, width));
        return EXIT.done;
      }),
    );

  const audit = program.command('audit').description('what is kept of runs when Temporal has forgotten them');
  audit
    .command('export')
    .description('histories, spec, step records and account of a run as files')
    .argument('<run>', 'id of the run')
    .requiredOption('--out <folder>', 'where to')
    .option('--force', 'replace an export that is there')
    .action(
      action(async (context, runId: string, { out, force = false }: { out: string; force?: boolean }) => {
        const folder = resolve(out);
        if (!force && existsSync(folder) && readdirSync(folder).length > 0)
          throw new UsageError(`--out ${out}: the folder is not empty. Choose another, or add --force.`);
        const { artifactRoot, engines } = await context.deployment();
        const store = ArtifactStore.open(artifactRoot);
        const by = `${userInfo().username}@${hostname()}`;
        const run = await withoutTemporal(context, (temporal) =>
          exportRun({ temporal, store, engines, workflowId: runId, by, replace: force }, folder),
        );
        const files = run.workflows.filter(({ file }) => file !== null).length;
        context.print(run, [
          `${runId}: ${files} ${files === 1 ? 'history' : 'histories'} and ${run.records} step records are in ${out}.`,
          ...(run.exported.note ? [run.exported.note] : []),
        ]);
        return EXIT.done;
      }),
    );
}

/** With Temporal where it answers; without it, what runs have exported by themselves. */
async function withoutTemporal<T>(context: Context, work: (temporal: Client | null) => Promise<T>): Promise<T> {
  const client = await context.connect().catch((error: unknown) => {
    if (error instanceof Problem && error.type === 'temporal.unreachable') return error;
    throw error;
  });
  if (!(client instanceof Problem)) return work(client.temporal);
  return work(null).catch((error: unknown) => {
    // Whether there is such a run, only Temporal could have said.
    throw error instanceof Problem && error.type === 'run.unknown' ? client : error;
  });
}
