/**
 * srlm show: what a round did with each row, or, with --questions, how its model answered. With --json a document a line.
 * Needs no worker. Throws run.unknown, run.no-model, artifact.damaged.
 */
import type { Command } from 'commander';
import { runHasNoModel } from '../../contracts/errors.js';
import { INCUMBENT } from '../../contracts/rows.js';
import type { RoundSummary } from '../../contracts/steps.js';
import { wrap } from '../../text/columns.js';
import { visible, visibleJson } from '../../text/text.js';
import type { SrlmClient } from '../client.js';
import { type ShownReply, type ShownRow, shownReplies, shownRows } from '../show.js';
import { action, EXIT, MAX_ROUND, number, runName, UsageError } from './context.js';
import { paged } from './pager.js';

interface ShowOptions {
  round?: number;
  row?: string;
  questions?: boolean;
}

export function addShowCommand(program: Command): void {
  program
    .command('show')
    .description('show the rows of a round: what won against what, or the replies to questions')
    .argument('<run>', 'id of the run', runName)
    .option('--round <n>', 'a finished round (default: the newest)', number('--round', 0, MAX_ROUND))
    .option('--row <id>', 'this row, or this question, only')
    .option('--questions', 'the replies to held-out questions')
    .action(
      action(async (context, runId: string, { round: n, row, questions = false }: ShowOptions) => {
        const client = await context.connect();
        const round = await roundOf(client, runId, n);
        if (questions && !round.evaluation)
          throw new UsageError(`--questions: round ${round.round} was not evaluated.`);
        const { store } = client;
        const shown: AsyncIterable<ShownRow | ShownReply> = questions
          ? shownReplies(store, round, row)
          : shownRows(store, round, row);
        let count = 0;
        async function* lines(): AsyncGenerator<string> {
          for await (const one of shown) {
            count++;
            if (context.json) yield visibleJson(one);
            else yield* 'candidates' in one ? rowLines(one, context.width) : replyLines(one, context.width);
          }
        }
        await (context.json ? paged(lines(), null) : paged(lines()));
        const what = questions ? 'question' : 'row';
        if (count === 0 && row !== undefined)
          throw new UsageError(`--row ${row}: round ${round.round} has no such ${what}.`);
        return EXIT.done;
      }),
    );
}

/** A finished round of a run; without a number, the newest. */
export async function roundOf(
  client: Pick<SrlmClient, 'status'>,
  runId: string,
  n: number | undefined,
): Promise<RoundSummary> {
  const { rounds } = await client.status(runId);
  const newest = rounds.at(-1);
  if (!newest) throw runHasNoModel(runId, 'has finished no round yet');
  const round = n === undefined ? newest : rounds.find((one) => one.round === n);
  if (round) return round;
  throw new UsageError(`--round ${n}: the finished rounds of ${runId} are 0 to ${newest.round}.`);
}

// --- a row as text ----------------------------------------------------------------------------------------------------
const LABEL = 12;

export function rowLines({ round, id, question, answer, original, rationale, candidates }: ShownRow, width: number) {
  const compared = candidates.flatMap((candidate) => {
    const name = candidate.k === INCUMBENT ? 'before' : `k = ${candidate.k}`;
    const mark = candidate.chosen ? '> ' : '  ';
    return textField(`${mark}${name}`, [verdictOf(candidate), candidate.rationale].filter(Boolean).join('\n'), width);
  });
  return [
    `row ${id} · round ${round}`,
    ...textField('  question', question, width),
    ...textField('  answer', answer, width),
    ...(original === null || original === rationale ? [] : textField('  short', original, width)),
    ...(compared.length > 0 ? compared : textField('  rationale', rationale, width)),
    '',
  ];
}

export function replyLines({ round, id, correct, given, expected, question, reply }: ShownReply, width: number) {
  return [
    `question ${id} · round ${round} · ${correct ? 'right' : 'wrong'}`,
    ...textField('  question', question ?? '(this round kept no texts)', width),
    ...textField('  expected', expected, width),
    ...textField('  given', given ?? '(no answer was found in the reply)', width),
    ...textField('  reply', reply ?? '', width),
    '',
  ];
}

/** `chosen · off-policy -0.412 · on-policy -0.380`, or the guard that it failed. */
function verdictOf({ chosen, guard, scores }: ShownRow['candidates'][number]): string {
  const values = Object.entries(scores);
  return [
    ...(chosen ? ['chosen'] : []),
    ...(guard ? [`refused: ${guard}`] : []),
    ...values.map(([name, score]) => `${name} ${score === null ? '-' : score.toFixed(3)}`),
  ].join(' · ');
}

/** Every line break of the text is kept. */
export function textField(label: string, text: string, width: number): string[] {
  const lines = text.split(/\r?\n/).flatMap((line) => (line.trim() === '' ? [''] : wrap(line, width - LABEL - 1)));
  return lines.map((line, i) => `${(i === 0 ? label : '').padEnd(LABEL)} ${visible(line)}`.trimEnd());
}
