/**
 * Every error that a user can meet: one function each. A Problem has a dotted type, one sentence that says where and
 * what, and a hint that says what to do. `retry: false` parks the run at once (or, before a run, ends the command with
 * exit code 2): trying again could not help. Other errors are unknown, and Temporal retries them.
 *
 * A Problem does not say what it interrupts: the same one may stop a command or park a run. Whoever catches it adds
 * that (`beforeStart` in client/cli/context.ts: "Nothing was started."; a parked step: the commands that answer it).
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
  /** What is wrong: one sentence, which follows the position. */
  reason: string;
  /** What to do about it; empty: the reason says it. */
  hint?: string | undefined;
  /** A retry before that is of no use, because the server said so (Retry-After). */
  waitMs?: number | undefined;
  /** A step parks after so many attempts; default: `maxAttempts` of the deployment. */
  attempts?: number | undefined;
}

export class Problem extends Error {
  override readonly name = 'Problem';
  readonly type: string;
  readonly retry: boolean;
  readonly at: Position | undefined;
  readonly reason: string;
  readonly hint: string;
  readonly waitMs: number | undefined;
  readonly attempts: number | undefined;

  constructor(data: ProblemData) {
    super(sentence(data));
    this.type = data.type;
    this.retry = data.retry;
    this.at = data.at;
    this.reason = data.reason;
    this.hint = data.hint ?? '';
    this.waitMs = data.waitMs;
    this.attempts = data.attempts;
  }

  /** The same problem, with a sentence added to its hint. */
  adding(sentence: string): Problem {
    const { type, retry, at, reason, hint, waitMs, attempts } = this;
    return new Problem({ type, retry, at, reason, hint: [hint, sentence].filter(Boolean).join(' '), waitMs, attempts });
  }
}

/** `run.yaml:14 rounds: expected at least 0, found -1. Fix the line. [spec.invalid]` */
function sentence({ at, reason, hint, type }: ProblemData): string {
  const where = at ? `${at.file}${at.line === undefined ? '' : `:${at.line}`}${at.field ? ` ${at.field}` : ''}: ` : '';
  return `${where}${reason}${hint ? ` ${hint}` : ''} [${type}]`;
}

/** A clause, of anything that code may throw. */
export const reasonOf = (error: unknown): string =>
  String((error as Error | null | undefined)?.message ?? error ?? 'it gave no reason')
    .split('\n')[0]!
    .replace(/\.$/, '');

/** A value as shown in a message: JSON, cut at 60 characters. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = jsonOf(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function jsonOf(value: unknown): string | undefined {
  // NaN and infinity are null in JSON, and a bigint cannot be written at all.
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  try {
    return JSON.stringify(value);
  } catch {
    return 'a value of too many levels';
  }
}

/**
 * The id of a run in a command that is printed for its user to copy. Whoever can start workflows chooses it, and a shell
 * must take it as one word.
 */
export function shellWord(id: string): string {
  if (/^\w[\w.-]*$/.test(id)) return id;
  return `${id.startsWith('-') ? '-- ' : ''}'${id.replaceAll("'", `'\\''`)}'`;
}

/** A mistake that trying again cannot cure. */
const userError = (type: string, reason: string, hint?: string) => new Problem({ type, retry: false, reason, hint });

/** The same, in a file. */
const fileError = (type: string, at: Position, reason: string, hint?: string) =>
  new Problem({ type, retry: false, at, reason, hint });

/** A state of the outside world that may pass by itself. */
const transient = (type: string, reason: string, hint: string, waitMs?: number) =>
  new Problem({ type, retry: true, reason, hint, waitMs });

// --- run specs, data and models ---------------------------------------------------------------------------------------
export const specInvalid = (at: Position, reason: string) =>
  fileError('spec.invalid', at, reason, at.line === undefined ? undefined : 'Fix the line.');
export const specUnreadable = (file: string, reason: string) => fileError('spec.unreadable', { file }, reason);
export const configInvalid = (file: string, reason: string) => fileError('config.invalid', { file }, reason);
export const fileMissing = (file: string) => fileError('file.missing', { file }, 'there is no such file.');
export const fileEmpty = (file: string) => fileError('file.empty', { file }, 'the file is empty.');
export const fileNotText = (file: string, line?: number) =>
  fileError('file.not-utf8', { file, line }, 'this is not UTF-8.', 'Convert the file to UTF-8.');
export const fileUnpackable = (file: string, reason: string) => fileError('file.damaged', { file }, reason);
export const fileNotWritable = (file: string, reason: string, what: 'file' | 'folder' = 'file') =>
  fileError('file.not-writable', { file }, `${reason}.`, `Name another ${what} with --out.`);
export const rowInvalid = (at: Position, reason: string) => fileError('data.invalid', at, reason, 'Fix the row.');
export const dataUnusable = (file: string, reason: string, hint?: string) =>
  fileError('data.unusable', { file }, reason, hint);
/** `the field score is not used` */
export const notUsed = (names: readonly string[]) =>
  `the field${names.length === 1 ? ` ${names[0]} is` : `s ${names.join(', ')} are`} not used`;
export const fieldsUnused = (file: string, names: readonly string[]) =>
  dataUnusable(
    file,
    `${notUsed(names)}.`,
    'Map them under fields, remove them, or set strict: false to get a warning only.',
  );
/** A run's own copy of the user's file: only the user can bring it back. */
export const uploadDamaged = (file: string, sha256: string) =>
  fileError(
    'data.damaged',
    { file },
    `the copy that was stored when the run was started (${sha256.slice(0, 12)}) is missing or altered.`,
    'Start a run with the same file, which stores it again, then `srlm retry` this one. If it is then missing again, the worker uses another artifactRoot than the one that you start runs from.',
  );
/** `rows`: all questions of the file. */
export const evaluationLeaks = (file: string, shared: number, rows: number) =>
  fileError(
    'data.leak',
    { file },
    shared === rows
      ? `all ${rows} evaluation questions are also in the training data, and counted: the score says how well they were learned.`
      : `${shared} of ${rows} evaluation questions ${shared === 1 ? 'is' : 'are'} also in the training data, and not counted.`,
    `${shared === rows ? 'Hold other questions out' : 'Remove them'}, or set strict: false to get a warning only.`,
  );
export const modelUnusable = (folder: string, reason: string, hint?: string) =>
  fileError('model.unusable', { file: folder }, reason, hint);
const MODELS_SHOWN = 10;
/**
 * `models`: those below the roots. `repository`: the name on Hugging Face's Hub that `path` may be; `target`: the folder
 * to download it to.
 */
export const modelMissing = (
  path: string,
  roots: readonly string[],
  models: readonly string[] = [],
  repository = '',
  target = '',
) => {
  const more = models.length > MODELS_SHOWN ? ` and ${models.length - MODELS_SHOWN} more` : '';
  const below = models.length > 0 ? ` Below them are ${models.slice(0, MODELS_SHOWN).join(', ')}${more}.` : '';
  const download = ` A model of Hugging Face's Hub is downloaded with \`hf download ${repository} --local-dir ${shellWord(target)}\`; \`srlm doctor --fix\` has put hf into .srlm/python/bin.`;
  return modelUnusable(
    path,
    'there is no such model folder.',
    `The model roots are ${roots.join(', ') || 'none'} (modelRoots in temporal.config.ts).${below}${repository ? download : ''}`,
  );
};
/** A model that the store does not own is no longer what the run began with. */
export const modelChanged = (folder: string, sha256: string) =>
  fileError(
    'model.changed',
    { file: folder },
    `the model is not the one this run began with (digest ${sha256.slice(0, 12)}).`,
    'Restore its files, then `srlm retry`; or continue with it as it is: `srlm retry --accept-model`.',
  );
export const modelOutsideRoots = (path: string, roots: readonly string[]) =>
  fileError(
    'model.outside-roots',
    { file: path },
    `the model folder is not below a model root (${roots.join(', ')}).`,
    'Move it there, or add its parent to modelRoots in temporal.config.ts.',
  );

// --- this machine and its services ------------------------------------------------------------------------------------
export const rootNotWritable = (folder: string, reason: string) =>
  fileError(
    'storage.not-writable',
    { file: folder },
    `the artifact root cannot be written (${reason}).`,
    'Set artifactRoot in temporal.config.ts to a folder you can write.',
  );
/** `setting`: the field of temporal.config.ts that says where the folder is. */
export const noFileLocks = (folder: string, setting: 'artifactRoot' | 'workRoot') =>
  fileError(
    'storage.no-locks',
    { file: folder },
    'its file system has no file locks, without which two processes could write here at once.',
    `Mount it with locks, or move ${setting} in temporal.config.ts to another file system; then \`srlm retry\`.`,
  );
export const diskTooFull = (folder: string, needBytes: number, freeBytes: number, what: 'run' | 'study' = 'run') =>
  fileError(
    'storage.disk-full',
    { file: folder },
    `the ${what} needs about ${size(needBytes)} and ${size(freeBytes)} are free.`,
    'Free some space or move artifactRoot.',
  );
export const portTaken = (port: number, option: '--port' | '--ui-port') =>
  userError('port.taken', `Port ${port} is used by another program.`, `Stop it, or choose another with ${option}.`);
export const upRunning = (pid: number) =>
  userError(
    'up.running',
    `\`srlm up\` already runs here (process ${pid}).`,
    'Stop that one first, or give this one a config with a workRoot of its own.',
  );
/** A process of another host cannot be looked at. `file`: what it has left. */
export const upElsewhere = (host: string, file: string) =>
  userError(
    'up.running',
    `\`srlm up\` of host ${show(host)} uses this folder, or was killed there.`,
    `Give each host a workRoot of its own; if that one is stopped, delete ${file}.`,
  );
/** `what`: what two workers cannot share. */
export const gpuTaken = (pid: number, what: string) =>
  userError(
    'gpu.taken',
    `Process ${pid} of this host already works with ${what}.`,
    'Stop it, or give each worker its own CUDA_VISIBLE_DEVICES, workRoot and host.',
  );
export const gpuTakenHere = (what: string) =>
  userError(
    'gpu.taken',
    `Another worker of this process already works with ${what}.`,
    "Give srlm's plugin to one worker, once; workers for several GPUs are processes of their own.",
  );
export const gpuTakenElsewhere = (host: string, file: string) =>
  userError(
    'gpu.taken',
    `A GPU worker of host ${show(host)} uses this workRoot, or was killed there.`,
    `Give each host a workRoot of its own; if that worker is stopped, delete ${file}.`,
  );
export const temporalMissing = () =>
  userError(
    'temporal.missing',
    'There is no `temporal` program beside the Python environment or on the PATH.',
    'Run `srlm doctor --fix`, or set TEMPORAL_ADDRESS to a server of yours.',
  );
export const temporalNotStarted = (reason: string, log: string) =>
  transient('temporal.not-started', `The Temporal server did not come up: ${reason}.`, `See ${log}.`);
export const temporalDamaged = (database: string) =>
  userError(
    'temporal.damaged',
    `The database of the Temporal server is damaged: ${database}.`,
    `Move it away (mv ${shellWord(database)} ${shellWord(`${database}.damaged`)}), and \`srlm up\` makes a new one. Then start each run that had not ended again with its spec: it finds all that it had made. \`srlm history RUN\` still shows those that had ended.`,
  );
export const noClosedPort = (needed: number, free: number) =>
  userError(
    'temporal.no-closed-port',
    `The Temporal server needs ${needed} of the ports that browsers refuse to open, and ${free} are free.`,
    'Stop another `srlm up`, or what listens on 127.0.0.1 at ports such as 6665 to 6669.',
  );
export const temporalUnreachable = (address: string, reason: string) =>
  userError(
    'temporal.unreachable',
    `Temporal does not answer at ${address} (${reason}).`,
    'Start it with `srlm up`, or set TEMPORAL_ADDRESS.',
  );
export const temporalRefuses = (address: string, reason: string) =>
  userError(
    'temporal.unreachable',
    `Something listens at ${address}, and no connection to Temporal comes about: ${reason}.`,
    'Set TEMPORAL_ADDRESS, TEMPORAL_TLS_*, TEMPORAL_API_KEY or the profile as the server asks.',
  );
export const temporalSettings = (reason: string) =>
  userError(
    'temporal.settings',
    `The settings of the connection to Temporal cannot be used: ${reason}.`,
    'They are in the variables TEMPORAL_* and the file that TEMPORAL_CONFIG_FILE names.',
  );
export const sdkTwice = (name: string, yours: string, ours: string) =>
  userError(
    'temporal.sdk',
    `There are two copies of ${name}: your code uses ${yours}, and srlm uses ${ours}.`,
    `Install one version for both; \`npm ls ${name}\` shows which package asks for which.`,
  );
export const sdkUnsupported = (name: string, found: string, lowest: string) =>
  userError(
    'temporal.sdk',
    `srlm needs ${name} ${lowest} or a later 1.x, and finds ${found}.`,
    'Install one version of all `@temporalio` packages.',
  );
export const temporalLost = (runId: string, minutes: number) =>
  transient(
    'temporal.lost',
    `Temporal has not answered for ${minutes} minutes.`,
    `Start it again; then \`srlm watch ${shellWord(runId)}\`.`,
  );
export const pythonMissing = (path: string, reason: string) =>
  userError(
    'python.missing',
    `Python cannot be used at ${path} (${reason}).`,
    'Install Python 3.11 or newer and run `srlm doctor --fix`, or name an environment with SRLM_PYTHON.',
  );
export const evalsMissing = (name: string, path: string) =>
  userError(
    'evals.missing',
    `There is no ${name} at ${path}.`,
    'Install the evaluation tools with `srlm eval --install`, or name an environment that has them with SRLM_EVALS_PYTHON.',
  );
export const evalFailed = (tool: string, reason: string, log: string) =>
  userError('eval.failed', `${tool} ended without a result: ${reason}.`, `See ${log}.`);
export const pythonSetUpFailed = (reason: string, hint: string) => userError('python.setup-failed', reason, hint);
export const nameUnknown = (kind: 'engine' | 'trainer', name: string, known: readonly string[]) =>
  userError(
    `${kind}.unknown`,
    `There is no ${kind} ${show(name)} in temporal.config.ts; it has ${known.join(', ') || 'none'}.`,
    'Use one of these, or add it.',
  );
export const selectorUnknown = (name: string, known: readonly string[]) =>
  userError(
    'selector.unknown',
    `There is no selector ${show(name)} in temporal.config.ts; it has ${known.join(', ') || 'none'}.`,
    'Use one of these, or add it to selectors.',
  );
export const selectorFailed = (name: string, version: string, row: string, why: string) =>
  userError(
    'selector.failed',
    `Your selector ${show(name)} (version ${version}) failed on row ${show(row)}: ${why}.`,
    'Correct it, give it a new version, start the workers again, then `srlm retry`.',
  );
export const engineLacks = (engine: string, what: string, field: string) =>
  userError(
    'engine.lacks',
    `Engine ${show(engine)} cannot ${what}, which ${field} needs.`,
    'Choose another engine in the spec or in temporal.config.ts.',
  );
export const trainingInvalid = (trainer: string, reason: string) =>
  fileError(
    'training.invalid',
    { file: 'training' },
    `${reason} (trainer ${show(trainer)}).`,
    'Change training.batchSize or training.microBatchSize.',
  );

// --- runs and commands ------------------------------------------------------------------------------------------------
export const runUnknown = (runId: string) =>
  userError('run.unknown', `There is no run ${show(runId)}.`, 'See `srlm list`.');
export const runExists = (runId: string) =>
  userError(
    'run.exists',
    `A run ${show(runId)} exists already.`,
    `Follow it with \`srlm watch ${shellWord(runId)}\`, or choose another --id.`,
  );
export const commandRefused = (runId: string, command: string, reason: string) =>
  userError(
    'run.refused',
    `Run ${show(runId)} refuses ${show(command)}: ${reason}.`,
    `See \`srlm status ${shellWord(runId)}\`.`,
  );
/** `phase`: how it ended. A sample run cannot be forked. */
export const runEnded = (runId: string, command: string, phase: string, canFork: boolean) =>
  userError(
    'run.refused',
    `Run ${show(runId)} refuses ${show(command)}: it has ended (${phase}).`,
    canFork
      ? `Start another run, or fork this one with \`srlm fork ${shellWord(runId)} --from-round N\`.`
      : 'Start another run.',
  );
/** Settings changed while a run is running are in its history only, and reading that takes a worker. */
export const runSilent = (runId: string) =>
  transient(
    'run.silent',
    `No worker answers for run ${show(runId)}.`,
    'Start one with `srlm up` or `srlm worker`; then the same command again.',
  );
/** Nothing answers for the run, though workers run. `failure`: a clause. */
export const runBroken = (runId: string, failure: string) =>
  userError(
    'run.broken',
    `Run ${show(runId)} answers nothing: ${failure.replace(/\.$/, '')}.`,
    `Deploy the fixed code, and it continues; or end it with \`srlm abort ${shellWord(runId)} --terminate\`, and start it again with the same spec: everything that it made is found.`,
  );
export const studyUnknown = (studyId: string) =>
  userError('study.unknown', `There is no study ${show(studyId)}.`, 'See `srlm study list`.');
export const studyExists = (studyId: string) =>
  userError(
    'study.exists',
    `A study ${show(studyId)} exists already.`,
    `Follow it with \`srlm study watch ${shellWord(studyId)}\`, or choose another --id.`,
  );
export const studyEnded = (studyId: string, phase: string) =>
  userError(
    'study.ended',
    `Study ${show(studyId)} has ended (${phase}).`,
    `See \`srlm study show ${shellWord(studyId)}\`.`,
  );
export const payloadUnreadable = (reason: string) =>
  userError(
    'payload.unreadable',
    `A payload cannot be decoded: ${reason}.`,
    'temporal.config.ts needs the dataConverter that the workers of the run have, with its keys.',
  );
export const payloadNotEncoded = (reason: string) =>
  userError(
    'payload.not-encoded',
    `A payload cannot be encoded: ${reason}.`,
    'The codec of the dataConverter in temporal.config.ts says so; nothing was sent.',
  );
/** `answered`: the last answer that somebody gave. */
export const runNotParked = (runId: string, what = 'parked', answered?: string) =>
  userError(
    'run.not-parked',
    `Run ${show(runId)} is not ${what}${answered ? `; already resolved by an earlier answer (${answered})` : ''}.`,
    `See \`srlm status ${shellWord(runId)}\`.`,
  );
export const runHasNoModel = (runId: string, reason: string) =>
  userError('run.no-model', `Run ${show(runId)} ${reason}.`, `See \`srlm status ${shellWord(runId)}\`.`);
export const questionTooLong = () =>
  userError('question.too-long', "The question is longer than the model's context.", 'Shorten it.');
export const inputInvalid = (what: string, reason: string) =>
  userError(
    'input.invalid',
    `${what}: ${reason}.`,
    'Worker and workflow are of different versions, or the input was written by hand: see `srlm doctor`.',
  );

// --- while a run runs -------------------------------------------------------------------------------------------------
/** A stored object is missing or altered. A run that meets it makes it again; a command adds what its user can do. */
export const artifactDamaged = (name: string, reason: string) => fileError('artifact.damaged', { file: name }, reason);
export const storageFull = (path: string) =>
  fileError('storage.full', { file: path }, 'there is no space left on its file system.', 'Free some.');
/** A disk that is failing, or a network file system that is gone. */
export const storageUnreadable = (path: string) =>
  fileError(
    'storage.unreadable',
    { file: path },
    'the disk cannot read it (EIO).',
    'Check the disk. What is deleted or moved away is made again by a run with the same spec.',
  );
/** `code`: EROFS, EACCES or EPERM. */
export const storageRefused = (path: string, code: string) =>
  fileError(
    'storage.not-writable',
    { file: path },
    `the file system refuses access (${code}).`,
    'Make it readable and writable for this user.',
  );
/** `address`: what was asked, where the engine is an address. */
export const engineUnreachable = (
  engine: string,
  reason: string,
  { waitMs, address }: { waitMs?: number | undefined; address?: string | undefined } = {},
) =>
  transient(
    'engine.unreachable',
    `Engine ${show(engine)}${at(address)} does not answer (${reason}).`,
    waitMs === undefined
      ? 'It is tried again; see its log or `srlm doctor`.'
      : `It asks for a wait: it is tried again in ${Math.ceil(waitMs / 60_000)} min.`,
    waitMs,
  );
const at = (address: string | undefined) => (address === undefined ? '' : ` at ${address}`);
/** Not retried by Temporal: the run records it as a decision and continues. */
export const engineBatchHalved = (engine: string, reason: string) =>
  userError('engine.batch-halved', `Engine ${show(engine)}: ${reason}`);
export const engineOutOfMemory = (engine: string, reason: string) =>
  userError(
    'engine.out-of-memory',
    `Engine ${show(engine)} ran out of memory at its smallest batch: ${reason}`,
    'Lower sampling.maxTokens or free memory, then `srlm retry`.',
  );
/** By the kernel, which any process of the machine may have caused: tried again, but not a hundred times. */
export const engineEndedForMemory = (engine: string) =>
  new Problem({
    type: 'engine.out-of-memory',
    retry: true,
    attempts: 5,
    reason: `Memory ran out, and the system ended the model server of engine ${show(engine)}.`,
    hint: 'Lower sampling.maxTokens, or the maxBatch of the engine in temporal.config.ts, or free memory; then `srlm retry`.',
  });
const HINTS: Record<number, string> = {
  401: 'Set the variable that apiKeyEnv names to a valid key, start the worker again',
  403: 'Check the key, what its account may use, and what is between the endpoint and this machine',
  404: 'Check baseUrl (of most endpoints it ends in /v1) and model in temporal.config.ts, start the worker again',
  405: 'Check baseUrl in temporal.config.ts (of most endpoints it ends in /v1), start the worker again',
};
export const engineRefused = (
  engine: string,
  status: number,
  message: string,
  { address, hint }: { address?: string | undefined; hint?: string } = {},
) =>
  userError(
    'engine.refused',
    `Engine ${show(engine)}${at(address)} refused the request (${status}: ${message}).`,
    hint ?? `${HINTS[status] ?? 'Fix the cause'}, then \`srlm retry\`.`,
  );
/** `what` came instead of an answer; `beginning`: of it, without the key. */
export const engineNotUnderstood = (engine: string, address: string | undefined, what: string, beginning: string) =>
  userError(
    'engine.not-understood',
    `Engine ${show(engine)}${at(address)} sent ${what} in place of an answer of OpenAI's chat API${beginning === '' ? '' : `; it begins: ${beginning}`}.`,
    'Check baseUrl in temporal.config.ts, and what is between it and this machine; then `srlm retry`.',
  );
export const engineWrongWeights = (engine: string, want: string, found: string) =>
  transient('engine.wrong-weights', `Engine ${show(engine)} holds ${found}, not ${want}.`, 'They are loaded again.');
/** After five times an hour has passed, and it will not pass by itself. */
const STALLS = 5;
const SLOW = 'If it was only slow, set a larger stallMinutes in temporal.config.ts.';
export const engineStalled = (engine: string, minutes: number) =>
  new Problem({
    type: 'engine.stalled',
    retry: true,
    attempts: STALLS,
    reason: `The model server of engine ${show(engine)} made no progress for ${minutes} min and was ended.`,
    hint: `It is started again. ${SLOW}`,
  });
/** `isUnsendable`: something is there that no header may hold, and which is not shown. */
export const keyMissing = (engine: string, variable: string, isUnsendable = false) =>
  userError(
    'engine.key-missing',
    `Engine ${show(engine)} needs the environment variable ${variable} on the worker${isUnsendable ? ' to hold a key alone, without spaces or line breaks' : ''}.`,
    'Set it, start the worker again, then `srlm retry`.',
  );
export const trainerFailed = (type: string, message: string, log: string) =>
  userError(`trainer.${type}`, `The trainer stopped: ${message}`, `See ${log}, fix the cause, then \`srlm retry\`.`);
/** Killed, preempted, lost: started again, it resumes from its newest checkpoint. */
export const trainerLost = (reason: string) =>
  transient('trainer.lost', reason, 'It resumes from its newest checkpoint.');
export const trainerStalled = (minutes: number) =>
  new Problem({
    type: 'trainer.stalled',
    retry: true,
    attempts: STALLS,
    reason: `The trainer made no progress for ${minutes} min and was ended.`,
    hint: `It resumes from its newest checkpoint. ${SLOW}`,
  });

function size(bytes: number): string {
  if (bytes < 1e9) return `${Math.ceil(bytes / 1e6)} MB`;
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
