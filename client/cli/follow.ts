/**
 * Follows a run until it ends or parks: on a terminal a tree redrawn in place, else lines; with --json one status a
 * line. While Temporal does not answer it waits, with a note. Throws run.unknown, temporal.lost, Interrupted.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLogUpdate } from 'log-update';
import { shellWord, temporalLost } from '../../contracts/errors.js';
import type { RunStatus } from '../../contracts/run.js';
import { hasColor, styled, writeJson } from '../../text/terminal.js';
import { isAway } from '../away.js';
import type { SrlmClient } from '../client.js';
import { Pace } from '../pace.js';
import { type Context, untilInterrupted } from './context.js';
import { changes, lastKnown, progressLine } from './lines.js';
import { comparisonsTable, setsTable } from './report-lines.js';
import { countLines, roundsTable } from './tables.js';
import { renderRun } from './tree.js';
import { watchTable } from './watch-table.js';

const EVERY_MS = 1000;
const ANSWER_MS = 10_000;
const AWAY_MINUTES = 30;
const PROGRESS_EVERY_MS = 10_000;

interface Display {
  show(status: RunStatus): void;
  note(text: string): void;
}

export async function follow(
  context: Context,
  client: SrlmClient,
  runId: string,
  json = context.json,
): Promise<RunStatus> {
  const display = json ? jsonDisplay(context) : process.stderr.isTTY ? liveDisplay(context) : lineDisplay(context);
  const message = `The run continues. Follow it again with: srlm watch ${shellWord(runId)}`;
  return untilInterrupted(message, untilHalted(client, runId, display));
}

/** `now`: for tests. */
export async function untilHalted(
  client: Pick<SrlmClient, 'status' | 'temporal'>,
  runId: string,
  display: Display,
  { everyMs = EVERY_MS, now = () => performance.now() } = {},
): Promise<RunStatus> {
  let awaySince: number | null = null;
  let last: RunStatus | null = null;
  const pace = new Pace(everyMs);
  for (;;) {
    const status = await client.temporal
      .withDeadline(Date.now() + ANSWER_MS, () => client.status(runId))
      .catch((error) => {
        if (!isAway(error)) throw error;
        return null;
      });
    if (status) {
      if (awaySince !== null) display.note('Temporal answers again.');
      awaySince = null;
      last = lastKnown(last, status);
      display.show(last);
      if (status.endedAt || status.state === 'parked' || status.state === 'waiting') return status;
    } else if (awaySince === null) {
      awaySince = now();
      display.note('Temporal does not answer; the run is safe in its database. Trying again ...');
    } else if (now() - awaySince > AWAY_MINUTES * 60_000) {
      throw temporalLost(runId, AWAY_MINUTES);
    }
    await sleep(status ? pace.after(status) : everyMs);
  }
}

/** The rounds of a finished run and its best model, on stdout: what came before went to stderr. */
export async function printResult(context: Context, client: SrlmClient, status: RunStatus): Promise<void> {
  const { runId, state, lastRound, rounds } = status;
  if (context.json || state !== 'done' || lastRound === null) return;
  const { best, final = best, model } = await client.result(runId);
  const folder = model.path ?? join(client.store.root, 'models', model.sha256);
  const counts = countLines(status);
  const missing = counts.length > 0 ? ['', ...counts] : [];
  const reported = [setsTable(status), comparisonsTable(status)].flatMap((lines) =>
    lines.length > 0 ? ['', ...lines] : [],
  );
  const watched = watchTable(rounds, context.width);
  context.print(null, [
    ...roundsTable(rounds),
    ...reported,
    ...(watched.length > 0 ? ['', ...watched] : []),
    ...missing,
    '',
    `best   round ${best}`,
    `model  ${folder}${final === best ? '' : ` (round ${final}, the last)`}`,
  ]);
  context.say(`Ask it something:  srlm ask ${shellWord(runId)} "..."`);
}

function jsonDisplay(context: Context): Display {
  let last = '';
  return {
    show: (status) => {
      const line = JSON.stringify(status);
      if (line !== last) writeJson(status);
      last = line;
    },
    note: (text) => context.say(text),
  };
}

function lineDisplay(context: Context): Display {
  let before: RunStatus | null = null;
  let saidAt = performance.now();
  return {
    show: (status) => {
      const lines = changes(before, status);
      before = status;
      const progress = performance.now() - saidAt >= PROGRESS_EVERY_MS ? progressLine(status) : null;
      if (progress) lines.push(progress);
      for (const line of lines) context.say(line);
      if (lines.length > 0) saidAt = performance.now();
    },
    note: (text) => context.say(text),
  };
}

function liveDisplay(context: Context): Display {
  const draw = createLogUpdate(SCREEN, { showCursor: true });
  return {
    show: (status) => {
      const { columns, rows } = SCREEN;
      const color = hasColor(process.stderr);
      // A line that fills the last column would wrap on some terminals, and the count of lines would be wrong.
      const lines = renderRun(status, { width: columns - 1, color, now: Date.now() });
      // What has scrolled out of the window cannot be redrawn.
      const fitting = lines.length < rows ? lines : [lines[0]!, ...lines.slice(lines.length - rows + 3)];
      draw(fitting.map((line) => styled(line, color)).join('\n'));
    },
    note: (text) => {
      draw.done();
      context.say(text);
    },
  };
}

/** stderr with a size: a terminal that does not report its own reports 0. */
const SCREEN = {
  isTTY: true,
  get columns() {
    return process.stderr.columns || 80;
  },
  get rows() {
    return process.stderr.rows || 24;
  },
  write: (text: string) => process.stderr.write(text),
} as NodeJS.WriteStream;
