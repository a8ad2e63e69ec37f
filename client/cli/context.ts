/**
 * The context of a command: global options, deployment, connection, output, exit codes; parsers of options, and waiting
 * for signals. Results go to stdout (with --json one JSON document), everything else to stderr, so that stdout can be
 * piped.
 */
import type { Command } from 'commander';
import { idProblem } from '../../config/run-id.js';
import type { Deployment } from '../../contracts/deployment.js';
import { Problem } from '../../contracts/errors.js';
import type { RunStatus } from '../../contracts/run.js';
import { writeJson, writeNote, writeResult } from '../../text/terminal.js';
import type { SrlmClient } from '../client.js';

export const EXIT = { done: 0, failed: 1, wrongInput: 2, parked: 3, interrupted: 130 } as const;
export type Exit = (typeof EXIT)[keyof typeof EXIT];

export function exitOf({ state }: Pick<RunStatus, 'state'>): Exit {
  if (state === 'parked' || state === 'waiting') return EXIT.parked;
  return state === 'failed' || state === 'aborted' || state === 'stopped' ? EXIT.failed : EXIT.done;
}

/** What the user typed cannot be used. Exit code 2. */
export class UsageError extends Error {
  readonly type = 'usage';
}

/** What stops a command in order: Ctrl-C, the supervisor of a service, a terminal that is closed. */
export const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** One of them came; the message says what continues without this process. */
export class Interrupted extends Error {}

export class Context {
  private client: SrlmClient | null = null;
  private loaded: Promise<Deployment> | null = null;

  constructor(
    readonly json: boolean,
    private readonly config: string | undefined,
  ) {}

  /** Throws config.invalid. */
  deployment(): Promise<Deployment> {
    this.loaded ??= import('../../config/load.js').then(({ loadDeployment }) => loadDeployment(this.config));
    return this.loaded;
  }

  /** Throws config.invalid, temporal.unreachable. */
  async connect(): Promise<SrlmClient> {
    // Imported here: a command that fails before it needs Temporal is four times as fast without Temporal's client.
    const { SrlmClient } = await import('../client.js');
    this.client ??= await SrlmClient.connect(await this.deployment());
    return this.client;
  }

  async close(): Promise<void> {
    await this.client?.close();
  }

  /** The result: `value` with --json, else `lines`. */
  print(value: unknown, lines: readonly string[]): void {
    if (this.json) writeJson(value);
    else for (const line of lines) writeResult(line);
  }

  say(line: string): void {
    writeNote(line);
  }

  /** Columns for a result on stdout. */
  get width(): number {
    return process.stdout.isTTY ? (process.stdout.columns || 80) - 1 : 120;
  }
}

/** Wraps a command's work: gives it its context, and makes what it returns the exit code. */
export function action<Args extends unknown[]>(work: (context: Context, ...args: Args) => Promise<Exit>) {
  return async (...all: [...Args, Command]): Promise<void> => {
    const command = all.pop() as Command;
    const { json, config } = command.optsWithGlobals<{ json?: boolean; config?: string }>();
    const context = new Context(json === true, config);
    try {
      process.exitCode = await work(context, ...(all as unknown as Args));
    } finally {
      await context.close().catch(() => {});
    }
  };
}

/** For everything that a command does before it starts something: a Problem met there says that nothing was started. */
export async function beforeStart<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof Problem ? error.adding('Nothing was started.') : error;
  }
}

/** The bound of `rounds` in a spec. */
export const MAX_ROUND = 100;

// --- options ----------------------------------------------------------------------------------------------------------
export const collect = (value: string, before: string[] = []): string[] => [...before, value];

/** `field=value` pairs of a repeated option. */
export function pairs(option: string, given: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(
    given.map((text) => {
      const at = text.indexOf('=');
      if (at < 1) throw new UsageError(`${option} ${text}: expected field=value.`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

export function checkId(id: string | undefined): string | undefined {
  const problem = id === undefined ? null : idProblem(id);
  if (problem) throw new UsageError(`--id: ${problem}.`);
  return id;
}

/** For commander: the id of a run, which a program of the user's own may have chosen freely. */
export function runName(id: string): string {
  if (id.trim() === '') throw new UsageError('RUN: expected the id of a run, found nothing. `srlm list` shows them.');
  return id;
}

/** For commander: a number within bounds. */
export function number(option: string, min: number, max: number, isWhole = true) {
  return (text: string): number => {
    const value = Number(text);
    if (!(isWhole ? /^\d+$/ : /^\d*\.?\d+$/).test(text) || value < min || value > max) {
      const what = isWhole ? 'a whole number' : 'a number';
      throw new UsageError(`${option}: expected ${what} from ${min} to ${max}, found ${JSON.stringify(text)}.`);
    }
    return value;
  };
}

// --- waiting ----------------------------------------------------------------------------------------------------------
/** Runs `work` until the first signal, which throws Interrupted and does not stop `work` itself. */
export async function untilInterrupted<T>(message: string, work: Promise<T>): Promise<T> {
  let onSignal: () => void = () => {};
  const interrupted = new Promise<never>((_, reject) => {
    onSignal = () => reject(new Interrupted(message));
  });
  for (const signal of STOP_SIGNALS) process.once(signal, onSignal);
  try {
    return await Promise.race([work, interrupted]);
  } finally {
    for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
    work.catch(() => {});
  }
}

/** Prints `message` if `work` takes longer than expected. */
export async function patiently<T>(context: Context, message: string, work: Promise<T>, afterMs = 4000): Promise<T> {
  const timer = setTimeout(() => context.say(message), afterMs);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}
