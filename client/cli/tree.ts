/**
 * A run as a tree for a terminal, and the progress of its running step. Pure: a status in, lines out. No line is wider
 * than asked for, so that a terminal can be redrawn in place.
 */
import { countsText, isWhole } from '../../contracts/counts.js';
import { shellWord } from '../../contracts/errors.js';
import { codeFailureText, type Parked, type RunStatus, type StepState, type Waiting } from '../../contracts/run.js';
import type { Approval } from '../../contracts/spec.js';
import { clip, columns, pad, wrap } from '../../text/columns.js';
import { comparisonParts, setParts } from '../../text/report.js';
import { duration, printable, rate, visible } from '../../text/text.js';
import { reportOf } from './report-lines.js';
import { accuracyText, roundParts, VERDICTS } from './tables.js';

export interface View {
  /** Columns. */
  width: number;
  color: boolean;
  /** Milliseconds since 1970. */
  now: number;
}

const MARKS = { done: '✓', running: '●', parked: '!', failed: '✗', plain: ' ' } as const;
const COLORS = { done: 32, running: 36, parked: 33, failed: 31, plain: 0 } as const;
type Mark = keyof typeof MARKS;

interface Line {
  indent: number;
  mark: Mark;
  text: string;
  faint?: boolean;
}

export function renderRun(status: RunStatus, view: View): string[] {
  const { runId, state, round, lastRound, rounds, halt, endedAt } = status;
  const parked = halt?.kind === 'parked' ? halt : null;
  const seconds = ((Date.parse(endedAt ?? '') || view.now) - Date.parse(status.startedAt)) / 1000;
  const place = round === null || endedAt ? [] : [`round ${round}${lastRound === null ? '' : ` of ${lastRound}`}`];
  const lines: Line[] = [
    { indent: 0, mark: markOf(state), text: [runId, state, ...place, duration(seconds)].join(' · ') },
  ];
  for (const text of standstill(status)) lines.push(...sentence(1, view, text));
  for (const warning of status.warnings) lines.push(...sentence(1, view, `warning: ${warning}`));
  lines.push(...preparationLines(status, view));
  for (const one of rounds) {
    lines.push({ indent: 1, mark: 'done', text: [`round ${one.round}`, ...roundParts(one)].join('  ') });
    lines.push(...reportLines(status, one.round, view));
  }
  const isCurrent = round !== null && !endedAt && rounds.every((one) => one.round !== round);
  if (isCurrent) {
    lines.push({ indent: 1, mark: parked ? 'parked' : 'running', text: `round ${round}` });
    const steps = status.steps.filter((step) => step.round === round);
    lines.push(...stepLines(steps, status, view, 2));
  }
  if (parked && !status.steps.some((step) => step.state === 'parked'))
    lines.push(...parkedLines(status, parked.step, view, 2));
  if (halt?.kind === 'waiting') lines.push(...waitingLines(halt, runId, view));
  if (state === 'paused') lines.push(...exact(1, view, `Paused. To continue:  srlm resume ${shellWord(runId)}`));
  if (status.failure) lines.push(...sentence(1, view, status.failure));
  return lines.map((line) => drawn(line, view));
}

/** The other sets of each round; comparisons of the newest one. */
function reportLines(status: RunStatus, round: number, view: View): Line[] {
  const report = reportOf(status, round);
  if (!report) return [];
  const isNewest = round === status.rounds.at(-1)?.round;
  const parts = [...setParts(report), ...(isNewest ? comparisonParts(report) : [])];
  return parts.flatMap((text) => sentence(2, view, text));
}

/** Why the run makes no progress, where it is not its own doing; sentences. */
function standstill({ runId, endedAt, stale, codeFailure, unpolled }: RunStatus): string[] {
  if (endedAt) return [];
  if (codeFailure) {
    return [
      `${sentenceOf(codeFailureText(codeFailure))} Nothing is lost: deploy the fixed code, and the run continues.`,
      `Or end it:  srlm abort ${shellWord(runId)} --terminate`,
    ];
  }
  const nobody = unpolledText(unpolled);
  if (nobody) return [`${sentenceOf(nobody)}${stale ? ' This is the last known.' : ''}`];
  return stale ? ['No worker answers; this is the last known. Start one with `srlm up` or `srlm worker`.'] : [];
}

const sentenceOf = (clause: string) => `${clause.charAt(0).toUpperCase()}${clause.slice(1).replace(/\.$/, '')}.`;

/** `nobody polls srlm, srlm-gpu: start \`srlm up\``; empty: somebody polls all of them. */
export function unpolledText(unpolled: RunStatus['unpolled']): string {
  const starts = [...new Set(unpolled.map(({ start }) => start))];
  const clauses = starts.map((start) => {
    const queues = unpolled.filter((one) => one.start === start).map(({ queue }) => queue);
    return `nobody polls ${queues.join(', ')}: start ${start}`;
  });
  return clauses.join('; ');
}

/** What can be done about a parked step. */
export const answersTo = (runId: string, { skippable, type }: Parked): string[] => [
  // Their messages hold the commands that help.
  ...(['budget.spent', 'sampling.failed'].includes(type)
    ? []
    : [`Fix the cause, then:     srlm retry ${shellWord(runId)}`]),
  ...(skippable ? [`Or continue without it:  srlm skip ${shellWord(runId)}`] : []),
  `Or end the run:          srlm abort ${shellWord(runId)}`,
];

function markOf(state: RunStatus['state'] | StepState['state']): Mark {
  if (state === 'aborted' || state === 'stopped') return 'failed';
  if (state === 'paused' || state === 'waiting') return 'parked';
  return state === 'skipped' ? 'plain' : state;
}

/** One line once all of it is done. A sample run has no rounds: these are all its steps. */
function preparationLines(status: RunStatus, view: View): Line[] {
  const preparation = status.steps.filter(({ round }) => round === null);
  if (preparation.length === 0) return [];
  if (status.lastRound === null) return stepLines(preparation, status, view, 1);
  const open = preparation.find(({ state }) => state === 'running' || state === 'parked');
  if (!open && status.round !== null) {
    const seconds = preparation.reduce((sum, step) => sum + (step.seconds ?? 0), 0);
    return [{ indent: 1, mark: 'done', text: `preparation  ${duration(seconds)}` }];
  }
  const mark = open ? (status.endedAt ? 'failed' : markOf(open.state)) : 'done';
  return [{ indent: 1, mark, text: 'preparation' }, ...stepLines(preparation, status, view, 2)];
}

function stepLines(steps: readonly StepState[], status: RunStatus, view: View, indent: number): Line[] {
  const width = Math.max(0, ...steps.map(({ step }) => columns(step)));
  return steps.flatMap((step): Line[] => {
    const name = pad(step.step, width);
    if (step.state === 'parked') return parkedLines(status, name, view, indent);
    if (step.state === 'skipped') return [{ indent, mark: 'plain', text: `${name}  skipped` }];
    if (step.state === 'done') {
      const rows = step.rowsTotal === null ? [] : [`${step.rowsTotal} rows`];
      const took = step.reused ? 'reused' : duration(step.seconds ?? 0);
      const counts = step.counts && !isWhole(step.counts) ? countsText(step.counts) : null;
      return [
        { indent, mark: 'done', text: [name, ...rows, took].join('  '), faint: true },
        ...(counts === null ? [] : sentence(indent + 1, view, counts)),
      ];
    }
    if (status.endedAt) return [{ indent, mark: 'failed', text: `${name}  not finished` }];
    const failed = mostFailed(status.live);
    const quiet = quietText(status.live);
    return [
      { indent, mark: 'running', text: `${name}  ${runningText(step, status, view)}` },
      ...(quiet ? sentence(indent + 1, view, quiet) : []),
      ...(failed ? sentence(indent + 1, view, `attempt ${failed.attempt} after: ${failed.lastFailure}`) : []),
    ];
  });
}

function runningText(step: StepState, status: RunStatus, view: View): string {
  const progress = progressOf(step, status.live);
  const elapsed = duration((view.now - Date.parse(step.startedAt)) / 1000);
  if (!progress) return elapsed;
  const { done, total } = progress;
  if (total === 0) return `${progressParts(progress).join('  ')}  ${elapsed}`;
  const bar = view.width < 64 ? [] : [barOf(done / total, view.width < 90 ? 12 : 24)];
  return [...bar, ...progressParts(progress)].join('  ');
}

function barOf(share: number, width: number): string {
  const full = Math.max(0, Math.min(width, Math.floor(share * width)));
  return '█'.repeat(full) + '░'.repeat(width - full);
}

function parkedLines({ halt, runId }: RunStatus, name: string, view: View, indent: number): Line[] {
  if (halt?.kind !== 'parked') return [{ indent, mark: 'parked', text: name }];
  const { attempts: count, type, message, kept } = halt;
  return [
    { indent, mark: 'parked', text: `${name}  parked after ${attempts(count)}: ${type}` },
    ...[message, kept].filter(Boolean).flatMap((text) => sentence(indent + 1, view, text)),
    ...answersTo(runId, halt).flatMap((text) => exact(indent + 1, view, text)),
  ];
}

const APPROVED_ROWS: Record<Approval, string> = {
  catalysts: 'catalysts',
  'before-train': 'rows to train on',
  'after-round': 'rows trained on',
};

function waitingLines(waiting: Waiting, runId: string, view: View): Line[] {
  const { approval, round, rows, enriched, evaluation, gate } = waiting;
  const facts = [
    `${rows} ${APPROVED_ROWS[approval]}`,
    ...(enriched === null ? [] : [`${enriched} enriched`]),
    ...(evaluation ? [accuracyText(evaluation)] : []),
    ...(gate ? [`verdict of the gate: ${VERDICTS[gate.verdict]}`] : []),
  ];
  const where = round === null ? '' : ` of round ${round}`;
  return [
    { indent: 1, mark: 'parked', text: `waiting for approval: ${approval}${where}` },
    ...exact(2, view, facts.join(', ')),
    ...exact(2, view, `To continue:  srlm approve ${shellWord(runId)}`),
    ...exact(2, view, `Or:           srlm reject ${shellWord(runId)} --why "..."`),
  ];
}

/** A sentence is wrapped, never cut: the user must read it. */
const sentence = (indent: number, view: View, text: string): Line[] => exact(indent, view, printable(text));

/** Text of ours, whose spaces are kept. */
const exact = (indent: number, view: View, text: string): Line[] =>
  wrap(text, view.width - 2 * indent - 2).map((part) => ({ indent, mark: 'plain', text: part }));

function drawn({ indent, mark, text, faint }: Line, { width, color }: View): string {
  const lead = '  '.repeat(indent);
  const line = clip(`${lead}${MARKS[mark]} ${visible(text)}`, width).trimEnd();
  if (!color || mark === 'plain') return line;
  const at = lead.length;
  const rest = line.slice(at + 1);
  return `${lead}\u001b[${COLORS[mark]}m${line.slice(at, at + 1)}\u001b[0m${faint ? `\u001b[2m${rest}\u001b[0m` : rest}`;
}

// --- progress ---------------------------------------------------------------------------------------------------------
type Live = RunStatus['live'];

interface Progress {
  done: number;
  /** 0: not known. */
  total: number;
  unit: string;
  perSecond: number | null;
  secondsLeft: number | null;
  note: string | null;
}

/** A sharded step: rows of finished shards and of running ones. Any other step: what its activity reports. */
export function progressOf(step: StepState, live: Live): Progress | null {
  if (step.state !== 'running') return null;
  if (step.rowsDone !== null && step.rowsTotal !== null) {
    const shards = live.filter(({ unit, total }) => unit === 'rows' && total > 0);
    const done = Math.min(step.rowsTotal, step.rowsDone + shards.reduce((sum, shard) => sum + shard.done, 0));
    const perSecond = shards.reduce((sum, shard) => sum + (shard.rate ?? 0), 0) || null;
    // A shard says how long it takes once that means something; how long the step takes is known no earlier.
    const isKnown = perSecond !== null && shards.some((shard) => shard.secondsLeft !== null);
    const secondsLeft = isKnown ? (step.rowsTotal - done) / perSecond : null;
    return { done, total: step.rowsTotal, unit: 'rows', perSecond, secondsLeft, note: null };
  }
  const one = live[0];
  if (!one || (one.done === 0 && one.total === 0 && one.note === undefined)) return null;
  const note = one.note === undefined ? null : printable(one.note);
  return { done: one.done, total: one.total, unit: one.unit, perSecond: one.rate, secondsLeft: one.secondsLeft, note };
}

/** `332/640 rows`, `8.2/s`, `38 s left`, `loss 1.205`: what is known of it. */
export function progressParts({ done, total, unit, perSecond, secondsLeft, note }: Progress): string[] {
  const count = total === 0 ? `${done} ${unit}` : `${done}/${total} ${unit}`;
  return [
    // A note alone says what it waits for.
    ...(done === 0 && total === 0 && note !== null ? [] : [count]),
    ...(perSecond === null ? [] : [`${rate(perSecond)}/s`]),
    ...(secondsLeft === null || secondsLeft <= 0 ? [] : [`${duration(Math.ceil(secondsLeft))} left`]),
    ...(note === null ? [] : [note]),
  ];
}

/** Below this a step is slow. */
const QUIET_SECONDS = 60;

/** `no progress for 4 min`; null: there is some. */
export function quietText(live: Live): string | null {
  const seconds = Math.max(0, ...live.map(({ secondsQuiet }) => secondsQuiet ?? 0));
  return seconds < QUIET_SECONDS ? null : `no progress for ${duration(seconds)}`;
}

/** The activity that has failed most often, of those that are tried again. */
export function mostFailed(live: Live): Live[number] | undefined {
  return live.filter(({ attempt, lastFailure }) => attempt > 1 && lastFailure).sort((a, b) => b.attempt - a.attempt)[0];
}

export const attempts = (count: number) => `${count} attempt${count === 1 ? '' : 's'}`;
