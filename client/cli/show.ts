/**
 * srlm show: what a round did with each row, or, with --questions, how its model answered. With --json a document a line.
 * Needs no worker. Throws run.unknown, run.no-model, artifact.damaged.
 */
import type { Command } from 'commander';
import { runHasNoModel } from '../../contracts/errors.js';
import type { SetResult } from '../../contracts/report.js';
import { INCUMBENT } from '../../contracts/rows.js';
import type { RunStatus } from '../../contracts/run.js';
import type { RoundSummary } from '../../contracts/steps.js';
import { wrap } from '../../text/columns.js';
import { visible, visibleJson } from '../../text/text.js';
import type { SrlmClient } from '../client.js';
import { type ShownReply, type ShownRow, shownReplies, shownRows } from '../show.js';
import { action, EXIT, MAX_ROUND, number, runName, UsageError } from './context.js';
import { paged } from './pager.js';
import { reportOf } from './report-lines.js';

interface ShowOptions {
  round?: number;
  row?: string;
  questions?: boolean;
  set?: string;
}

export function addShowCommand(program: Command): void {
  program
    .command('show')
    .description('show the rows of a round: what won against what, or the replies to questions')
    .argument('<run>', 'id of the run', runName)
    .option('--round <n>', 'a finished round (default: the newest)', number('--round', 0, MAX_ROUND))
    .option('--row <id>', 'this row, or this question, only')
    .option('--questions', 'the replies to held-out questions')
    .option('--set <name>', "with --questions: those of this evaluation set (default: the gate's)")
    .action(
      action(async (context, runId: string, { round: n, row, questions = false, set: name }: ShowOptions) => {
        if (name !== undefined && !questions) throw new UsageError('--set goes with --questions.');
        const client = await context.connect();
        const status = await client.status(runId);
        const round = finishedRound(status, runId, n);
        const set = name === undefined ? null : setOf(status, round.round, name);
        if (questions && !set && !round.evaluation)
          throw new UsageError(`--questions: round ${round.round} was not evaluated.`);
        const { store } = client;
        const shown: AsyncIterable<ShownRow | ShownReply> = questions
          ? shownReplies(store, round, row, set)
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
  return finishedRound(await client.status(runId), runId, n);
}

function finishedRound({ rounds }: Pick<RunStatus, 'rounds'>, runId: string, n: number | undefined): RoundSummary {
  const newest = rounds.at(-1);
  if (!newest) throw runHasNoModel(runId, 'has finished no round yet');
  const round = n === undefined ? newest : rounds.find((one) => one.round === n);
  if (round) return round;
  throw new UsageError(`--round ${n}: the finished rounds of ${runId} are 0 to ${newest.round}.`);
}

/** A set beside the gate's that the round was evaluated on. */
function setOf(status: RunStatus, round: number, name: string): { name: string; result: SetResult } {
  const evaluations = reportOf(status, round)?.evaluations ?? {};
  const result = Object.hasOwn(evaluations, name) ? evaluations[name] : undefined;
  if (result) return { name, result };
  const names = Object.keys(evaluations);
  const known = names.length > 0 ? `its sets are ${names.join(', ')}` : "it has none beside the gate's";
  throw new UsageError(`--set ${name}: round ${round} has no such set; ${known}.`);
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

export function replyLines(shown: ShownReply, width: number) {
  const { round, set, id, expected, question, reply, leftOut } = shown;
  const head = [`question ${id}`, ...(set === null ? [] : [set]), `round ${round}`, outcomeOf(shown)];
  return [
    [...head, ...(leftOut ? ['left out: in the training data'] : [])].join(' · '),
    ...textField('  question', question ?? '(this round kept no texts)', width),
    ...textField('  expected', expected, width),
    ...('given' in shown ? textField('  given', shown.given ?? '(no answer was found in the reply)', width) : []),
    ...textField('  reply', reply ?? '', width),
    '',
  ];
}

/** `right`, or `-0.412 nats a token, -0.980 without a rationale`. */
function outcomeOf(shown: ShownReply): string {
  if ('correct' in shown) return shown.correct ? 'right' : 'wrong';
  const { nats, natsAlone } = shown;
  if (nats === null || natsAlone === null) return 'no log-probability';
  return `${nats.toFixed(3)} nats a token, ${natsAlone.toFixed(3)} without a rationale`;
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
