/**
 * srlm scores: the table of a round, and how far selectors agree on it. srlm reselect: what another selector would choose,
 * and with --train a run that trains on it. Neither sends a request. Throws run.unknown, run.no-model, artifact.damaged, file.not-writable.
 */
import type { Command } from 'commander';
import { ownSelectorOf } from '../../activities/own-selector.js';
import { runHasNoModel, shellWord } from '../../contracts/errors.js';
import { explain } from '../../contracts/issues.js';
import { SELECTORS, Selection } from '../../contracts/spec.js';
import { describeSelector } from '../../method/selectors/index.js';
import { table } from '../../text/columns.js';
import { percent, visibleJson } from '../../text/text.js';
import type { SrlmClient } from '../client.js';
import {
  agreement,
  type Chosen,
  type Difference,
  reselect,
  type ScoredLine,
  type ScoredRound,
  tableLines,
} from '../scores.js';
import { yamlValue } from '../spec-file.js';
import { action, EXIT, MAX_ROUND, number, patiently, runName, UsageError } from './context.js';
import { specOf } from './export.js';
import { fileMaker, fileWriter } from './output-file.js';
import { roundOf, textField } from './show.js';

const READING = 'Reading the table ...';

interface Options {
  round?: number;
  out?: string;
  selector: string;
  minGain?: number;
  train?: boolean;
}

export function addScoreCommands(program: Command): void {
  program
    .command('scores')
    .description('show how far the selectors agree on a round, and write its table of candidates and scores')
    .argument('<run>', 'id of the run', runName)
    .option('--round <n>', 'a finished round (default: the newest)', number('--round', 0, MAX_ROUND))
    .option('--out <file>', 'write the table, a line a rationale (.jsonl or .parquet)')
    .action(
      action(async (context, runId: string, { round: n, out }: Options) => {
        const write = out === undefined ? null : await tableWriter(out);
        const client = await context.connect();
        const { round, seed, selection } = await scored(client, runId, n);
        const written = write && (await patiently(context, READING, write(tableLines(client.store, round))));
        const known = SELECTORS.filter((name) => name !== 'judge' || selection.judge);
        const presets = new Map(known.map((name) => [name, { ...selection, selector: name, minGain: 0 }]));
        const found = await patiently(context, READING, agreement(client.store, round, presets, seed));
        const { names, chosen, same } = found;
        const rows = Math.max(1, round.set.rows);
        context.print({ runId, round: round.round, ...found }, [
          `round ${round.round} of ${runId} · ${round.set.rows} rows · as run: ${describeSelector(selection.selector)}`,
          '',
          ...table(
            ['selector', 'enriched', 'mean length', 'as run', 'not compared'],
            names.map((name, i) => [
              name,
              ...partsOf(chosen[i]!),
              `${percent(same[i]![0]! / rows)} %`,
              rest(chosen[i]!),
            ]),
          ),
          '',
          'Share of rows in which two choose the same, in %:',
          ...table(
            ['', ...names],
            names.map((name, i) => [name, ...same[i]!.map((count) => percent(count / rows))]),
          ),
          ...(written === null ? [] : ['', `${out}: ${written} lines, one a rationale`]),
        ]);
        return EXIT.done;
      }),
    );

  program
    .command('reselect')
    .description('show what another selector would choose in a round, without a request')
    .argument('<run>', 'id of the run', runName)
    .requiredOption('--selector <selector>', 'a name, or a score or a combination as in a spec')
    .option('--round <n>', 'a finished round (default: the newest)', number('--round', 0, MAX_ROUND))
    .option('--min-gain <x>', 'a rationale is replaced only for more than this', number('--min-gain', 0, 1e9, false))
    .option('--train', 'start a run that trains on it: a fork from that round')
    .action(
      action(async (context, runId: string, { round: n, selector, minGain, train = false }: Options) => {
        const own = selectionOf(selector, minGain);
        const client = await context.connect();
        const { round, seed, selection } = await scored(client, runId, n);
        const wanted = { ...selection, selector: own.selector, minGain: own.minGain };
        const ownFunction = ownSelectorOf(wanted, client.deployment);
        const reselecting = reselect(client.store, round, wanted, { seed, own: ownFunction });
        const found = await patiently(context, READING, reselecting);
        if (found.after.uncompared === found.after.rows)
          throw runHasNoModel(
            runId,
            `has not kept what ${describeSelector(own.selector)} reads: set selection.scores: all, or selection.judge for a judge`,
          );
        const { before, after, same, examples } = found;
        const set = { 'selection.selector': own.selector, 'selection.minGain': own.minGain };
        const started = train ? await client.fork(runId, { fromRound: round.round, set }) : null;
        context.print({ runId, round: round.round, selection: wanted, ...found, started: started?.runId ?? null }, [
          ...table(
            [`round ${round.round}`, 'enriched', 'mean length', 'not compared'],
            [
              [`as run (${describeSelector(selection.selector)})`, ...partsOf(before), rest(before)],
              [describeSelector(own.selector), ...partsOf(after), rest(after)],
            ],
          ),
          `${same} of ${after.rows} rows have the same rationale by both.`,
          ...examples.flatMap((one) => differenceLines(one, context.width)),
        ]);
        const gain = own.minGain === 0 ? '' : ` --min-gain ${own.minGain}`;
        const again = `${shellWord(runId)} --round ${round.round} --selector ${shellWord(selector)}${gain} --train`;
        context.say(
          started
            ? `Started ${started.runId}. Follow it with:  srlm watch ${shellWord(started.runId)}`
            : `Train on it:  srlm reselect ${again}`,
        );
        return EXIT.done;
      }),
    );
}

/** A round that has a table, and how it was made. */
async function scored(client: SrlmClient, runId: string, n: number | undefined) {
  const { seed, selection } = await specOf(client, runId);
  const round = await roundOf(client, runId, n);
  if (!round.decisions) throw runHasNoModel(runId, `has compared no candidates in round ${round.round}`);
  return { round: round as ScoredRound, seed, selection };
}

function selectionOf(text: string, minGain = 0): Selection {
  // Whether the round has asked a judge is seen in its table.
  const judge = { engine: 'judge' };
  const found = Selection.safeParse({ selector: yamlValue(text), minGain, judge }, { reportInput: true });
  if (found.success) return found.data;
  const { field, reason } = explain(found.error.issues[0]!);
  throw new UsageError(`--${field === 'minGain' ? 'min-gain' : field}: ${reason}.`);
}

/** By the end of the file's name. */
async function tableWriter(out: string): Promise<(lines: AsyncIterable<ScoredLine>) => Promise<number>> {
  if (out.endsWith('.parquet')) {
    const make = await fileMaker(out);
    return (lines) => make(async (temporary) => (await import('../scores-parquet.js')).writeParquet(temporary, lines));
  }
  const write = await fileWriter(out);
  return (lines) => write(jsonLines(lines));
}

async function* jsonLines(lines: AsyncIterable<ScoredLine>): AsyncGenerator<string> {
  for await (const line of lines) yield visibleJson(line);
}

const partsOf = ({ rows, enriched, chars }: Chosen) => [
  `${enriched}/${rows}`,
  `${Math.round(chars / Math.max(1, rows))} chars`,
];

const rest = ({ uncompared }: Chosen) => String(uncompared);

function differenceLines({ id, before, after }: Difference, width: number): string[] {
  return [
    '',
    `row ${id}`,
    ...textField('  as run', before.rationale, width),
    ...textField('> instead', after.rationale, width),
  ];
}
