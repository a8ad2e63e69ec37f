/** Commands that look at runs: watch, status, list. */
import type { Command } from 'commander';
import { Catalyst, Example } from '../../contracts/rows.js';
import { codeFailureText, type Waiting } from '../../contracts/run.js';
import type { Store } from '../../storage/store.js';
import { table, wrap } from '../../text/columns.js';
import { hasColor } from '../../text/terminal.js';
import { duration, printable } from '../../text/text.js';
import { otherConfigs } from '../other-config.js';
import { action, EXIT, exitOf, runName } from './context.js';
import { comparisonsTable, setsTable } from './report-lines.js';
import { countLines, roundsTable, usageTable } from './tables.js';
import { renderRun } from './tree.js';
import { watchTable } from './watch-table.js';

export function addRunCommands(program: Command): void {
  program
    .command('watch')
    .description('follow a run until it ends or parks')
    .argument('<run>', 'id of the run', runName)
    .action(
      action(async (context, runId: string) => {
        const { follow, printResult } = await import('./follow.js');
        const client = await context.connect();
        const status = await follow(context, client, runId);
        await printResult(context, client, status);
        return exitOf(status);
      }),
    );

  program
    .command('status')
    .description("show a run's status, and why it is parked if it is")
    .argument('<run>', 'id of the run', runName)
    .action(
      action(async (context, runId: string) => {
        const client = await context.connect();
        const status = await client.status(runId);
        const { width, json } = context;
        if (!status.endedAt) status.warnings.push(...(await otherConfigs(client.temporal, client.deployment)));
        const { halt, rounds } = status;
        const parts = [
          renderRun(status, { width, color: hasColor(process.stdout), now: Date.now() }),
          rounds.length > 0 ? roundsTable(rounds) : [],
          setsTable(status),
          comparisonsTable(status),
          watchTable(rounds, width),
          countLines(status),
          usageTable(status),
        ];
        const lines = parts.filter((part) => part.length > 0).flatMap((part, i) => (i === 0 ? part : ['', ...part]));
        const review = halt?.kind === 'waiting' && !json ? await reviewLines(client.store, halt, width) : [];
        context.print(status, [...lines, ...review]);
        return exitOf(status);
      }),
    );

  program
    .command('list')
    .description('list all runs, newest first')
    .option('--parked', 'only those that need an answer: parked, or waiting for approval')
    .action(
      action(async (context, options: { parked?: boolean }) => {
        const client = await context.connect();
        const all = (await client.list()).sort((a, b) => b.startedAt.localeCompare(a.startedAt));
        const runs = options.parked ? all.filter(({ state }) => state === 'parked' || state === 'waiting') : all;
        const rows = runs.map(({ runId, kind, state, round, lastRound, step, startedAt, endedAt }) => [
          ...[runId, kind, state, round === null ? '-' : `${round} of ${lastRound}`, (!endedAt && step) || '-'],
          startedAt.slice(0, 16).replace('T', ' '),
          duration(((endedAt ? Date.parse(endedAt) : Date.now()) - Date.parse(startedAt)) / 1000),
        ]);
        const failing = runs.flatMap(({ runId, codeFailure }) =>
          codeFailure ? [`! ${runId}: ${codeFailureText(codeFailure)}`] : [],
        );
        context.print(runs, [
          ...table(['run', 'kind', 'state', 'round', 'step', 'started (UTC)', 'time'], rows),
          ...(failing.length > 0 ? ['', ...failing] : []),
        ]);
        const undecoded = runs.filter((run) => run.undecoded);
        if (undecoded.length > 0)
          context.say(`${undecoded.map(({ runId }) => runId).join(', ')}: ${undecoded[0]!.undecoded}`);
        if (options.parked && all.length > 0 && runs.length === 0)
          context.say('No run is parked or waiting for approval.');
        if (all.length === 0) context.say('There are no runs yet. Start one with: srlm start SPEC');
        return EXIT.done;
      }),
    );
}

// --- review -----------------------------------------------------------------------------------------------------------
const SHOWN = 3;

/** What to read before an approval: some catalysts, or some of the rows to train on that were enriched. */
async function reviewLines(store: Store, { approval, data }: Waiting, width: number): Promise<string[]> {
  if (!data) return [];
  const shown: Record<string, string>[] = [];
  if (approval === 'catalysts') {
    for await (const { instruction, rationale, enriched } of store.datasets.rows(data, Catalyst)) {
      shown.push({ question: instruction, short: rationale, enriched });
      if (shown.length === SHOWN) break;
    }
  } else {
    for await (const { instruction, original, rationale, answer, origin } of store.datasets.rows(data, Example)) {
      if (!origin) continue;
      shown.push({ question: instruction, before: original ?? '', now: rationale, answer });
      if (shown.length === SHOWN) break;
    }
  }
  return shown.flatMap((row) => ['', ...Object.entries(row).flatMap(([name, text]) => paragraph(name, text, width))]);
}

const paragraph = (name: string, text: string, width: number): string[] =>
  wrap(printable(text), width - 10).map((line, i) => `${(i === 0 ? name : '').padEnd(10)}${line}`);
