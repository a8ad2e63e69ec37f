/**
 * How a run is shown: a tree for a terminal, lines for a log, a table of its rounds. Pure: a status in, lines out.
 * No line is wider than asked for, so that a terminal can be redrawn in place.
 */
import type { Spent } from '../../contracts/artifacts.js';
import type { RunStatus, StepState } from '../../contracts/progress.js';
import { describeSettings } from '../../contracts/settings.js';
import type { RoundSummary } from '../../contracts/steps.js';
import { clip, columns, duration, pad, percent, printable, rate, table, wrap } from './text.js';

export interface View {
  /** Columns. */
  width: number;
  color: boolean;
  /** Milliseconds since 1970. */
  now: number;
}

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

/** Rows of finished shards and of those under way; for a step without shards what its activity says. */
export function progressOf(step: StepState, live: Live): Progress | null {
  if (step.state !== 'running') return null;
  if (step.rowsDone !== null && step.rowsTotal !== null) {
    const shards = live.filter(({ unit, total }) => unit === 'rows' && total > 0);
    const done = Math.min(step.rowsTotal, step.rowsDone + shards.reduce((sum, shard) => sum + shard.done, 0));
    const perSecond = shards.reduce((sum, shard) => sum + (shard.rate ?? 0), 0) || null;
    const secondsLeft = perSecond === null ? null : (step.rowsTotal - done) / perSecond;
    return { done, total: step.rowsTotal, unit: 'rows', perSecond, secondsLeft, note: null };
  }
  const one = live[0];
  if (!one || (one.done === 0 && one.total === 0)) return null;
  const note = one.note === undefined ? null : printable(one.note);
  return { done: one.done, total: one.total, unit: one.unit, perSecond: one.rate, secondsLeft: one.secondsLeft, note };
}

// --- the tree -------------------------------------------------------------------------------------------------------
const MARKS = { done: '✓', running: '●', parked: '!', failed: '✗', plain: ' ' } as const;
const COLORS = { done: 32, running: 36, parked: 33, failed: 31, plain: 0 } as const;
type Mark = keyof typeof MARKS;

interface Line {
  indent: number;
  mark: Mark | null;
  text: string;
  faint?: boolean;
}

export function renderRun(status: RunStatus, view: View): string[] {
  const seconds = (Date.parse(status.endedAt ?? '') || view.now) - Date.parse(status.startedAt);
  const { state, round, rounds } = status;
  const place = round === null || status.endedAt ? [] : [`round ${round}${rounds === null ? '' : ` of ${rounds}`}`];
  const head = [status.runId, state, ...place, duration(seconds / 1000)].join(' · ');
  const lines: Line[] = [{ indent: 0, mark: markOf(state), text: head }];
  if (status.stale && !status.endedAt) {
    add(lines, 1, view, 'No worker answers; this is the last known. Start one with `srlm up` or `srlm worker`.');
  }
  for (const warning of status.warnings) add(lines, 1, view, `warning: ${warning}`);
  lines.push(...preparationLines(status, view));
  for (const summary of status.summaries) lines.push({ indent: 1, mark: 'done', text: roundText(summary) });
  const current = status.summaries.every((summary) => summary.round !== round) ? round : null;
  if (current !== null && !status.endedAt) {
    lines.push({ indent: 1, mark: status.parked ? 'parked' : 'running', text: `round ${current}` });
    lines.push(...stepLines(status.steps, status, view, 2));
  }
  if (status.parked && !status.preparation.concat(status.steps).some((step) => step.state === 'parked')) {
    lines.push(...parkedLines(status, status.parked.step, view, 2));
  }
  if (status.waiting) lines.push(...waitingLines(status, view));
  if (status.state === 'paused') addCommand(lines, 1, view, `Paused. To go on:  srlm resume ${status.runId}`);
  if (status.failure) add(lines, 1, view, status.failure);
  return lines.map((line) => drawn(line, view));
}

function markOf(state: RunStatus['state'] | StepState['state']): Mark {
  if (state === 'aborted' || state === 'stopped') return 'failed';
  if (state === 'paused' || state === 'waiting') return 'parked';
  return state === 'skipped' ? 'plain' : state;
}

/** One line once it is done: what it did is of no interest any more. */
function preparationLines(status: RunStatus, view: View): Line[] {
  const { preparation } = status;
  if (preparation.length === 0) return [];
  // A sample run has no rounds, so these are all its steps.
  if (status.rounds === null) return stepLines(preparation, status, view, 1);
  if (preparation.some(({ state }) => state !== 'done') || status.round === null) {
    const open = preparation.find(({ state }) => state !== 'done');
    const mark = open ? (status.endedAt ? 'failed' : markOf(open.state)) : 'done';
    return [{ indent: 1, mark, text: 'preparation' }, ...stepLines(preparation, status, view, 2)];
  }
  const seconds = preparation.reduce((sum, step) => sum + (step.seconds ?? 0), 0);
  return [{ indent: 1, mark: 'done', text: `preparation  ${duration(seconds)}` }];
}

function stepLines(steps: readonly StepState[], status: RunStatus, view: View, indent: number): Line[] {
  const nameWidth = Math.max(0, ...steps.map(({ step }) => columns(step)));
  return steps.flatMap((step): Line[] => {
    if (step.state === 'parked') return parkedLines(status, pad(step.step, nameWidth), view, indent);
    if (step.state === 'skipped') return [{ indent, mark: 'plain', text: `${pad(step.step, nameWidth)}  skipped` }];
    if (step.state === 'done') {
      const what = [
        ...(step.rowsTotal === null ? [] : [`${step.rowsTotal} rows`]),
        step.reused ? 'found done' : duration(step.seconds ?? 0),
      ];
      return [{ indent, mark: 'done', text: `${pad(step.step, nameWidth)}  ${what.join('  ')}`, faint: true }];
    }
    if (status.endedAt) return [{ indent, mark: 'failed', text: `${pad(step.step, nameWidth)}  not finished` }];
    const lines: Line[] = [
      { indent, mark: 'running', text: `${pad(step.step, nameWidth)}  ${runningText(step, status, view)}` },
    ];
    const worst = worstOf(status);
    if (worst) add(lines, indent + 1, view, `attempt ${worst.attempt} after: ${worst.lastFailure}`);
    return lines;
  });
}

/** Of activities that have failed before and are tried again, the one that has failed most often. */
function worstOf(status: RunStatus | null) {
  const failing = status?.live.filter(({ attempt, lastFailure }) => attempt > 1 && lastFailure) ?? [];
  return failing.sort((a, b) => b.attempt - a.attempt)[0];
}

function runningText(step: StepState, status: RunStatus, view: View): string {
  const progress = progressOf(step, status.live);
  const elapsed = duration((view.now - Date.parse(step.startedAt)) / 1000);
  if (!progress) return elapsed;
  const { done, total, unit, note } = progress;
  if (total === 0) return `${done} ${unit}  ${elapsed}`;
  const bar = view.width < 64 ? [] : [barOf(done / total, view.width < 90 ? 12 : 24)];
  return [...bar, `${done}/${total} ${unit}`, ...speed(progress), ...(note ? [note] : [])].join('  ');
}

function speed({ perSecond, secondsLeft }: Progress): string[] {
  return [
    ...(perSecond === null ? [] : [`${rate(perSecond)}/s`]),
    ...(secondsLeft === null || secondsLeft <= 0 ? [] : [`${duration(Math.ceil(secondsLeft))} left`]),
  ];
}

function barOf(share: number, width: number): string {
  const full = Math.max(0, Math.min(width, Math.floor(share * width)));
  return '█'.repeat(full) + '░'.repeat(width - full);
}

function parkedLines(status: RunStatus, name: string, view: View, indent: number): Line[] {
  const { parked, runId } = status;
  if (!parked) return [{ indent, mark: 'parked', text: name }];
  const lines: Line[] = [
    { indent, mark: 'parked', text: `${name}  parked after ${attempts(parked.attempts)}: ${parked.type}` },
  ];
  for (const text of [parked.message, parked.kept]) if (text) add(lines, indent + 1, view, text);
  for (const text of commands(runId, parked)) addCommand(lines, indent + 1, view, text);
  return lines;
}

/** What may be done about a parked step. Told as they are: two spaces stay two. */
const commands = (runId: string, { skippable, type }: NonNullable<RunStatus['parked']>) => [
  ...(type === 'budget.spent' ? [] : [`Mend the cause, then:  srlm retry ${runId}`]),
  ...(skippable ? [`Or go on without it:   srlm skip ${runId}`] : []),
  `Or end the run:        srlm abort ${runId}`,
];

function waitingLines({ waiting, runId }: RunStatus, view: View): Line[] {
  const { approval, round, rows, enriched, score, gate } = waiting!;
  const facts = [
    approval === 'catalysts' ? `${rows} catalysts` : `${rows} rows to train on`,
    ...(enriched === null ? [] : [`${enriched} enriched`]),
    ...(score ? [scoreText(score)] : []),
    ...(gate ? [`the gate says: ${VERDICTS[gate.verdict]}`] : []),
  ].join(', ');
  const where = round === null ? '' : ` of round ${round}`;
  const lines: Line[] = [{ indent: 1, mark: 'parked', text: `waits for approval: ${approval}${where}  ${facts}` }];
  addCommand(lines, 2, view, `To go on:  srlm approve ${runId}`);
  addCommand(lines, 2, view, `Or:        srlm reject ${runId} --why "..."`);
  return lines;
}

const attempts = (count: number) => `${count} attempt${count === 1 ? '' : 's'}`;

/** A sentence is wrapped, never cut: it is what the user must read. */
function add(lines: Line[], indent: number, view: View, text: string): void {
  addCommand(lines, indent, view, printable(text));
}

/** Text of ours, whose spaces stay. */
function addCommand(lines: Line[], indent: number, view: View, text: string): void {
  for (const part of wrap(text, view.width - 2 * indent - 2)) lines.push({ indent, mark: 'plain', text: part });
}

function drawn({ indent, mark, text, faint }: Line, { width, color }: View): string {
  const lead = '  '.repeat(indent);
  const body = mark === null ? text : `${MARKS[mark]} ${text}`;
  const line = clip(lead + body, width).trimEnd();
  if (!color || mark === null || mark === 'plain') return line;
  const at = lead.length;
  const rest = line.slice(at + 1);
  return `${lead}\u001b[${COLORS[mark]}m${line.slice(at, at + 1)}\u001b[0m${faint ? `\u001b[2m${rest}\u001b[0m` : rest}`;
}

function roundText(summary: RoundSummary): string {
  const { round, score, enriched, rows, trainLoss, gate } = summary;
  return [
    `round ${round}`,
    ...(score ? [scoreText(score)] : []),
    `${enriched}/${rows} enriched`,
    `loss ${trainLoss.toFixed(3)}`,
    duration(secondsOf(summary)),
    ...(gate && gate.verdict !== 'keep' ? [VERDICTS[gate.verdict]] : []),
  ].join('  ');
}

const VERDICTS = { keep: 'kept', 'roll-back': 'rolled back', stop: 'rolled back, the last' } as const;
const scoreText = ({ accuracy, low, high }: NonNullable<RoundSummary['score']>) =>
  `${percent(accuracy)} % (${percent(low)}-${percent(high)})`;
const secondsOf = ({ seconds }: RoundSummary) => Object.values(seconds).reduce((sum, one) => sum + one, 0);

/** A status that no worker detailed (`stale`), filled with what was known before. */
export function lastKnown(before: RunStatus | null, after: RunStatus): RunStatus {
  if (!before || !after.stale || after.endedAt) return after;
  const longer = <T>(a: T[], b: T[]) => (a.length >= b.length ? a : b);
  return {
    ...after,
    preparation: longer(after.preparation, before.preparation),
    steps: after.round === before.round ? longer(after.steps, before.steps) : after.steps,
    summaries: longer(after.summaries, before.summaries),
    warnings: longer(after.warnings, before.warnings),
  };
}

// --- lines for a log ------------------------------------------------------------------------------------------------
/** What has changed since `before`, a line each. `before` null: all that is worth telling of `after`. */
export function changes(before: RunStatus | null, after: RunStatus): string[] {
  const lines: string[] = [];
  if (!before) lines.push(`run ${after.runId} · ${after.state}`);
  if (after.stale && !before?.stale && !after.endedAt) {
    lines.push('no worker answers; start one with `srlm up` or `srlm worker`');
  }
  for (const warning of after.warnings)
    if (!before?.warnings.includes(warning)) lines.push(`warning: ${printable(warning)}`);
  lines.push(...stepChanges(before?.preparation ?? [], after.preparation, ''));
  const known = new Set(before?.summaries.map(({ round }) => round));
  for (const summary of after.summaries) {
    if (!known.has(summary.round))
      lines.push(
        `${roundLabel(after, summary.round)} done · ${roundText(summary)
          .replace(/^round \d+ */, '')
          .replace(/ {2}/g, ' · ')}`,
      );
  }
  if (after.round !== null) {
    const same = before?.round === after.round ? before.steps : [];
    lines.push(...stepChanges(same, after.steps, `${roundLabel(after, after.round)} · `));
  }
  const failing = worstOf(after);
  if (failing && failing.attempt > (worstOf(before)?.attempt ?? 1)) {
    const where = after.round === null ? '' : `${roundLabel(after, after.round)} · `;
    const step = [...after.steps, ...after.preparation].find(({ state }) => state === 'running')?.step ?? failing.step;
    lines.push(`${where}${step}  attempt ${failing.attempt} after: ${printable(failing.lastFailure ?? '')}`);
  }
  const { parked } = after;
  if (parked && before?.parked?.since !== parked.since) {
    const where = parked.round === null ? '' : `${roundLabel(after, parked.round)} · `;
    lines.push(
      `${where}${parked.step}  parked after ${attempts(parked.attempts)}: ${parked.type}`,
      printable(parked.message),
      ...(parked.kept ? [parked.kept] : []),
      ...commands(after.runId, parked).map((text) => text.replace(/ {2,}/, ' ')),
    );
  }
  const { waiting } = after;
  if (waiting && before?.waiting?.since !== waiting.since) {
    const where = waiting.round === null ? '' : `${roundLabel(after, waiting.round)} · `;
    lines.push(
      `${where}waits for approval: ${waiting.approval}`,
      `srlm approve ${after.runId} or srlm reject ${after.runId}`,
    );
  }
  if (after.state === 'paused' && before?.state !== 'paused')
    lines.push(`paused; to go on: srlm resume ${after.runId}`);
  for (const { kind, who, why, step, set } of after.interventions.slice(before?.interventions.length ?? 0)) {
    if (before === null) break;
    const what = [kind, ...(step ? [step] : []), ...(set ? [describeSettings(set)] : [])].join(' ');
    lines.push(`${what} · by ${printable(who)}${why ? `: ${printable(why)}` : ''}`);
  }
  if (after.endedAt && !before?.endedAt) {
    const seconds = (Date.parse(after.endedAt) - Date.parse(after.startedAt)) / 1000;
    lines.push(
      `run ${after.runId} · ${after.state} after ${duration(seconds)}${after.failure ? `: ${printable(after.failure)}` : ''}`,
    );
  }
  return lines;
}

const roundLabel = ({ rounds }: RunStatus, round: number) => `round ${round}${rounds === null ? '' : `/${rounds}`}`;

function stepChanges(before: readonly StepState[], after: readonly StepState[], label: string): string[] {
  return after.flatMap((step, i) => {
    const was = before[i]?.step === step.step ? before[i] : undefined;
    if (was?.state === step.state || step.state === 'parked') return [];
    if (step.state === 'skipped') return [`${label}${step.step}  skipped`];
    if (step.state === 'running')
      return [`${label}${step.step}  ${was?.state === 'parked' ? 'tried again' : 'started'}`];
    const rows = step.rowsTotal === null ? '' : `${step.rowsTotal} rows · `;
    return [`${label}${step.step}  ${rows}${step.reused ? 'found done' : `done in ${duration(step.seconds ?? 0)}`}`];
  });
}

/** How far the step under way is; null where that is not known. */
export function progressLine(status: RunStatus): string | null {
  const inRound = status.round !== null && status.steps.length > 0;
  const step = (inRound ? status.steps : status.preparation).find(({ state }) => state === 'running');
  const progress = step ? progressOf(step, status.live) : null;
  if (!step || !progress) return null;
  const { done, total, unit, note } = progress;
  const label = inRound ? `${roundLabel(status, status.round!)} · ` : '';
  const amount = total === 0 ? `${done} ${unit}` : `${done}/${total} ${unit}`;
  return `${label}${step.step}  ${[amount, ...speed(progress), ...(note ? [note] : [])].join(' · ')}`;
}

// --- what a run has spent ---------------------------------------------------------------------------------------------
/** By round and step; empty where nothing was measured. */
export function spentTable(status: RunStatus): string[] {
  const done = status.summaries.flatMap(({ round, spent = {} }) =>
    Object.entries(spent).map(([step, one]) => ({ round: String(round), step, ...one })),
  );
  const under = [...status.preparation, ...status.steps].flatMap(({ step, spent }) =>
    spent
      ? [{ round: status.steps.some((one) => one.step === step) ? String(status.round ?? '') : '-', step, ...spent }]
      : [],
  );
  const all = [...done, ...under];
  if (all.length === 0) return [];
  const priced = status.spent.money > 0;
  const row = (round: string, step: string, { tokens, gpuSeconds, money }: Spent) => [
    round,
    step,
    tokens.toFixed(0),
    gpuSeconds.toFixed(1),
    ...(priced ? [money.toFixed(4)] : []),
  ];
  return table(
    ['round', 'step', 'tokens', 'gpu-seconds', ...(priced ? ['money'] : [])],
    [...all.map((one) => row(one.round, one.step, one)), row('all', '', status.spent)],
  );
}

// --- the table of a run's rounds --------------------------------------------------------------------------------------
export function roundsTable(summaries: readonly RoundSummary[]): string[] {
  return table(
    ['round', 'enriched', 'rationale', 'loss', 'held-out', 'time', 'gate'],
    summaries.map((summary) => [
      String(summary.round),
      `${summary.enriched}/${summary.rows}`,
      `${Math.round(summary.meanRationaleChars)} chars`,
      summary.trainLoss.toFixed(3),
      summary.score ? scoreText(summary.score) : '-',
      duration(secondsOf(summary)),
      summary.gate ? VERDICTS[summary.gate.verdict] : '-',
    ]),
  );
}
