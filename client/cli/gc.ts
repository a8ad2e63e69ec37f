/** srlm gc: what the store holds, by run, and what nothing needs; with --yes that is removed. Throws run.refused, run.unknown. */
import type { Command } from 'commander';
import { shellWord } from '../../contracts/errors.js';
import { openStore, readableStore } from '../../storage/store.js';
import { table } from '../../text/columns.js';
import { ALL_TYPES, listExecutions } from '../executions.js';
import { executionsOf, findGarbage, type Garbage, removeGarbage } from '../gc.js';
import { asListing, listStudies } from '../study/look.js';
import { action, collect, EXIT, number, patiently } from './context.js';

interface GcCommandOptions {
  forget?: string[];
  deleted?: boolean;
  hours: number;
  yes?: boolean;
}

const READING = 'Reading the histories of all runs ...';

export function addGcCommand(program: Command): void {
  program
    .command('gc')
    .description('show what the store holds by run, and free what no run needs')
    .option('--forget <run>', 'a run that nothing is kept for; may be repeated', collect)
    .option('--deleted', 'forget runs that Temporal has deleted; not where another Temporal uses the store')
    .option('--hours <n>', 'keep what was used within so many hours', number('--hours', 1, 8760), 24)
    .option('--yes', 'free it; without, nothing is changed')
    .action(
      action(async (context, { forget = [], deleted: forgetDeleted = false, hours, yes = false }: GcCommandOptions) => {
        const deployment = await context.deployment();
        const client = await context.connect();
        const { root } = yes ? openStore(deployment) : readableStore(deployment);
        const { temporal } = client;
        const listed = [...(await client.list()), ...(await listStudies(temporal)).map(asListing)];
        const isListed = new Set(listed.map(({ runId }) => runId));
        const isWanted = (id: string) => !forget.includes(id) && (isListed.has(id) || !forgetDeleted);
        const origin = { temporal, decoding: temporal.options, root };
        const executions = executionsOf(origin, listExecutions(temporal, ALL_TYPES), isWanted);
        const options = { forget, forgetDeleted, hours };
        const finding = findGarbage(root, { listed, executions }, options);
        const garbage = await patiently(context, READING, finding);
        const freedBytes = yes ? await removeGarbage(root, garbage) : 0;
        const { runs, bytes, items } = garbage;
        context.print({ runs, items: items.length, bytes, freed: yes, freedBytes }, lines(garbage, yes, freedBytes));
        if (forget.length > 0 || forgetDeleted)
          context.say(`What was used within ${hours} h, or since a run that is running began, is kept (--hours).`);
        if (!yes && bytes > 0)
          context.say(`Nothing is changed yet. To free it:  ${again(forget, forgetDeleted, hours)}`);
        return EXIT.done;
      }),
    );
}

function lines({ runs, items, bytes }: Garbage, yes: boolean, freedBytes: number): string[] {
  const rows = runs.map(({ runId, state, forgotten, modelBytes, otherBytes, freedBytes: freed }) => [
    ...[runId, forgotten ? 'forgotten' : (state ?? 'not in Temporal')],
    ...[size(modelBytes), size(otherBytes), size(freed)],
  ]);
  const sum = yes ? `${size(freedBytes)} are freed.` : `${size(bytes)} in ${items.length} items are needed by no run.`;
  return [...table(['run', 'state', 'models', 'other', 'not needed'], rows), ...(rows.length > 0 ? [''] : []), sum];
}

function again(forget: readonly string[], deleted: boolean, hours: number): string {
  const named = forget.map((run) => ` --forget ${shellWord(run)}`).join('');
  return `srlm gc${named}${deleted ? ' --deleted' : ''}${hours === 24 ? '' : ` --hours ${hours}`} --yes`;
}

function size(bytes: number): string {
  if (bytes < 1e6) return `${Math.ceil(bytes / 1e3)} kB`;
  return bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
