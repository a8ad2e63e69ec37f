/** A run as lines for a log: what has changed between two statuses. Pure. */
import { countsText, isWhole } from '../../contracts/counts.js';
import { shellWord } from '../../contracts/errors.js';
import { codeFailureText, type Intervention, type RunStatus, type StepState } from '../../contracts/run.js';
import { describeSettings } from '../../contracts/settings.js';
import { comparisonParts, setParts } from '../../text/report.js';
import { duration, printable } from '../../text/text.js';
import { reportOf } from './report-lines.js';
import { roundParts } from './tables.js';
import { answersTo, attempts, mostFailed, progressOf, progressParts, quietText, unpolledText } from './tree.js';

/** What has changed since `before`, a line each. `before` null: everything of `after` that matters. */
export function changes(before: RunStatus | null, after: RunStatus): string[] {
  return [
    ...(before ? [] : [`run ${after.runId} · ${after.state}`]),
    ...standstill(before, after),
    ...after.warnings.filter((one) => !before?.warnings.includes(one)).map((one) => `warning: ${printable(one)}`),
    ...stepChanges(before, after, ({ round }) => round === null),
    ...finishedRounds(before, after, (round) => round < (after.round ?? 0)),
    ...stepChanges(before, after, ({ round }) => round !== null && round === after.round),
    ...finishedRounds(before, after, (round) => round >= (after.round ?? 0)),
    ...quiet(before, after),
    ...failedAttempts(before, after),
    ...halts(before, after),
    ...interventions(before, after),
    ...end(before, after),
  ];
}

/** How far the running step is; null where that is not known. */
export function progressLine(status: RunStatus): string | null {
  const step = status.steps.findLast(({ state }) => state === 'running');
  const progress = step ? progressOf(step, status.live) : null;
  if (!step || !progress) return null;
  const still = quietText(status.live);
  return `${stepLabel(status, step)}  ${[...progressParts(progress), ...(still ? [still] : [])].join(' · ')}`;
}

/** A status that no worker answered (`stale`), filled with what was known before. */
export function lastKnown(before: RunStatus | null, after: RunStatus): RunStatus {
  if (!before || !after.stale || after.endedAt) return after;
  const longer = <T>(a: T[], b: T[]) => (a.length >= b.length ? a : b);
  const { interventions, interventionCount } = after.interventionCount >= before.interventionCount ? after : before;
  return {
    ...after,
    interventions,
    interventionCount,
    steps: after.round === before.round ? longer(after.steps, before.steps) : after.steps,
    rounds: longer(after.rounds, before.rounds),
    warnings: longer(after.warnings, before.warnings),
  };
}

/** Why the run makes no progress, once for each reason. */
function standstill(before: RunStatus | null, after: RunStatus): string[] {
  const { runId, endedAt, stale, codeFailure, unpolled } = after;
  if (endedAt) return [];
  if (codeFailure) {
    if (codeFailure.message === before?.codeFailure?.message) return [];
    const end = `srlm abort ${shellWord(runId)} --terminate`;
    return [`${codeFailureText(codeFailure)}`, `deploy the fixed code, and the run continues; or end it: ${end}`];
  }
  const nobody = unpolledText(unpolled);
  if (nobody) return nobody === unpolledText(before?.unpolled ?? []) ? [] : [nobody];
  const isNew = stale && !(before?.stale && !before.codeFailure);
  return isNew ? ['no worker answers; start one with `srlm up` or `srlm worker`'] : [];
}

function quiet(before: RunStatus | null, after: RunStatus): string[] {
  const text = quietText(after.live);
  if (!text || quietText(before?.live ?? [])) return [];
  const step = after.steps.findLast(({ state }) => state === 'running') ?? { round: after.round, step: '' };
  return [`${stepLabel(after, step)}  ${text}`];
}

const roundLabel = ({ lastRound }: RunStatus, round: number | null): string =>
  round === null ? '' : `round ${round}${lastRound === null ? '' : `/${lastRound}`}`;

const stepLabel = (status: RunStatus, { round, step }: { round: number | null; step: string }): string =>
  [roundLabel(status, round), step].filter(Boolean).join(' · ');

function stepChanges(before: RunStatus | null, after: RunStatus, belongs: (step: StepState) => boolean): string[] {
  return after.steps.filter(belongs).flatMap((step) => {
    const was = before?.steps.find((one) => one.step === step.step && one.round === step.round);
    if (was?.state === step.state || step.state === 'parked') return [];
    const label = stepLabel(after, step);
    if (step.state === 'skipped') return [`${label}  skipped`];
    if (step.state === 'running') return [`${label}  ${was?.state === 'parked' ? 'tried again' : 'started'}`];
    const rows = step.rowsTotal === null ? '' : `${step.rowsTotal} rows · `;
    const took = step.reused ? 'reused' : `done in ${duration(step.seconds ?? 0)}`;
    const counts = step.counts && !isWhole(step.counts) ? ` · ${printable(countsText(step.counts))}` : '';
    return [`${label}  ${rows}${took}${counts}`];
  });
}

function finishedRounds(before: RunStatus | null, after: RunStatus, belongs: (round: number) => boolean): string[] {
  const known = new Set(before?.rounds.map(({ round }) => round));
  return after.rounds
    .filter(({ round }) => belongs(round) && !known.has(round))
    .map(
      (one) =>
        `${roundLabel(after, one.round)} done · ${[...roundParts(one), ...reportParts(after, one.round)].join(' · ')}`,
    );
}

function failedAttempts(before: RunStatus | null, after: RunStatus): string[] {
  const failed = mostFailed(after.live);
  if (!failed || failed.attempt <= (mostFailed(before?.live ?? [])?.attempt ?? 1)) return [];
  const step = after.steps.findLast(({ state }) => state === 'running') ?? { round: after.round, step: failed.step };
  return [`${stepLabel(after, step)}  attempt ${failed.attempt} after: ${printable(failed.lastFailure ?? '')}`];
}

function halts(before: RunStatus | null, after: RunStatus): string[] {
  const { halt, runId } = after;
  const isNew = before?.halt?.since !== halt?.since;
  const lines: string[] = [];
  if (isNew && halt?.kind === 'parked') {
    lines.push(
      `${stepLabel(after, halt)}  parked after ${attempts(halt.attempts)}: ${halt.type}`,
      printable(halt.message),
      ...(halt.kept ? [halt.kept] : []),
      ...answersTo(runId, halt).map((text) => text.replace(/ {2,}/, ' ')),
    );
  }
  if (isNew && halt?.kind === 'waiting') {
    const step = { round: halt.round, step: `waiting for approval: ${halt.approval}` };
    lines.push(stepLabel(after, step), `srlm approve ${shellWord(runId)} or srlm reject ${shellWord(runId)}`);
  }
  if (after.state === 'paused' && before?.state !== 'paused')
    lines.push(`paused; to continue: srlm resume ${shellWord(runId)}`);
  return lines;
}

/** A status has the newest ones only; their count shows how many are new. */
function interventions(before: RunStatus | null, after: RunStatus): string[] {
  const count = before ? after.interventionCount - before.interventionCount : 0;
  return (count > 0 ? after.interventions.slice(-count) : []).map(intervention);
}

function intervention({ kind, who, why, step, set }: Intervention): string {
  const what = [kind, ...(step ? [step] : []), ...(set ? [describeSettings(set)] : [])].join(' ');
  return `${what} · by ${printable(who)}${why ? `: ${printable(why)}` : ''}`;
}

function end(before: RunStatus | null, after: RunStatus): string[] {
  if (!after.endedAt || before?.endedAt) return [];
  const seconds = (Date.parse(after.endedAt) - Date.parse(after.startedAt)) / 1000;
  const why = after.failure ? `: ${printable(after.failure)}` : '';
  return [`run ${after.runId} · ${after.state} after ${duration(seconds)}${why}`];
}

/** The other sets, and what the round has gained on earlier ones. */
function reportParts(status: RunStatus, round: number): string[] {
  const report = reportOf(status, round);
  return report ? [...setParts(report), ...comparisonParts(report)].map(printable) : [];
}
