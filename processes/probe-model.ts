/**
 * Tries a model folder out before anything depends on it: python/probe.py evaluates what the folder holds, under limits
 * of time and memory, in a process that may die. Once for each state of the folder in this process.
 * Throws model.unusable and python.missing.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { z } from 'zod';
import { modelUnusable, Problem, pythonMissing } from '../contracts/errors.js';
import { folderState } from '../storage/model-folder.js';
import { passedEnvironment } from './detached.js';
import { checkPython, pythonProgram } from './python.js';

const Lengths = z.object({ median: z.int(), most: z.int(), longest: z.int() });

/** Rows in tokens, as the trainer will encode them. */
const EncodedRows = z.object({
  rows: z.int(),
  /** `most`: 95 of 100 are not longer. */
  prompt: Lengths.nullable(),
  /** Prompt and reply; null: no row has a reply. */
  whole: Lengths.nullable(),
  /** What does not fit maxLength. */
  leftOut: z.int(),
  cut: z.int(),
  /** The first row that is trained on: the texts around the places where the loss begins and ends. */
  first: z
    .object({
      ...{ tokens: z.int(), promptTokens: z.int() },
      ...{ promptEnds: z.string(), replyBegins: z.string(), replyEnds: z.string() },
    })
    .nullable(),
});
export type EncodedRows = z.infer<typeof EncodedRows>;

/** A line that the program prints. */
const Line = z.union([
  z.object({ doing: z.string() }),
  z.object({ warnings: z.array(z.string()).max(10), takesSystem: z.boolean(), keepsTurns: z.boolean() }),
  z.object({ encoded: EncodedRows }),
  z.object({ ok: z.literal(true) }),
  z.object({ problem: z.string() }),
]);

/** The program has limits of its own; this one holds where it waits, and counts the imports, from a cold disk too. */
const TIMEOUT_MS = 180_000;
const MAX_OUTPUT_CHARS = 20_000;
const MAX_REASON_CHARS = 400;
const HINT = 'Use another model, or an unchanged copy of this one.';

/** What is known of a model that can be used. */
export interface ProbedModel {
  /** Sentences without a full stop. */
  warnings: string[];
  /** Its chat template takes a system message. */
  takesSystem: boolean;
  /** It takes the turns of a conversation before the last question. */
  keepsTurns: boolean;
}

/** By path and state of the folder: those that were found to be usable. */
const usable = new Map<string, ProbedModel>();

export async function probeModel(python: string, folder: string, signal?: AbortSignal): Promise<ProbedModel> {
  const state = `${folder}\n${(await folderState(folder))?.state}`;
  const known = usable.get(state);
  if (known) return known;
  const probed = await run(python, [folder], '', signal);
  if (probed.outcome !== 'ok') throw await problemOf(python, folder, probed);
  usable.set(state, probed.report);
  return probed.report;
}

/** Tries the model out, and encodes rows (lists of messages) with it. */
export async function encodeRows(
  python: string,
  folder: string,
  rows: readonly object[],
  { maxLength, overlong }: { maxLength: number; overlong: string },
): Promise<ProbedModel & { encoded: EncodedRows }> {
  const lines = rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  const probed = await run(python, [folder, String(maxLength), overlong], lines);
  if (probed.outcome !== 'ok' || !probed.encoded) throw await problemOf(python, folder, probed);
  return { ...probed.report, encoded: probed.encoded };
}

async function problemOf(python: string, folder: string, { parts, outcome, output, ended }: Probed): Promise<Problem> {
  const doing = parts.at(-1);
  if (outcome !== undefined) return modelUnusable(folder, sentence(outcome), HINT);
  if (doing === undefined) {
    await checkPython(python);
    return pythonMissing(python, `probe.py ended with ${ended}: ${output.trim().split('\n').at(-1)}`);
  }
  const isSlow = ended === 'SIGXCPU' || ended === 'timeout';
  return modelUnusable(folder, `${doing} ${isSlow ? 'does not end' : 'takes too much memory, or crashes'}.`, HINT);
}

/** null: this machine has no Python environment, which it need not have, since the worker probes in any case. */
export async function probeModelIfPossible(python: string, folder: string): Promise<ProbedModel | null> {
  return probeModel(python, folder).catch((error) => {
    if (error instanceof Problem && error.type === 'python.missing') return null;
    throw error;
  });
}

interface Probed {
  /** What the program was doing, in order. */
  parts: string[];
  report: ProbedModel;
  encoded: EncodedRows | undefined;
  /** 'ok', or what is wrong; undefined: it ended before it could say. */
  outcome: string | undefined;
  output: string;
  ended: string;
}

async function run(python: string, args: readonly string[], input: string, signal?: AbortSignal): Promise<Probed> {
  // A group of its own: whatever the program may have started ends with it.
  const child = spawn(python, [pythonProgram('probe.py'), ...args], {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: passedEnvironment(process.env),
  });
  // The program may end before it has read its input.
  child.stdin.on('error', () => {}).end(input);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout = (stdout + text).slice(0, MAX_OUTPUT_CHARS);
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr = (stderr + text).slice(-MAX_OUTPUT_CHARS);
  });
  let isLate = false;
  const kill = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has just ended.
    }
  };
  const timer = setTimeout(() => {
    isLate = true;
    kill();
  }, TIMEOUT_MS);
  signal?.addEventListener('abort', kill, { once: true });
  try {
    const [code, by] = await once(child, 'close');
    signal?.throwIfAborted();
    return { ...read(stdout), output: stderr, ended: isLate ? 'timeout' : (by ?? String(code)) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return { ...read(''), output: '', ended: 'ENOENT' };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', kill);
  }
}

function read(stdout: string): Pick<Probed, 'parts' | 'report' | 'encoded' | 'outcome'> {
  const parts: string[] = [];
  let report: ProbedModel = { warnings: [], takesSystem: true, keepsTurns: true };
  let encoded: EncodedRows | undefined;
  let outcome: string | undefined;
  for (const text of stdout.split('\n')) {
    const line = lineOf(text);
    if (!line) continue;
    if ('doing' in line) parts.push(line.doing);
    else if ('warnings' in line) report = { ...line, warnings: line.warnings.map(oneLine) };
    else if ('encoded' in line) encoded = line.encoded;
    else outcome = 'ok' in line ? 'ok' : line.problem;
  }
  return { parts, report, encoded, outcome };
}

/** null: no line of the program's own; a library may print, and a limit may cut a line off. */
function lineOf(text: string): z.infer<typeof Line> | null {
  try {
    return Line.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** What is said about the folder, on one line of bounded length. */
function oneLine(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length > MAX_REASON_CHARS ? `${line.slice(0, MAX_REASON_CHARS)}...` : line;
}

function sentence(text: string): string {
  const cut = oneLine(text);
  return /[.!?]$/.test(cut) ? cut : `${cut}.`;
}
