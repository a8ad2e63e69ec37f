/**
 * A timeline as people read it: one line for each event, with its time; rounds as headings. No line is wider than asked
 * for. Digests are cut to twelve digits; times are UTC. Pure.
 */

import { Settings } from '../contracts/commands.js';
import { countsText } from '../contracts/counts.js';
import { describeSettings } from '../contracts/settings.js';
import { breachText, type MetricName, metricText } from '../contracts/watch.js';
import { workerName } from '../contracts/worker-identity.js';
import { wrap } from '../text/columns.js';
import { comparisonParts, setParts } from '../text/report.js';
import { duration, percent, printable } from '../text/text.js';
import { secondsBetween } from './events.js';
import type { Digest, Entry, EntryOf, InterventionEntry, StepEntry, Timeline } from './timeline.js';

export function renderTimeline(timeline: Timeline, width: number): string[] {
  const { run, state, startedAt, endedAt, firstRunId, fork, entries } = timeline;
  const took = endedAt ? ` · ${duration(secondsBetween(startedAt, endedAt))}` : '';
  const lines = wrap(`${run} · ${state}${took} · first execution ${firstRunId}`, width);
  if (fork) {
    const set = Object.keys(fork.set).length > 0 ? `, with ${describeSettings(fork.set)}` : '';
    lines.push(...wrap(printable(`fork of ${fork.of} from round ${fork.fromRound}${set}`), width));
  }
  let day = '';
  let inRound = false;
  for (const entry of entries) {
    // Its verdict has a line of its own.
    if (entry.kind === 'step' && entry.step === 'gate' && entry.state === 'done') continue;
    const [date = '', time = ''] = entry.at.split('T');
    if (date !== day) lines.push(`${date} (UTC)`);
    day = date;
    if (entry.kind === 'round-started') inRound = true;
    const indent = inRound && entry.kind !== 'round-started' && entry.kind !== 'ended' ? '  ' : '';
    const head = `${time.slice(0, 8)}  ${indent}`;
    const [first = '', ...more] = linesOf(entry, run).map(printable);
    const room = width - head.length - 2;
    const [start = '', ...rest] = wrap(first, room + 2);
    // Details are below their line, two columns further in.
    const details = [rest.join(' '), ...more].flatMap((text) => wrap(text, room));
    lines.push(head + start, ...details.map((line) => ' '.repeat(head.length + 2) + line));
    if (entry.kind === 'round-ended') inRound = false;
  }
  return lines;
}

/** The line of an entry, and its details; what is empty is not shown. */
function linesOf(entry: Entry, run: string): string[] {
  switch (entry.kind) {
    case 'started':
      return [`started by ${entry.by}${roundsOf(entry.lastRound)}`];
    case 'worker':
      return [`workflow worker ${workerName(entry.identity)} (${entry.version})`];
    case 'step':
      return stepLines(entry, run);
    case 'parked':
      return [
        `PARKED at ${entry.step}${lasting(entry)}, after ${counted(entry.attempts, 'attempt')} [${entry.type}]`,
        entry.message,
      ];
    case 'waiting':
      return [`WAITING for approval (${entry.approval})${lasting(entry)}`];
    case 'intervention':
      return interventionLines(entry);
    case 'round-started':
      return roundStartLines(entry);
    case 'round-ended':
      return roundEndLines(entry);
    case 'gate':
      return gateLines(entry);
    case 'repair':
      return [
        'REPAIR: a stored object was damaged; the run repeats its steps, and reuses what is intact',
        entry.message,
      ];
    case 'gap':
      return [entry.message];
    case 'ended':
      return [
        `${entry.state.toUpperCase()} after ${duration(entry.seconds)}${entry.model ? ` · best round ${entry.best} · model ${short(entry.model)}` : ''}`,
        entry.message ?? '',
      ];
  }
}

const short = (digest: string) => digest.slice(0, 12);

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`;

const roundsOf = (last: number | null) => (last === null ? '' : last === 0 ? ': round 0' : `: rounds 0 to ${last}`);

const lasting = ({ at, until }: { at: string; until: string | null }) =>
  until ? ` for ${duration(secondsBetween(at, until))}` : ', and still is';

function stepLines(entry: StepEntry, run: string): string[] {
  const { step, workers, attempts, lastFailure, inputs, outputs, usage, counts } = entry;
  const cost = usage && usage.tokens > 0 ? [`${usage.tokens} tokens`] : [];
  const tries = attempts > 1 ? `up to ${attempts} attempts${lastFailure ? '; the last failure: ' : ''}` : '';
  return [
    [step, outcomeOf(entry, run), ...amountOf(entry), ...cost, ...workers.map(workerName)].join(' · '),
    counts ? countsText(counts) : '',
    [...list(inputs), ...(outputs.length > 0 ? ['->', ...list(outputs)] : [])].join(' '),
    `${tries || (lastFailure ? 'continued after a failure: ' : '')}${lastFailure ?? ''}`,
  ];
}

function outcomeOf({ state, seconds, reused }: StepEntry, run: string): string {
  if (reused?.whole) return reused.run === run ? 'reused from this run' : `reused from run ${reused.run}`;
  if (seconds === null) return 'running';
  return `${state === 'done' ? '' : `${state} after `}${duration(seconds)}`;
}

function amountOf({ shards, retried, outputs }: StepEntry): string[] {
  const rows = outputs.find(({ rows }) => rows !== null)?.rows;
  const { count = 0, chunksReused = 0, chunksDone = 0 } = shards ?? {};
  const many = [
    count > 0 ? counted(count, 'shard') : '',
    count > 0 && retried > 0 ? `${retried} retried` : '',
    rows ? counted(rows, 'row') : '',
  ];
  const reused = chunksReused > 0 ? `${chunksReused} of ${chunksReused + chunksDone} chunks reused` : '';
  return [many.filter(Boolean).join(', '), reused].filter(Boolean);
}

const list = (digests: readonly Digest[]) => digests.map(({ name, sha256 }) => `${name} ${short(sha256)}`);

/** How the fields of a command read; any other is `field = value`. `answers` says when the step was parked. */
const WORDS: Record<string, (value: unknown) => string> = {
  round: (round) => `round ${round}`,
  after: (what) => `after this ${what}`,
  set: (set) => describeSettings(Settings.safeParse(set).data ?? {}),
  fromRound: (round) => `from round ${round} on`,
  answers: () => '',
};

function interventionLines({ command, who, why, step, fields }: InterventionEntry): string[] {
  const given = Object.entries(fields).filter(([, value]) => value !== null);
  const words = given.map(([field, value]) => WORDS[field]?.(value) ?? describeSettings({ [field]: value }));
  const about = [step ? `(${step})` : '', ...words].filter(Boolean).join(' ');
  return [`${command.toUpperCase()} by ${who}${about ? `: ${about}` : ''}`, why && `why: ${why}`];
}

function roundStartLines({ round, from, model, data, because }: EntryOf<'round-started'>): string[] {
  const start = from === null ? 'the starting model' : `round ${from}`;
  const digests = [...(model ? [`model ${short(model)}`] : []), ...(data ? [`data ${short(data)}`] : [])];
  return [`ROUND ${round} continues from ${start}${because ? `: ${because}` : ''}`, digests.join(' · ')];
}

function roundEndLines({ round, state, seconds, summary }: EntryOf<'round-ended'>): string[] {
  const facts = summary
    ? [
        `model ${short(summary.model)}`,
        `${summary.enriched}/${summary.rows} enriched`,
        `loss ${summary.trainLoss.toFixed(3)}`,
        ...(summary.evaluation ? [`held-out ${percent(summary.evaluation.accuracy)} %`] : []),
      ]
    : [];
  const { others: evaluations = {}, comparisons = [] } = summary ?? {};
  const watched = Object.entries(summary?.watch ?? {}) as [MetricName, number][];
  const numbers = watched.map(([name, value]) => `${name} ${metricText(name, value)}`);
  const warnings = (summary?.alarms ?? []).map((text) => `warning: ${text}`);
  return [
    `round ${round} ${state} after ${duration(seconds)}`,
    facts.join(' · '),
    ...setParts({ evaluations }),
    ...comparisonParts({ comparisons }),
    numbers.length > 0 ? `watch: ${numbers.join(' · ')}` : '',
    ...warnings,
  ];
}

const VERDICTS = { keep: 'KEPT', 'roll-back': 'ROLLED BACK', stop: 'ROLLED BACK, and the run stops' } as const;

function gateLines({ verdict, best, current, difference, low, high, tolerance, watch }: EntryOf<'gate'>): string[] {
  const beyond = watch ? [`beyond a limit of gate.watch: ${watch.map(breachText).join('; ')}`] : [];
  const points = (share: number) => `${share > 0 ? '+' : ''}${percent(share)}`;
  if (best === null || current === null || difference === null || low === null || high === null)
    return [`gate: ${VERDICTS[verdict]}`, ...beyond];
  const why = `${high < -tolerance ? '' : 'not '}surely worse by more than the tolerance of ${percent(tolerance)}`;
  return [
    `gate: ${VERDICTS[verdict]} · ${percent(current)} % against ${percent(best)} %, the best so far`,
    `difference ${points(difference)} points (${points(low)} to ${points(high)}): ${why}`,
    ...beyond,
  ];
}
