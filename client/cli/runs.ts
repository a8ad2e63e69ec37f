/** Commands about runs that are there: watch, status, list, retry, abort. */
import type { Command } from 'commander';
import { action, EXIT, patiently, untilInterrupted } from './context.js';
import { exitOf, follow, printResult } from './follow.js';
import { renderRun, roundsTable } from './render.js';
import { duration, table } from './text.js';

const NO_WORKER =
  'No worker has answered yet; it takes one that runs workflows (`srlm up` or `srlm worker`). Waiting ...';

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
        context.print(status, [...tree, ...rounds]);
        return exitOf(status);
      }),
    );

  program
    .command('list')
    .description('all runs, newest first')
    .action(
      action(async (context) => {
        const client = await context.connect();
        const runs = (await client.list()).sort((a, b) => b.startedAt.localeCompare(a.startedAt));
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
        if (runs.length === 0) context.say('There are no runs yet. Start one with: srlm start SPEC');
        return EXIT.done;
      }),
    );

  program
    .command('retry')
    .description('go on from the parked step of a run')
    .argument('<run>', 'id of the run')
    .option('--why <text>', 'kept in the history', '')
    .action(
      action(async (context, runId: string, options: { why: string }) => {
        const client = await context.connect();
        const { step } = await patiently(context, NO_WORKER, client.retry(runId, options.why));
        context.print({ runId, step }, [`${runId}: ${step} is tried again.`]);
        context.say(`Follow it with:  srlm watch ${runId}`);
        return EXIT.done;
      }),
    );

  program
    .command('abort')
    .description('end a run where it is; everything it made is kept')
    .argument('<run>', 'id of the run')
    .option('--why <text>', 'kept in the history of a parked run', '')
    .action(
      action(async (context, runId: string, options: { why: string }) => {
        const client = await context.connect();
        const before = await client.status(runId);
        if (before.endedAt) {
          context.print({ runId, state: before.state }, [`${runId} has ended already (${before.state}).`]);
          return EXIT.done;
        }
        const ended = patiently(context, NO_WORKER, client.abort(runId, options.why));
        await untilInterrupted('The run has been told to end, and ends as soon as a worker is there.', ended);
        const { state } = await client.status(runId);
        context.print({ runId, state }, [`${runId} is ended (${state}). Everything it made is kept.`]);
        return EXIT.done;
      }),
    );
}
