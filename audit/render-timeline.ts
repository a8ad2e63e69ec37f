/**
 * An account as people read it: a line an event, its time before it, rounds as headings. No line is wider than asked
 * for. Digests are the first twelve digits; times are UTC. Pure.
 */
import { duration, percent, printable, wrap } from '../client/cli/text.js';
import { describeSettings } from '../contracts/settings.js';
import type { Account, Digest, Entry, InterventionEntry, StepEntry } from './account.js';

type Of<Kind extends Entry['kind']> = Extract<Entry, { kind: Kind }>;

export function renderAccount(account: Account, width: number): string[] {
  const { run, state, startedAt, endedAt, execution, fork, entries } = account;
  const took = endedAt ? ` · ${duration((Date.parse(endedAt) - Date.parse(startedAt)) / 1000)}` : '';
  const lines = wrap(`${run} · ${state}${took} · execution ${execution}`, width);
  if (fork) {
    const set = Object.keys(fork.set).length > 0 ? `, with ${describeSettings(fork.set)}` : '';
    lines.push(...wrap(printable(`a fork of ${fork.of} from round ${fork.fromRound}${set}`), width));
  }
  let day = '';
  let inRound = false;
  for (const entry of entries) {
    // Its verdict is a line of its own.
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
    // What belongs to a line stands below it, two columns further in.
    lines.push(head + start);
    for (const line of [...wrapRest(rest, room), ...more.flatMap((text) => wrap(text, room))]) {
      lines.push(`${' '.repeat(head.length + 2)}${line}`);
    }
    if (entry.kind === 'round-ended') inRound = false;
  }
  return lines;
}

const wrapRest = (lines: readonly string[], room: number) => (lines.length > 0 ? wrap(lines.join(' '), room) : []);

/** The first line, and what stands below it. */
function linesOf(entry: Entry, run: string): string[] {
  switch (entry.kind) {
    case 'started':
      return [
        `started by ${entry.by}${entry.rounds === null ? '' : entry.rounds === 0 ? ': round 0' : `: rounds 0 to ${entry.rounds}`}`,
      ];
    case 'worker':
      return [`workflow worker ${entry.identity} (${entry.version})`];
    case 'step':
      return stepLines(entry, run);
    case 'parked':
      return [
        `PARKED at ${entry.step}${lasting(entry)}, after ${entry.attempts} attempt${entry.attempts === 1 ? '' : 's'} [${entry.type}]`,
        entry.message,
      ];
    case 'waiting':
      return [`WAITS for approval (${entry.approval})${lasting(entry)}`];
    case 'intervention':
      return interventionLines(entry);
    case 'round-started':
      return [
        `ROUND ${entry.round} goes on from ${entry.from === null ? 'the starting model' : `round ${entry.from}`}${entry.because ? `: ${entry.because}` : ''}`,
        `model ${short(entry.model)} · data ${short(entry.data)}`,
      ];
    case 'round-ended':
      return roundEndLines(entry);
    case 'gate':
      return gateLines(entry);
    case 'repair':
      return [
        'A damaged artifact was found: all steps are gone through again',
        // A round that found it has said so at its end.
        ...(entry.round === null ? [entry.message] : []),
      ];
    case 'gap':
      return [entry.message];
    case 'ended':
      return [
        `${entry.state.toUpperCase()} after ${duration(entry.seconds)}${entry.model ? ` · best round ${entry.best} · model ${short(entry.model)}` : ''}`,
        ...(entry.message ? [entry.message] : []),
      ];
  }
}

const lasting = ({ at, until }: { at: string; until: string | null }) =>
  until ? ` for ${duration((Date.parse(until) - Date.parse(at)) / 1000)}` : ', and still is';

function stepLines(entry: StepEntry, run: string): string[] {
  const by = (other: string | null) => (other === null ? '' : ` by ${other === run ? 'this run' : other}`);
  const { step, state, seconds, workers, shards, reused, attempts, retried, lastFailure, inputs, outputs, spent } =
    entry;
  const took = seconds === null ? 'under way' : `${state === 'done' ? '' : `${state} after `}${duration(seconds)}`;
  const whole = reused?.whole ? [`found done${by(reused.run)}`] : [took];
  const rows = outputs.find(({ rows }) => rows !== null)?.rows;
  const many = shards
    ? [
        [
          `${shards.count} shard${shards.count === 1 ? '' : 's'}`,
          ...(retried > 0 ? [`${retried} retried`] : []),
          ...(rows ? [`${rows} rows`] : []),
        ].join(', '),
        ...(reused
          ? [`${shards.chunksFound} of ${shards.chunksFound + shards.chunksDone} chunks found done${by(reused.run)}`]
          : []),
      ]
    : rows
      ? [`${rows} rows`]
      : [];
  const cost = spent && spent.tokens > 0 ? [`${spent.tokens} tokens`] : [];
  const digests = [...list(inputs), ...(outputs.length > 0 ? ['->', ...list(outputs)] : [])].join(' ');
  const again =
    attempts > 1
      ? [`up to ${attempts} attempts; the last failure: ${lastFailure}`]
      : lastFailure
        ? [`went on after a failure: ${lastFailure}`]
        : [];
  return [[step, ...whole, ...many, ...cost, ...workers].join(' · '), ...(digests ? [digests] : []), ...again];
}

const list = (digests: readonly Digest[]) => digests.map(({ name, sha256 }) => `${name} ${short(sha256)}`);
const short = (digest: string) => digest.slice(0, 12);

function interventionLines(entry: InterventionEntry): string[] {
  const { what, who, why, step, set, fromRound, after, promoted } = entry;
  const about = [
    ...(step ? [`(${step})`] : []),
    ...(promoted === null ? [] : [`round ${promoted}`]),
    ...(after ? [`after ${after}`] : []),
    ...(set ? [describeSettings(set)] : []),
    ...(fromRound === null ? [] : [`from round ${fromRound} on`]),
  ].join(' ');
  return [`${what.toUpperCase()} by ${who}${about ? `: ${about}` : ''}`, ...(why ? [`why: ${why}`] : [])];
}

function roundEndLines({ round, state, seconds, summary, message }: Of<'round-ended'>): string[] {
  const told = summary
    ? [
        `model ${short(summary.model)}`,
        `${summary.enriched}/${summary.rows} enriched`,
        `loss ${summary.trainLoss.toFixed(3)}`,
        ...(summary.score ? [`held-out ${percent(summary.score.accuracy)} %`] : []),
      ]
    : [];
  return [
    `round ${round} ${state} after ${duration(seconds)}`,
    ...(told.length > 0 ? [told.join(' · ')] : []),
    ...(message ? [message] : []),
  ];
}

const VERDICTS = { keep: 'KEPT', 'roll-back': 'ROLLED BACK', stop: 'ROLLED BACK, and the run stops' } as const;

function gateLines({ verdict, best, current, difference, low, high, tolerance }: Of<'gate'>): string[] {
  const points = (share: number) => `${share > 0 ? '+' : ''}${percent(share)}`;
  const why =
    verdict === 'keep'
      ? `not surely worse by more than the tolerance of ${percent(tolerance)}`
      : `surely worse by more than the tolerance of ${percent(tolerance)}`;
  return [
    `gate: ${VERDICTS[verdict]} · ${percent(current)} % against ${percent(best)} %, the best so far`,
    `difference ${points(difference)} points (${points(low)} to ${points(high)}): ${why}`,
  ];
}
