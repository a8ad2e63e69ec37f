/** The result of a study as text: for a terminal, and as Markdown. Pure. */
import type { ArmResult, ArmRound, Difference, StudyResult } from '../../contracts/study.js';
import { table } from '../../text/columns.js';
import { duration, percent, printable } from '../../text/text.js';

export const HEAD = ['arm', 'round', 'accuracy', 'interval', 'over', 'against baseline', 'interval'];

export function resultRows({ arms, baseline }: StudyResult): string[][] {
  return arms.flatMap((arm) => [
    ...arm.rounds.map((round) => [
      arm.arm === baseline ? `${arm.arm} *` : arm.arm,
      String(round.round),
      `${percent(round.mean)} %`,
      `${percent(round.interval.low)} to ${percent(round.interval.high)}`,
      over(round),
      ...compared(round.difference),
    ]),
    ...(arm.rounds.length === 0 ? [[arm.arm, '-', '-', '-', '-', '-', '-']] : []),
  ]);
}

const over = ({ interval, seeds }: ArmRound): string =>
  interval.over === 'seeds' ? `${seeds} seeds` : 'questions of one seed';

const compared = (difference: Difference | null): [string, string] =>
  difference ? [signed(difference.mean), `${signed(difference.low)} to ${signed(difference.high)}`] : ['-', '-'];

const signed = (share: number): string => `${share > 0 ? '+' : ''}${percent(share)}`.replace('-0.0', '0.0');

export const COST_HEAD = ['arm', 'runs', 'done', 'time', 'tokens', 'steps', 'reused', 'saved time', 'saved tokens'];

export const costRows = ({ arms }: StudyResult): string[][] =>
  arms.map(({ arm, runs, seconds, usage, reuse }: ArmResult) => [
    arm,
    String(runs.length),
    String(runs.filter(({ end }) => end === 'done').length),
    duration(seconds),
    usage.tokens.toFixed(0),
    String(reuse.steps),
    String(reuse.reused),
    duration(reuse.savedSeconds),
    reuse.savedTokens.toFixed(0),
  ]);

/** `13 of 60 steps were found; 7 of them were made by another run of this study, which saved 2 min 6 s, 31400 tokens.` */
export function reuseLine({ reuse: { steps, reused, made, savedSeconds, savedTokens } }: StudyResult): string {
  const saved = `which saved ${duration(savedSeconds)} and ${savedTokens.toFixed(0)} tokens`;
  return `${reused} of ${steps} steps were found instead of done; ${made} of them were made by another run of this study, ${saved}.`;
}

const note = ({ baseline, confidence, seeds }: StudyResult): string =>
  `* the baseline, ${baseline}. Intervals at ${100 * confidence} %: Student's t over the seeds (${seeds.join(', ')}), or Wilson's over the questions of one seed; against the baseline on the same questions and seeds, by bootstrap.`;

export function resultLines(result: StudyResult): string[] {
  return [
    ...table(HEAD, resultRows(result)),
    ...['', printable(note(result)), ''],
    ...result.claims.map(({ sentence }) => printable(sentence)),
    '',
    ...table(COST_HEAD, costRows(result)),
    ...['', reuseLine(result)],
  ];
}

export function markdown(result: StudyResult): string {
  const rows = (head: string[], lines: string[][]) =>
    [head, head.map(() => '---'), ...lines].map((line) => `| ${line.map(cell).join(' | ')} |`).join('\n');
  const runs = result.arms.flatMap(({ arm, runs: of }) =>
    of.map(({ id, seed, end, scores }) => [
      ...[arm, String(seed), id, end ?? 'not ended'],
      scores.map(({ round, correct, total }) => `${round}: ${correct}/${total}`).join(', ') || '-',
    ]),
  );
  return `${[
    `# Study ${result.name}`,
    rows(HEAD, resultRows(result)),
    cell(note(result)),
    '![accuracy by round](results.svg)',
    '## Claims',
    result.claims.map(({ sentence }) => `- ${cell(sentence)}`).join('\n'),
    '## Cost',
    rows(COST_HEAD, costRows(result)),
    reuseLine(result),
    '## Runs',
    rows(['arm', 'seed', 'run', 'end', 'right answers by round'], runs),
  ].join('\n\n')}\n`;
}

const cell = (text: string): string => printable(text).replaceAll('|', '\\|').replace(/^\*/, '\\*');
