/**
 * Follows a run until it ends or parks. On a terminal a tree redrawn in place, else lines; with --json one status a
 * line. Temporal going away is told and waited out. Throws run.unknown, temporal.lost, Interrupted.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Problem } from '../../contracts/errors.js';
import type { RunStatus } from '../../contracts/progress.js';
import type { SrlmClient } from '../client.js';
import { type Context, EXIT, type Exit, untilInterrupted } from './context.js';
import { changes, lastKnown, progressLine, renderRun, roundsTable } from './render.js';

const EVERY_MS = 1000;
const ANSWER_MS = 10_000;
const PATIENCE_MS = 30 * 60_000;
const PROGRESS_EVERY_MS = 10_000;

interface View {
  show(status: RunStatus): void;
  note(text: string): void;
}

export async function follow(
  context: Context,
  client: SrlmClient,
  runId: string,
  json = context.json,
): Promise<RunStatus> {
  const view = json ? jsonView(context) : process.stderr.isTTY ? liveView(context) : lineView(context);
  return untilInterrupted(`The run goes on. Follow it again with: srlm watch ${runId}`, watchRun(client, runId, view));
}

async function watchRun(client: SrlmClient, runId: string, view: View): Promise<RunStatus> {
  let lostAt: number | null = null;
  let last: RunStatus | null = null;
  for (;;) {
    const status = await client.temporal
      .withDeadline(Date.now() + ANSWER_MS, () => client.status(runId))
      .catch((error) => {
        if (!isAway(error)) throw error;
        return null;
      });
    if (status) {
      if (lostAt !== null) view.note('Temporal is back.');
      lostAt = null;
      last = lastKnown(last, status);
      view.show(last);
      if (status.endedAt || status.state === 'parked' || status.state === 'waiting') return status;
    } else if (lostAt === null) {
      lostAt = Date.now();
      view.note('Temporal does not answer; the run is safe in its database. Trying again ...');
    } else if (Date.now() - lostAt > PATIENCE_MS) {
      throw temporalLost(runId);
    }
    await sleep(EVERY_MS);
  }
}

/** No answer, or an answer that says to come again: not an error of what was asked. */
export function isAway(error: unknown): boolean {
  // By name, so that commands which need no Temporal do not load its client.
  const { name, cause } = (error ?? {}) as { name?: string; cause?: unknown };
  const code = ((name === 'ServiceError' ? cause : error) as { code?: unknown } | undefined)?.code;
  return code === 1 || code === 4 || code === 8 || code === 14; // CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE
}

const temporalLost = (runId: string) =>
  new Problem({
    type: 'temporal.lost',
    retry: true,
    says: `Temporal has not answered for ${PATIENCE_MS / 60_000} minutes.`,
    next: `Start it again; then \`srlm watch ${runId}\`.`,
  });

export function exitOf(status: RunStatus): Exit {
  if (status.state === 'parked' || status.state === 'waiting') return EXIT.parked;
  return ['failed', 'aborted', 'stopped'].includes(status.state) ? EXIT.failed : EXIT.done;
}

/** Where a run that is done has brought the model: on stdout, the rest having gone to stderr. */
export async function printResult(context: Context, client: SrlmClient, status: RunStatus): Promise<void> {
  if (context.json || status.state !== 'done' || status.rounds === null) return;
  const { rounds, best, model } = await client.result(status.runId);
  const folder = model.uri ? `${client.deployment.artifactRoot}/${model.uri}` : (model.path ?? '');
  context.print(null, [...roundsTable(rounds), '', `best   round ${best}`, `model  ${folder}`]);
  context.say(`Ask it something:  srlm ask ${status.runId} "..."`);
}

function jsonView(context: Context): View {
  let last = '';
  return {
    show: (status) => {
      const line = JSON.stringify(status);
      if (line !== last) process.stdout.write(`${line}\n`);
      last = line;
    },
    note: (text) => context.say(text),
  };
}

function lineView(context: Context): View {
  let before: RunStatus | null = null;
  let toldAt = Date.now();
  return {
    show: (status) => {
      const lines = changes(before, status);
      before = status;
      for (const line of lines) context.say(line);
      const progress = Date.now() - toldAt >= PROGRESS_EVERY_MS ? progressLine(status) : null;
      if (progress) context.say(progress);
      if (lines.length > 0 || progress) toldAt = Date.now();
    },
    note: (text) => context.say(text),
  };
}

function liveView(context: Context): View {
  let drawn = 0;
  return {
    show: (status) => {
      const { columns, rows } = windowSize();
      // A line that fills the last column would wrap on some terminals, and the count of lines would be wrong.
      const lines = renderRun(status, { width: columns - 1, color: context.color, now: Date.now() });
      // What has scrolled out of the window cannot be redrawn.
      const fitting = lines.length < rows ? lines : [lines[0]!, ...lines.slice(lines.length - rows + 3)];
      process.stderr.write(`${drawn > 0 ? `\u001b[${drawn}A\u001b[J` : ''}${fitting.join('\n')}\n`);
      drawn = fitting.length;
    },
    note: (text) => {
      context.say(text);
      drawn = 0;
    },
  };
}

/** A terminal that does not tell its size says 0. */
function windowSize(): { columns: number; rows: number } {
  return { columns: process.stderr.columns || 80, rows: process.stderr.rows || 24 };
}
