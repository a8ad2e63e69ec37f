/**
 * Every error a user can meet: one function each. A Problem has a dotted type, one sentence that says where and what,
 * and what to do next. `retry: false` parks the run at once (or, before a run, ends the command with exit code 2):
 * trying again could not help. Other errors are unknown, and Temporal retries them.
 */
export interface Position {
  file: string;
  line?: number | undefined;
  field?: string | undefined;
}

export interface ProblemData {
  type: string;
  retry: boolean;
  at?: Position | undefined;
  says: string;
  next: string;
  /** A retry before that is of no use: the server said so. */
  waitMs?: number | undefined;
}

export class Problem extends Error {
  override readonly name = 'Problem';
  readonly type: string;
  readonly retry: boolean;
  readonly at: Position | undefined;
  readonly says: string;
  readonly next: string;
  readonly waitMs: number | undefined;

  constructor(data: ProblemData) {
    super(sentence(data));
    this.type = data.type;
    this.retry = data.retry;
    this.at = data.at;
    this.says = data.says;
    this.next = data.next;
    this.waitMs = data.waitMs;
  }
}

/** `run.yaml:14 rounds: expected 1 to 100, found 0. Mend the line; nothing was started. [spec.invalid]` */
function sentence({ at, says, next, type }: ProblemData): string {
  const where = at ? `${at.file}${at.line === undefined ? '' : `:${at.line}`}${at.field ? ` ${at.field}` : ''}: ` : '';
  return `${where}${says} ${next} [${type}]`;
}

/** A value as shown in a message: JSON, cut at 60 characters. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

const NOTHING_STARTED = 'Nothing was started.';

const refuse = (type: string, at: Position | undefined, says: string, next = NOTHING_STARTED) =>
  new Problem({ type, retry: false, at, says, next });

// --- run specs and data, found by the client before anything starts -------------------------------------------------
export const specInvalid = (at: Position, says: string) =>
  refuse('spec.invalid', at, says, 'Mend the line; nothing was started.');
export const specUnreadable = (file: string, says: string) => refuse('spec.unreadable', { file }, says);
export const configInvalid = (file: string, says: string) => refuse('config.invalid', { file }, says);
export const fileMissing = (file: string) => refuse('file.missing', { file }, 'there is no such file.');
export const fileEmpty = (file: string) => refuse('file.empty', { file }, 'the file is empty.');
export const fileNotText = (file: string, line: number) =>
  refuse('file.not-utf8', { file, line }, 'this is not UTF-8.', 'Convert the file to UTF-8; nothing was started.');
export const fileUnpackable = (file: string, says: string) => refuse('file.damaged', { file }, says);
export const rowInvalid = (at: Position, says: string) =>
  refuse('data.invalid', at, says, 'Mend the row; nothing was started.');
export const dataUnusable = (file: string, says: string, next = NOTHING_STARTED) =>
  refuse('data.unusable', { file }, says, next);
export const evaluationLeaks = (file: string, shared: number) =>
  refuse(
    'data.leak',
    { file },
    `${shared} evaluation question${shared === 1 ? ' also stands' : 's also stand'} in the training data.`,
    'Take them out, or set strict: false to be warned only; nothing was started.',
  );
export const modelUnusable = (folder: string, says: string, next = NOTHING_STARTED) =>
  refuse('model.unusable', { file: folder }, says, next);
/** A model the store does not own is no longer what the run began with. */
export const modelChanged = (folder: string, sha256: string) =>
  refuse(
    'model.changed',
    { file: folder },
    `the model is not the one this run began with (digest ${sha256.slice(0, 12)}).`,
    'Put its files back, then `srlm retry`; or abort and start another run.',
  );
export const modelOutsideRoots = (path: string, roots: readonly string[]) =>
  refuse(
    'model.outside-roots',
    { file: path },
    `the model folder is not below a model root (${roots.join(', ')}).`,
    'Move it there, or add its parent to modelRoots in temporal.config.ts.',
  );
export const rootNotWritable = (folder: string, reason: string) =>
  refuse(
    'storage.not-writable',
    { file: folder },
    `the artifact root cannot be written (${reason}).`,
    'Set artifactRoot in temporal.config.ts to a folder you can write; nothing was started.',
  );
export const diskTooFull = (folder: string, needBytes: number, freeBytes: number) =>
  refuse(
    'storage.disk-full',
    { file: folder },
    `the run needs about ${gigabytes(needBytes)} and ${gigabytes(freeBytes)} are free.`,
    'Free some space or move artifactRoot; nothing was started.',
  );
export const portTaken = (port: number) =>
  refuse(
    'port.taken',
    undefined,
    `Port ${port} is taken by another program.`,
    'Stop it, or choose another with --port.',
  );
export const temporalUnreachable = (address: string, reason: string) =>
  refuse(
    'temporal.unreachable',
    undefined,
    `Temporal does not answer at ${address} (${reason}).`,
    'Start it with `srlm up`, or set TEMPORAL_ADDRESS.',
  );
export const pythonMissing = (path: string, reason: string) =>
  refuse(
    'python.missing',
    undefined,
    `Python cannot be used at ${path} (${reason}).`,
    'Install Python 3.11 or newer and run `srlm doctor --fix`, or name an environment with SRLM_PYTHON.',
  );
export const engineLacks = (engine: string, what: string, field: string) =>
  refuse(
    'engine.lacks',
    undefined,
    `Engine ${show(engine)} cannot ${what}, which ${field} needs.`,
    'Choose another engine in the spec or in temporal.config.ts; nothing was started.',
  );
export const nameUnknown = (kind: 'engine' | 'trainer', name: string, known: readonly string[]) =>
  refuse(
    `${kind}.unknown`,
    undefined,
    `There is no ${kind} ${show(name)} in temporal.config.ts; it has ${known.join(', ') || 'none'}.`,
    'Use one of these, or add it; nothing was started.',
  );
export const runUnknown = (runId: string) =>
  refuse('run.unknown', undefined, `There is no run ${show(runId)}.`, 'See `srlm list`.');
export const runExists = (runId: string) =>
  refuse(
    'run.exists',
    undefined,
    `A run ${show(runId)} is already there.`,
    `Follow it with \`srlm watch ${runId}\`, or choose another --id.`,
  );
export const orderRefused = (runId: string, order: string, reason: string) =>
  refuse(
    'run.refused',
    undefined,
    `Run ${show(runId)} does not take ${show(order)}: ${reason}.`,
    `See \`srlm status ${runId}\`.`,
  );
/** What a run was told while it was under way, no memo holds. */
export const runSilent = (runId: string) =>
  new Problem({
    type: 'run.silent',
    retry: true,
    says: `No worker answers for run ${show(runId)}.`,
    next: 'Start one with `srlm up` or `srlm worker`; then the same command again.',
  });
/** `resolved`: the last answer that somebody gave. */
export const runNotParked = (runId: string, what = 'parked', resolved?: string) =>
  refuse(
    'run.not-parked',
    undefined,
    `Run ${show(runId)} is not ${what}${resolved ? `; already resolved by an earlier answer (${resolved})` : ''}.`,
    `See \`srlm status ${runId}\`.`,
  );

// --- while a run goes on --------------------------------------------------------------------------------------------
/** A stored file is missing or altered. Retried by the run itself, which makes the artifact again. */
export const artifactDamaged = (uri: string, says: string) =>
  new Problem({
    type: 'artifact.damaged',
    retry: false,
    at: { file: uri },
    says,
    next: 'It was set aside and is made again.',
  });
/** The run's own copy of the user's file: nobody but the user can make it again. */
export const uploadDamaged = (name: string, uri: string) =>
  refuse(
    'data.damaged',
    { file: name },
    `the copy that was taken when the run was started (${uri}) is gone or altered.`,
    'Abort this run and start it anew.',
  );
export const inputInvalid = (what: string, says: string) =>
  new Problem({
    type: 'input.invalid',
    retry: false,
    says: `${what}: ${says}.`,
    next: 'Client and worker must be of one version.',
  });
export const engineUnreachable = (engine: string, reason: string, waitMs?: number) =>
  new Problem({
    type: 'engine.unreachable',
    retry: true,
    says: `Engine ${show(engine)} does not answer (${reason}).`,
    next: 'It is tried again; see its log or `srlm doctor`.',
    waitMs,
  });
/** Not retried by Temporal: the run takes it down as a decision, and goes on. */
export const engineBatchHalved = (engine: string, says: string) =>
  new Problem({
    type: 'engine.batch-halved',
    retry: false,
    says: `Engine ${show(engine)}: ${says}`,
    next: 'It goes on.',
  });
export const engineOutOfMemory = (engine: string, says: string) =>
  new Problem({
    type: 'engine.out-of-memory',
    retry: false,
    says: `Engine ${show(engine)} ran out of memory at its smallest batch: ${says}`,
    next: 'Lower sampling.maxTokens or free memory, then `srlm retry`.',
  });
export const engineRefused = (engine: string, status: number, message: string) =>
  new Problem({
    type: 'engine.refused',
    retry: false,
    says: `Engine ${show(engine)} refused the request (${status}: ${message}).`,
    next: 'Mend the cause, then `srlm retry`.',
  });
export const engineWrongWeights = (engine: string, want: string, found: string) =>
  new Problem({
    type: 'engine.wrong-weights',
    retry: true,
    says: `Engine ${show(engine)} holds ${found}, not ${want}.`,
    next: 'They are loaded again.',
  });
export const keyMissing = (engine: string, variable: string) =>
  new Problem({
    type: 'engine.key-missing',
    retry: false,
    says: `Engine ${show(engine)} needs the environment variable ${variable} on the worker.`,
    next: 'Set it, start the worker again, then `srlm retry`.',
  });
export const trainerFailed = (type: string, message: string, log: string) =>
  new Problem({
    type: `trainer.${type}`,
    retry: false,
    says: `The trainer stopped: ${message}`,
    next: `See ${log}, mend the cause, then \`srlm retry\`.`,
  });
/** Killed, preempted, lost: started again, it goes on from its newest checkpoint. */
export const trainerLost = (says: string) =>
  new Problem({ type: 'trainer.lost', retry: true, says, next: 'It goes on from its newest checkpoint.' });

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
