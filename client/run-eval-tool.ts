/**
 * Runs an evaluation tool as a process until it ends, and reads the scores that it has written. Throws eval.failed, and
 * what stops it.
 */
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { z } from 'zod';
import type { EvalScore } from '../audit/evals.js';
import { evalFailed } from '../contracts/errors.js';
import { type EvalRequest, type Served, type Tool, toolKind } from './eval-tools.js';

/** For a tool that a signal does not end. */
const KILL_AFTER_MS = 5000;

interface ToolRun {
  /** The interpreter that has the tool. */
  python: string;
  tool: Tool;
  request: EvalRequest;
  served: Served;
  /** Where the tool writes its results, and what it prints. */
  results: string;
  log: string;
}

/** The scores that the tool has written when it has ended. `stopped` ends it. */
export async function runTool(run: ToolRun, stopped: AbortSignal): Promise<EvalScore[]> {
  await untilItHasEnded(run, stopped);
  return scoresOf(run);
}

async function untilItHasEnded(run: ToolRun, stopped: AbortSignal): Promise<void> {
  const { python, tool, request, served, results } = run;
  const { args, env } = toolKind(tool).call(request, served, results);
  const log = createWriteStream(run.log, { mode: 0o600 });
  const child = spawn(python, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    // All of the user's: a task may ask another model as its judge, or load data that need a key.
    env: { ...process.env, PYTHONUNBUFFERED: '1', NO_PROXY: 'localhost,127.0.0.1', ...env },
    // With a group of its own, a signal to the terminal does not end it before srlm has ended its server.
    detached: true,
  });
  for (const stream of [child.stdout, child.stderr]) stream.pipe(log, { end: false });
  const end = (signal: NodeJS.Signals) => {
    try {
      if (child.pid) process.kill(-child.pid, signal);
    } catch {
      // It has ended by itself.
    }
  };
  let killing: NodeJS.Timeout | undefined;
  const onStop = () => {
    end('SIGTERM');
    killing = setTimeout(() => end('SIGKILL'), KILL_AFTER_MS);
  };
  stopped.addEventListener('abort', onStop, { once: true });
  if (stopped.aborted) onStop();
  const code = await new Promise<number | null>((settle, reject) => {
    child.once('error', reject);
    child.once('close', settle);
  }).finally(() => {
    clearTimeout(killing);
    stopped.removeEventListener('abort', onStop);
    log.end();
  });
  await finished(log);
  stopped.throwIfAborted();
  if (code !== 0) throw evalFailed(tool, (await lastLine(run.log)) || `it ended with ${code}`, run.log);
}

async function lastLine(log: string): Promise<string> {
  const lines = (await readFile(log, 'utf8')).trimEnd().split('\n');
  return (lines.at(-1) ?? '').trim().replace(/\.$/, '').slice(0, 300);
}

async function scoresOf({ tool, results, log }: ToolRun): Promise<EvalScore[]> {
  const { isResult, scores } = toolKind(tool);
  const names = (await readdir(results, { recursive: true })).filter((name) => isResult.test(name)).sort();
  try {
    const found = await Promise.all(
      names.map(async (name) => scores(JSON.parse(await readFile(join(results, name), 'utf8')))),
    );
    if (found.flat().length > 0) return found.flat();
  } catch (error) {
    throw evalFailed(tool, error instanceof z.ZodError ? 'its result has another form' : (error as Error).message, log);
  }
  throw evalFailed(tool, 'it has written no scores', log);
}
