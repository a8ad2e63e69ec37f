/**
 * Processes that outlive the worker: started in a session of their own, found again by pid and command line (a pid
 * alone may belong to another program by then), ended by process group. A job works in a folder of its own, which is an
 * argument of its command, and writes to its state.json how far it is.
 */
import { execFile, spawn } from 'node:child_process';
import { closeSync, existsSync, fstatSync, openSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { z } from 'zod';
import { isPassed } from '../contracts/environment.js';
import { isAlive, readJson } from '../storage/files.js';

/** What a program of ours gets of this process's environment. */
export const passedEnvironment = (environment: NodeJS.ProcessEnv): Record<string, string> =>
  Object.fromEntries(
    Object.entries(environment).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && isPassed(entry[0]),
    ),
  );

export interface Detached {
  /** Also that of its process group. */
  pid: number;
  exited: Promise<number | null>;
  /** Its last lines, for messages. The log holds those of earlier processes too. */
  said(): Promise<string>;
}

/** Starts `command` detached, its output appended to `log`. */
export async function startDetached(
  command: string,
  args: readonly string[],
  options: { log: string; env?: Record<string, string> },
): Promise<Detached> {
  const log = openSync(options.log, 'a');
  const before = fstatSync(log).size;
  try {
    const child = spawn(command, args, {
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...passedEnvironment(process.env), ...options.env },
    });
    const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    child.unref();
    return { pid: child.pid!, exited, said: () => lastLines(options.log, before) };
  } finally {
    closeSync(log);
  }
}

/** `before`: the size that the log had. One that is smaller now was begun again meanwhile. */
async function lastLines(log: string, before: number): Promise<string> {
  const content = await readFile(log).catch(() => Buffer.alloc(0));
  const text = content.subarray(content.length < before ? 0 : before).toString();
  return text.trim().split('\n').slice(-3).join(' | ').slice(-400);
}

/** `mark`: a whole argument of its command line. A part of one may name another folder, as servers/a is in servers/ab. */
export async function isRunning(pid: number, mark: string): Promise<boolean> {
  return isAlive(pid) && hasArguments(await commandLine(pid), mark);
}

/** Whole arguments that follow each other. Linux ends each with NUL; elsewhere `ps` puts spaces between them. */
export function hasArguments(line: string, ...args: readonly string[]): boolean {
  const separator = separatorOf(line);
  return `${separator}${line}${separator}`.includes(`${separator}${args.join(separator)}${separator}`);
}

/** The argument that follows `option`; empty: there is none. */
export function argumentAfter(option: string, line: string): string {
  const args = line.split(separatorOf(line));
  return args[args.indexOf(option) + 1] ?? '';
}

const separatorOf = (line: string) => (line.includes('\0') ? '\0' : ' ');

/**
 * What distinguishes a process from a later one with its id, also after a restart of the machine. `boot` distinguishes
 * machines and their starts where the system says so, else it is empty.
 */
export async function identityOf(pid: number): Promise<{ boot: string; started: string }> {
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim();
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  // The name of the program, in parentheses, may hold anything; the time of the start is the twentieth field after it.
  if (stat !== null) return { boot, started: stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '' };
  const ps = promisify(execFile)('ps', ['-o', 'lstart=', '-p', String(pid)]);
  return { boot, started: (await ps.catch(() => ({ stdout: '' }))).stdout.trim() };
}

/**
 * How many processes the kernel has ended since the machine started because memory ran out; 0 where nobody says so. It
 * tells nobody else: a process that it ends can say nothing any more, and its parent sees a SIGKILL like any other.
 */
export async function endedForMemory(vmstat = '/proc/vmstat'): Promise<number> {
  const text = await readFile(vmstat, 'utf8').catch(() => '');
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}

/** Empty for a zombie, which counts as ended. */
export async function commandLine(pid: number): Promise<string> {
  if (existsSync('/proc/self/cmdline')) return readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  const ps = promisify(execFile)('ps', ['-o', 'command=', '-p', String(pid)]);
  return (await ps.catch(() => ({ stdout: '' }))).stdout;
}

/** The processes of this machine whose command line has `mark`. */
export async function processesWith(mark: string): Promise<number[]> {
  const pids = existsSync('/proc/self/cmdline')
    ? (await readdir('/proc')).map(Number).filter((pid) => pid > 0)
    : (await promisify(execFile)('ps', ['-axo', 'pid='])).stdout.trim().split(/\s+/).map(Number);
  const found: number[] = [];
  for (const pid of pids) if ((await commandLine(pid)).includes(mark)) found.push(pid);
  return found;
}

/** SIGTERM to the group, and SIGKILL if it has not ended after `graceMs`. */
export async function endGroup(pid: number, mark: string, graceMs: number): Promise<void> {
  if (!(await isRunning(pid, mark))) return;
  signalGroup(pid, 'SIGTERM');
  for (const until = performance.now() + graceMs; performance.now() < until; ) {
    await sleep(100);
    if (!(await isRunning(pid, mark))) return;
  }
  signalGroup(pid, 'SIGKILL');
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, signal);
      return;
    } catch {
      // Not the leader of a group, or ended meanwhile.
    }
  }
}

// --- jobs -------------------------------------------------------------------------------------------------------------
const JobState = z.object({
  state: z.enum(['starting', 'running', 'done', 'failed']),
  pid: z.int(),
  host: z.string().optional(),
  error: z.object({ type: z.string(), message: z.string() }).nullish(),
});
type JobState = z.infer<typeof JobState>;

/** null: no process has started in this folder yet. */
export const readState = (folder: string): Promise<JobState | null> => readJson(join(folder, 'state.json'), JobState);

/** The processes of `host`, which is this one, at work in folders below `root`; also those whose worker has died. */
export async function runningJobs(root: string, host: string): Promise<{ pid: number; folder: string }[]> {
  const running: { pid: number; folder: string }[] = [];
  for (const name of await readdir(root).catch(() => [])) {
    const folder = join(root, name);
    const state = await readState(folder);
    if (state?.state !== 'starting' && state?.state !== 'running') continue;
    if (state.host === host && (await isRunning(state.pid, folder))) running.push({ pid: state.pid, folder });
  }
  return running;
}
