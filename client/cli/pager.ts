/**
 * Lines for a person: on a terminal through $PAGER (default: less), else straight to stdout. The pager is started without
 * a shell, and lines hold nothing that a terminal obeys (text/terminal.ts).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { styled, writeResult } from '../../text/terminal.js';

/** Ends at once where all fits on one screen, and leaves it there. */
const LESS = 'FRX';

/** The program and its arguments; null: none is wanted, or there is nobody to read. */
export function pagerOf(env: NodeJS.ProcessEnv, isTerminal: boolean): [string, ...string[]] | null {
  const [program, ...args] = (env.PAGER ?? 'less').split(/\s+/).filter(Boolean);
  return isTerminal && program && program !== 'cat' ? [program, ...args] : null;
}

/** Reads no more of `lines` once the reader has left the pager. */
export async function paged(
  lines: AsyncIterable<string>,
  pager = pagerOf(process.env, process.stdout.isTTY === true),
): Promise<void> {
  const reader = pager && (await started(pager));
  if (!reader) {
    for await (const line of lines) await written(line);
    return;
  }
  const { stdin, ended } = reader;
  // The keys are the pager's: Ctrl-C ends a search in it, not this command.
  const ignore = () => {};
  process.on('SIGINT', ignore);
  try {
    for await (const line of lines) {
      if (!stdin.writable) break;
      if (!stdin.write(`${styled(line, false)}\n`)) await Promise.race([once(stdin, 'drain').catch(() => {}), ended]);
    }
    stdin.end();
    await ended;
  } finally {
    stdin.end();
    process.off('SIGINT', ignore);
  }
}

/** A slow reader is waited for: a data set is longer than memory. */
async function written(line: string): Promise<void> {
  writeResult(line);
  if (process.stdout.writableNeedDrain) await once(process.stdout, 'drain');
}

/** null: there is no such program. */
async function started([program, ...args]: [string, ...string[]]) {
  const child = spawn(program, args, { stdio: ['pipe', 'inherit', 'inherit'], env: { LESS, ...process.env } });
  const ended = once(child, 'exit').catch(() => {});
  child.stdin.on('error', () => {}); // The reader has left.
  const isThere = await once(child, 'spawn').then(
    () => true,
    () => false,
  );
  return isThere ? { stdin: child.stdin, ended } : null;
}
