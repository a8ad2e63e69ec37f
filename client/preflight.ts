/**
 * Everything that can be found wrong before a run starts: engines and trainers, files and their rows, the model folder,
 * the artifact root, the disk. Each data file is read once: its rows are checked and stored in the same pass, and the
 * run finds them stored. Needs no Temporal. Throws the first Problem; what is only unusual is returned as a warning.
 */
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { newId } from '../config/run-id.js';
import type { Deployment } from '../contracts/deployment.js';
import {
  dataUnusable,
  diskTooFull,
  evaluationLeaks,
  fileMissing,
  fileUnpackable,
  modelUnusable,
  nameUnknown,
  trainingInvalid,
} from '../contracts/errors.js';
import type { RunInput, SampleInput } from '../contracts/run.js';
import { type Fields, type RunSpec, type SampleSpec, splitRunSpec, splitSampleSpec } from '../contracts/spec.js';
import type { DataKind } from '../contracts/steps.js';
import { batchProblem } from '../contracts/training.js';
import { requireCapability } from '../engines/engine.js';
import { EngineHost } from '../engines/index.js';
import { readData } from '../method/formats/index.js';
import { scoresOf } from '../method/selectors/index.js';
import { openStore, type Store } from '../storage/store.js';
import { readFileBytes } from '../storage/unpack.js';
import { ingest } from './ingest.js';

/** What a run is started with, but for what the connection decides. */
export interface Checked<Input> {
  /** The id that the run will have. */
  runId: string;
  input: Omit<Input, 'config'>;
  warnings: string[];
}

export interface FileReport {
  file: string;
  kind: DataKind;
  rows: number;
  missingRationales: number;
  meanInstructionChars: number;
  meanRationaleChars: number;
  meanAnswerChars: number;
}

interface Source {
  path: string;
  fields: Fields;
  limit?: number | undefined;
}

/** `folder`: what relative data paths of the spec are relative to. */
export async function checkRun(
  spec: RunSpec,
  deployment: Deployment,
  folder: string,
  runId = newId(spec.name),
): Promise<Checked<RunInput>> {
  const store = openStore(deployment);
  const { data, catalysts, evaluation } = spec;
  checkMachines(spec, deployment);
  for (const source of [data, catalysts, evaluation]) if (source !== 'none') await checkPresence(source, folder);
  const model = await store.models.inspect(spec.model.path);

  const { settings, texts } = splitRunSpec(spec);
  const common = { store, texts: await store.objects.putJson(texts), folder, run: runId };
  const { chunkSize } = spec.sampling;
  const warnings: string[] = [];
  const instructions = new Set<string>();
  const examples = await ingest(common, { kind: 'examples', source: 'data', chunkSize }, data, ({ instruction }) => {
    instructions.add(fold(instruction));
  });
  const files: Pick<RunInput, 'catalysts' | 'evaluation'> = { catalysts: null, evaluation: null };
  if (catalysts !== 'none') {
    const step = { kind: 'catalysts', source: 'catalysts', chunkSize } as const;
    const { file } = await ingest(common, step, catalysts, ({ answer }) => {
      if (catalysts.use === 'answer' && answer === null)
        throw dataUnusable(catalysts.path, 'a catalyst has no answer, which catalysts.use: answer needs.');
    });
    files.catalysts = file;
  } else if (spec.rounds > 0) {
    warnings.push('There are no catalysts: the model is not taught to enrich. This is a control arm, not the method.');
  }
  if (evaluation !== 'none') {
    let shared = 0;
    const step = { kind: 'questions', source: 'evaluation', chunkSize: evaluation.chunkSize } as const;
    const { file } = await ingest(common, step, evaluation, ({ question }) => {
      if (instructions.has(fold(question))) shared++;
    });
    files.evaluation = file;
    const leak = evaluationLeaks(evaluation.path, shared);
    if (shared > 0 && spec.strict) throw leak;
    if (shared > 0) warnings.push(`${evaluation.path}: ${leak.reason}`);
  } else {
    warnings.push('There is no evaluation: rounds are not compared, and none is rolled back.');
  }
  await checkDisk(store, spec, examples.rows, model.bytes);
  const input = { version: 2 as const, settings, texts: common.texts, data: examples.file, ...files, fork: null };
  return { runId, input, warnings };
}

export async function checkSample(
  spec: SampleSpec,
  deployment: Deployment,
  folder: string,
  runId = newId(spec.name),
): Promise<Checked<SampleInput>> {
  const store = openStore(deployment);
  const engine = new EngineHost(deployment, null).engine(spec.engine);
  if (spec.model) requireCapability(engine, 'loadsWeights', 'model');
  else if (engine.capabilities.loadsWeights)
    throw modelUnusable('model', `engine ${spec.engine} needs a model in the spec.`);
  await checkPresence(spec.data, folder);
  if (spec.model) await store.models.inspect(spec.model.path);

  const { settings, texts } = splitSampleSpec(spec);
  const common = { store, texts: await store.objects.putJson(texts), folder, run: runId };
  const step = { kind: 'prompts', source: 'data', chunkSize: spec.sampling.chunkSize } as const;
  const { file } = await ingest(common, step, spec.data, () => {});
  return {
    runId,
    input: { version: 2, settings, texts: common.texts, data: file, loadsModel: spec.model !== undefined },
    warnings: [],
  };
}

/** Reads a whole file as a run would, and stores nothing. Throws what is wrong with it, by line and field. */
export async function checkFile(kind: DataKind, source: Source, folder: string): Promise<FileReport> {
  const { path, fields, limit = null } = source;
  let rows = 0;
  let missingRationales = 0;
  const chars = { instruction: 0, rationale: 0, answer: 0 };
  for await (const row of readData(kind, readFileBytes(resolve(folder, path), path), path, fields, limit)) {
    rows++;
    if ('original' in row && row.original === null) missingRationales++;
    chars.instruction += ('instruction' in row ? row.instruction : row.question).length;
    if ('rationale' in row) chars.rationale += row.rationale.length;
    if ('answer' in row) chars.answer += row.answer?.length ?? 0;
  }
  const mean = (sum: number) => Math.round(sum / Math.max(1, rows));
  return {
    ...{ file: path, kind, rows, missingRationales },
    meanInstructionChars: mean(chars.instruction),
    meanRationaleChars: mean(chars.rationale),
    meanAnswerChars: mean(chars.answer),
  };
}

/** Engines that can do what the spec asks of them, and a trainer whose processes the batch can be shared among. */
function checkMachines(spec: RunSpec, deployment: Deployment): void {
  const { selection, training, trainer: name, rationalizeEngine } = spec;
  const engines = new EngineHost(deployment, null);
  const engine = engines.engine(spec.engine);
  if (rationalizeEngine) engines.engine(rationalizeEngine);
  const trainer = Object.hasOwn(deployment.trainers, name) ? deployment.trainers[name] : undefined;
  if (!trainer) throw nameUnknown('trainer', name, Object.keys(deployment.trainers));
  if (scoresOf(selection.selector).length > 0)
    requireCapability(engine, 'promptLogprobs', `selection.selector: ${selection.selector}`);
  requireCapability(engine, 'loadsWeights', 'a run, which samples from the model it has just trained,');
  const problem = batchProblem(training, trainer.processes);
  if (problem) throw trainingInvalid(name, problem);
}

/** A missing file is reported before others are read, which can take minutes. */
async function checkPresence({ path }: Source, folder: string): Promise<void> {
  const found = await stat(resolve(folder, path)).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? fileMissing(path) : fileUnpackable(path, `it cannot be read (${error.code}).`);
  });
  if (found.isDirectory()) throw fileUnpackable(path, 'this is a folder, not a file.');
}

/** What a run writes: a model a round, checkpoints with the state of the optimizer, and texts. */
async function checkDisk(store: Store, spec: RunSpec, rows: number, modelBytes: number): Promise<void> {
  const models = (spec.rounds + 1) * modelBytes;
  // A full checkpoint holds weights and two moments, in up to four times the bytes of the stored weights.
  const checkpoints =
    spec.training.method === 'full' ? (spec.training.checkpoint.keep + 1) * 4 * modelBytes : modelBytes;
  const texts = rows * spec.sampling.k * spec.sampling.maxTokens * 6 * Math.max(1, spec.rounds);
  const need = models + checkpoints + texts;
  const free = await store.freeBytes();
  if (free < need) throw diskTooFull(store.root, need, free);
}

const fold = (text: string) => text.toLowerCase().replace(/\s+/g, ' ').trim();
