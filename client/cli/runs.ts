/** Commands that look at runs: watch, status, list. */
import type { Command } from 'commander';
import { action, EXIT } from './context.js';
import { exitOf, follow, printResult } from './follow.js';
import { renderRun, roundsTable, spentTable } from './render.js';
import { duration, table } from './text.js';
import { toRead } from './to-read.js';

export function addRunCommands(program: Command): void {
  program
    .command('watch')
    .description('follow a run until it ends or parks')
    .argument('<run>', 'id of the run')
    .action(
      action(async (context, runId: string) => {
        const client = await context.connect();
        const status = await follow(context, client, runId);
        await printResult(context, client, status);
        return exitOf(status);
      }),
    );

  program
    .command('status')
    .description('how a run stands, and why it is parked if it is')
    .argument('<run>', 'id of the run')
    .action(
      action(async (context, runId: string) => {
        const client = await context.connect();
        const status = await client.status(runId);
        const width = process.stdout.isTTY ? (process.stdout.columns || 80) - 1 : 120;
        const tree = renderRun(status, { width, color: context.colorOut, now: Date.now() });
        const rounds = status.summaries.length > 0 ? ['', ...roundsTable(status.summaries)] : [];
        const spent = spentTable(status);
        const reading = status.waiting ? await toRead(client, status.waiting, width) : [];
        context.print(status, [...tree, ...rounds, ...(spent.length > 0 ? ['', ...spent] : []), ...reading]);
        return exitOf(status);
      }),
    );

  program
    .command('list')
    .description('all runs, newest first')
    .option('--parked', 'only those that wait for somebody: parked, or for an approval')
    .action(
      action(async (context, options: { parked?: boolean }) => {
        const client = await context.connect();
        const all = (await client.list()).sort((a, b) => b.startedAt.localeCompare(a.startedAt));
        const runs = options.parked ? all.filter(({ state }) => state === 'parked' || state === 'waiting') : all;
        const rows = runs.map(({ runId, kind, state, round, rounds, step, startedAt, endedAt }) => [
          runId,
          kind,
          state,
          round === null ? '-' : `${round} of ${rounds}`,
          (!endedAt && step) || '-',
          startedAt.slice(0, 16).replace('T', ' '),
          duration(((endedAt ? Date.parse(endedAt) : Date.now()) - Date.parse(startedAt)) / 1000),
        ]);
        context.print(runs, table(['run', 'kind', 'state', 'round', 'step', 'started (UTC)', 'time'], rows));
        if (all.length === 0) context.say('There are no runs yet. Start one with: srlm start SPEC');
        return EXIT.done;
      }),
    );
}
