/**
 * What every command works with: the global options, the deployment, a connection, and where words go. Results go to
 * stdout (with --json one JSON document), all else to stderr, so that stdout can be piped.
 */
import type { Command } from 'commander';
import type { Deployment } from '../../contracts/deployment.js';
import { loadDeployment } from '../../worker/config.js';
import type { SrlmClient } from '../client.js';

export const EXIT = { done: 0, failed: 1, wrongInput: 2, parked: 3, interrupted: 130 } as const;
export type Exit = (typeof EXIT)[keyof typeof EXIT];

/** What the user typed is not usable. Exit code 2. */
export class UsageError extends Error {
  readonly type = 'usage';
}

/** SIGINT or SIGTERM came; the message says what goes on without us. */
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
    this.loaded ??= loadDeployment(this.config);
    return this.loaded;
  }

  /** Throws config.invalid, temporal.unreachable. */
  async connect(): Promise<SrlmClient> {
    // Loaded here: wrong input is told four times as fast without Temporal's client.
    const { SrlmClient } = await import('../client.js');
    this.client ??= await SrlmClient.connect(await this.deployment());
    return this.client;
  }

  async close(): Promise<void> {
    await this.client?.close();
  }

  /** The result: `value` with --json, else `lines`. */
  print(value: unknown, lines: readonly string[]): void {
    if (this.json) this.document(value);
    else for (const line of lines) process.stdout.write(`${line}\n`);
  }

  document(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  say(line: string): void {
    process.stderr.write(`${line}\n`);
  }

  get color(): boolean {
    return process.stderr.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
  }

  get colorOut(): boolean {
    return process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
  }
}

/** Wraps a command's work: gives it its context, turns what it returns into the exit code. */
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

/** For options that may be given many times. */
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

/** Ids stand in commands, in the ids of rounds and in the UI's addresses. */
export function checkId(id: string | undefined): string | undefined {
  if (id === undefined || /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(id)) return id;
  throw new UsageError(
    `--id: expected letters, digits, dots, dashes and underscores, at most 100, found ${JSON.stringify(id)}.`,
  );
}

/** For commander: a whole number within bounds. */
export function whole(option: string, min: number, max: number) {
  return (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new UsageError(`${option}: expected a whole number from ${min} to ${max}, found ${JSON.stringify(text)}.`);
    }
    return value;
  };
}

export function decimal(option: string, min: number, max: number) {
  return (text: string): number => {
    const value = Number(text);
    if (!/^\d*\.?\d+$/.test(text) || value < min || value > max) {
      throw new UsageError(`${option}: expected a number from ${min} to ${max}, found ${JSON.stringify(text)}.`);
    }
    return value;
  };
}

/** Runs `work` until the first SIGINT or SIGTERM, which throws Interrupted: `work` itself is left alone. */
export async function untilInterrupted<T>(message: string, work: Promise<T>): Promise<T> {
  let onSignal: () => void = () => {};
  const interrupted = new Promise<never>((_, reject) => {
    onSignal = () => reject(new Interrupted(message));
  });
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  try {
    return await Promise.race([work, interrupted]);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    work.catch(() => {});
  }
}

/** Says `message` when `work` takes longer than one would expect. */
export async function patiently<T>(context: Context, message: string, work: Promise<T>): Promise<T> {
  const timer = setTimeout(() => context.say(message), 4000);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}
