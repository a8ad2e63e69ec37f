/**
 * Everything that can be found wrong before a run starts: engines and trainers, files and their rows, the model folder,
 * the artifact root, the disk. Each data file is read once: its rows are checked and stored in the same pass, under the
 * key of the run's own ingest step, so that the run finds that step done. Needs no Temporal. Throws the first Problem;
 * what is only unusual is returned as a warning.
 */
import { createHash } from 'node:crypto';
import { access, constants, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { z } from 'zod';
import { ingestOnce } from '../activities/ingest.js';
import { ownSelectorOf } from '../activities/own-selector.js';
import { newId } from '../config/run-id.js';
import type { Deployment } from '../contracts/deployment.js';
import {
  dataUnusable,
  diskTooFull,
  evaluationLeaks,
  fieldsUnused,
  fileMissing,
  fileUnpackable,
  modelUnusable,
  nameUnknown,
  notUsed,
  Problem,
  show,
  trainingInvalid,
} from '../contracts/errors.js';
import type { EvaluationKind } from '../contracts/evaluation-sets.js';
import type { ObjectRef } from '../contracts/refs.js';
import { Catalyst, Example, PromptRow, Question } from '../contracts/rows.js';
import type { RunInput, SampleInput } from '../contracts/run.js';
import type { EvaluationSets } from '../contracts/set-steps.js';
import {
  type Evaluation,
  type Fields,
  type RunSpec,
  type SampleSpec,
  splitRunSpec,
  splitSampleSpec,
} from '../contracts/spec.js';
import type { DataKind, IngestInput } from '../contracts/steps.js';
import { batchProblem } from '../contracts/training.js';
import { requireCapability } from '../engines/engine.js';
import { EngineHost } from '../engines/index.js';
import type { DataRow } from '../method/formats/index.js';
import { describeSelector, scoresToKeep } from '../method/selectors/index.js';
import { type ProbedModel, probeModelIfPossible } from '../processes/probe-model.js';
import { pythonPath } from '../processes/python.js';
import { notAFile } from '../storage/files.js';
import { openStore, type Store } from '../storage/store.js';

/** What a run is started with, except what the connection decides. */
export interface Checked<Input> {
  runId: string;
  input: Omit<Input, 'config'>;
  warnings: string[];
}

export interface Source {
  path: string;
  fields: Fields;
  skipInvalid: boolean;
  limit?: number | undefined;
}

/** `folder`: what relative data paths of the spec are relative to. */
export async function checkRun(
  spec: RunSpec,
  deployment: Deployment,
  folder: string,
  runId = newId(spec.name),
): Promise<Checked<RunInput> & { disk: DiskNeed }> {
  const store = openStore(deployment);
  const { data, catalysts, evaluation } = spec;
  checkMachines(spec, deployment);
  const others = evaluation === 'none' ? {} : evaluation.others;
  for (const source of [data, catalysts, evaluation, ...Object.values(others)])
    if (source !== 'none') await checkPresence(source, folder);
  const model = await store.models.inspect(spec.model.path);
  const probed = await probeModelIfPossible(pythonPath(deployment), model.folder);

  const { settings, texts: specTexts } = splitRunSpec(spec);
  const texts = await store.objects.putJson(specTexts);
  const site = { store, texts, folder, runId, strict: spec.strict };
  const { chunkSize } = spec.sampling;
  const warnings = warningsOf(model.folder, probed);
  const instructions = new Set<string>();
  const examples = await ingest(site, { kind: 'examples', source: 'data', chunkSize }, data, (row) => {
    assertRoles(row, data.path, model.folder, probed);
    instructions.add(fingerprint(row.instruction));
  });
  warnings.push(...examples.warnings);
  let catalystFile: ObjectRef | null = null;
  if (catalysts !== 'none') {
    const step = { kind: 'catalysts', source: 'catalysts', chunkSize } as const;
    const ingested = await ingest(site, step, catalysts, ({ answer, instruction }) => {
      instructions.add(fingerprint(instruction));
      if (catalysts.use === 'answer' && answer === null)
        throw dataUnusable(catalysts.path, 'a catalyst has no answer, which catalysts.use: answer needs.');
    });
    warnings.push(...ingested.warnings);
    catalystFile = ingested.file;
  } else if (spec.rounds > 0) {
    warnings.push('There are no catalysts: the model is not taught to enrich. This is a control arm, not the method.');
  }
  let evaluationFile: ObjectRef | null = null;
  const sets: EvaluationSets = { version: 1, files: {}, leftOut: {} };
  if (evaluation !== 'none') {
    const isTrainedOn = ({ question }: Question) => instructions.has(fingerprint(question));
    const read = async (field: string, source: typeof evaluation | (typeof others)[string]) => {
      const { path, kind, chunkSize } = source;
      const shared: string[] = [];
      const step = { kind: 'questions', source: 'evaluation', chunkSize, field } as const;
      const ingested = await ingest(site, step, source, (row) => {
        assertRoles(row, path, model.folder, probed);
        assertKind(row, path, kind, field);
        if (isTrainedOn(row)) shared.push(row.id);
      });
      warnings.push(...ingested.warnings);
      const leak = evaluationLeaks(path, shared.length, ingested.rows);
      if (shared.length > 0 && spec.strict) throw leak;
      if (shared.length > 0) warnings.push(`${path}: ${leak.reason}`);
      // Where all are, none is left out: nothing would be left to score.
      return { file: ingested.file, rows: ingested.rows, shared: shared.length === ingested.rows ? [] : shared };
    };
    const gate = await read('evaluation', evaluation);
    evaluationFile = gate.file;
    warnings.push(...costOfCurves(evaluation, gate.rows, spec.rounds));
    if (gate.shared.length > 0) sets.leftOut[''] = gate.shared;
    for (const [name, source] of Object.entries(others)) {
      const { file, shared } = await read(`evaluation.others.${name}`, source);
      sets.files[name] = file;
      if (shared.length > 0) sets.leftOut[name] = shared;
    }
  } else {
    warnings.push('There is no evaluation: rounds are not compared, and none is rolled back.');
  }
  const disk = diskNeed(spec, examples.rows, model.bytes);
  await checkDisk(store, disk.models + disk.checkpoints + disk.texts);
  const input: Checked<RunInput>['input'] = {
    version: 2,
    settings,
    texts,
    data: examples.file,
    catalysts: catalystFile,
    evaluation: evaluationFile,
    ...(isEmpty(sets.files) && isEmpty(sets.leftOut)
      ? {}
      : { sets: { ...(await store.objects.putJson(sets)), others: Object.keys(sets.files).length } }),
    fork: null,
  };
  return { runId, input, warnings, disk };
}

export async function checkSample(
  spec: SampleSpec,
  deployment: Deployment,
  folder: string,
  runId = newId(spec.name),
): Promise<Checked<SampleInput>> {
  const store = openStore(deployment);
  const { model, probed, warnings } = await checkAsked(spec, deployment, store, folder);
  const { settings, texts: specTexts } = splitSampleSpec(spec);
  const texts = await store.objects.putJson(specTexts);
  const step = { kind: 'prompts', source: 'data', chunkSize: spec.sampling.chunkSize } as const;
  const { file, ...read } = await ingest({ store, texts, folder, runId, strict: false }, step, spec.data, (row) => {
    if (model) assertRoles(row, spec.data.path, model.folder, probed);
  });
  warnings.push(...read.warnings);
  const input = { version: 2 as const, settings, texts, data: file, loadsModel: spec.model !== undefined };
  return { runId, input, warnings };
}

/** The engine that is asked, and the model that it loads, if it loads one. */
export async function checkAsked(
  spec: Pick<SampleSpec, 'engine' | 'model' | 'system' | 'data'>,
  deployment: Deployment,
  store: Store,
  folder: string,
) {
  const engine = new EngineHost(deployment, null).engine(spec.engine);
  if (spec.model) requireCapability(engine, 'loadsWeights', 'model');
  else if (engine.capabilities.loadsWeights)
    throw modelUnusable('model', `engine ${spec.engine} loads weights, and no model is named.`);
  await checkPresence(spec.data, folder);
  const model = spec.model ? await store.models.inspect(spec.model.path) : null;
  const probed = model && (await probeModelIfPossible(pythonPath(deployment), model.folder));
  if (model && spec.system !== undefined && probed?.takesSystem === false)
    throw modelUnusable(model.folder, `${NO_SYSTEM}, and the spec has one (system).`, 'Write it into the prompt.');
  return { engine, model, probed, warnings: model ? warningsOf(model.folder, probed) : [] };
}

const isEmpty = (map: object) => Object.keys(map).length === 0;

/** Rows that the set's kind cannot grade. Throws data.unusable. */
function assertKind({ id, choices }: Question, file: string, kind: EvaluationKind | undefined, field: string): void {
  const refused = (reason: string) => dataUnusable(file, `row ${show(id)} ${reason}`, `Or leave ${field}.kind out.`);
  const needsChoices = kind === 'choice' || kind === 'choice-likelihood';
  if (needsChoices && choices === null) throw refused(`has no choices, which ${field}.kind: ${kind} needs.`);
  if (kind === 'exact' && choices !== null) throw refused(`has choices, which ${field}.kind: exact does not grade.`);
  if (kind === 'choice-likelihood' && choices?.some((text) => text.trim() === ''))
    throw refused('has a choice without a text, which has no likelihood.');
}

/** Samples and enrichments may take longer than all the rest of a round. */
function costOfCurves({ samples, enrich }: Evaluation, questions: number, rounds: number): string[] {
  // An enriched reply is two texts: the rationale, and the answer after it.
  const each = (samples > 1 ? samples : 0) + 2 * samples * enrich;
  if (each === 0) return [];
  const more = questions * each;
  const shown = (texts: number) => texts.toLocaleString('en-US');
  const all = rounds > 0 ? `, ${shown(more * (rounds + 1))} in all rounds` : '';
  return [
    `evaluation: samples ${samples} and enrich ${enrich} take ${shown(more)} more texts a round${all}; without them a round takes ${shown(questions)}.`,
  ];
}

const warningsOf = (model: string, probed: ProbedModel | null) =>
  (probed?.warnings ?? []).map((warning) => `${model}: ${warning}.`);

const NO_SYSTEM = 'its chat template refuses or leaves out a system message';

/** The model can read the row: its system message, and its turns. */
export function assertRoles(
  { turns }: Pick<PromptRow, 'turns'>,
  file: string,
  model: string,
  probed: Pick<ProbedModel, 'takesSystem' | 'keepsTurns'> | null,
) {
  if (probed?.takesSystem === false && turns?.[0]?.role === 'system')
    throw modelUnusable(
      model,
      `${NO_SYSTEM}, and rows of ${file} begin with one.`,
      'Take the system messages out of the rows, or use another model.',
    );
  if (probed?.keepsTurns === false && turns?.some(({ role }) => role === 'assistant'))
    throw modelUnusable(
      model,
      `its chat template refuses or leaves out earlier turns, and rows of ${file} have some.`,
      'Keep the last turn of each conversation alone, or use another model.',
    );
}

/** Engines that can do what the spec asks of them, and a trainer whose processes the batch can be shared among. */
function checkMachines(spec: RunSpec, deployment: Deployment): void {
  const { selection, training, trainer: name, rationalizeEngine } = spec;
  const engines = new EngineHost(deployment, null);
  const engine = engines.engine(spec.engine);
  if (rationalizeEngine) engines.engine(rationalizeEngine);
  if (selection.judge) engines.engine(selection.judge.engine);
  ownSelectorOf(selection, deployment);
  const trainer = Object.hasOwn(deployment.trainers, name) ? deployment.trainers[name] : undefined;
  if (!trainer) throw nameUnknown('trainer', name, Object.keys(deployment.trainers));
  if (scoresToKeep(selection).names.length > 0)
    requireCapability(engine, 'promptLogprobs', `selection.selector: ${describeSelector(selection.selector)}`);
  for (const [field, kind] of kindsOf(spec))
    if (kind === 'likelihood' || kind === 'choice-likelihood')
      requireCapability(engine, 'promptLogprobs', `${field}: ${kind}`);
  requireCapability(engine, 'loadsWeights', 'a run, which samples from the model it has just trained,');
  const problem = batchProblem(training, trainer.processes);
  if (problem) throw trainingInvalid(name, problem);
}

/** Field and kind of each evaluation set that names one. */
function kindsOf({ evaluation }: RunSpec): [string, EvaluationKind | undefined][] {
  if (evaluation === 'none') return [];
  const others = Object.entries(evaluation.others);
  return [
    ['evaluation.kind', evaluation.kind],
    ...others.map(([name, { kind }]): [string, EvaluationKind | undefined] => [`evaluation.others.${name}.kind`, kind]),
  ];
}

/**
 * What an endpoint that a run asks for texts does not take, or why it does not answer here: its worker may be elsewhere,
 * so that neither is an error. Sends a few tiny requests; none where the key is only on the worker.
 */
export async function tryEngine(name: string | null | undefined, deployment: Deployment): Promise<string[]> {
  if (!name) return [];
  const trial = await new EngineHost(deployment, null).engine(name).tryOut();
  return (trial?.remarks ?? []).map((remark) =>
    trial?.ok ? `Engine ${name}: ${remark}` : `${remark} It was asked from here.`,
  );
}

/** A missing file is reported before others are read, which can take minutes. */
async function checkPresence({ path }: Source, folder: string): Promise<void> {
  const whole = resolve(folder, path);
  try {
    const problem = notAFile(await stat(whole));
    if (problem) throw fileUnpackable(path, problem);
    await access(whole, constants.R_OK);
  } catch (error) {
    throw error instanceof Problem ? error : unreadable(path, error as NodeJS.ErrnoException);
  }
}

const unreadable = (path: string, { code, message }: NodeJS.ErrnoException): Problem =>
  code === 'ENOENT' ? fileMissing(path) : fileUnpackable(path, `it cannot be read (${code ?? message}).`);

/** Bytes that a run writes. */
export interface DiskNeed {
  models: number;
  /** While it trains. */
  checkpoints: number;
  texts: number;
}

/** What a run writes: a model a round, checkpoints with the state of the optimizer, and texts. */
function diskNeed(spec: RunSpec, rows: number, modelBytes: number): DiskNeed {
  const { method, checkpoint } = spec.training;
  return {
    models: (spec.rounds + 1) * modelBytes,
    // A full checkpoint holds weights, master weights and two moments: of bf16 weights, in seven times their bytes.
    checkpoints: method === 'full' ? (checkpoint.keep + 1) * 7 * modelBytes : modelBytes,
    texts: rows * spec.sampling.k * spec.sampling.maxTokens * 6 * Math.max(1, spec.rounds),
  };
}

/** Throws storage.disk-full. */
export async function checkDisk(store: Store, need: number, what: 'run' | 'study' = 'run'): Promise<void> {
  const free = await store.freeBytes();
  if (free < need) throw diskTooFull(store.root, need, free, what);
}

/** Equal for texts that differ in case and spaces only. Short: all instructions of a data set are held at once. */
const fingerprint = (text: string): string =>
  createHash('sha256').update(text.toLowerCase().replace(/\s+/g, ' ').trim()).digest('base64').slice(0, 16);

// --- storing ----------------------------------------------------------------------------------------------------------
const ROWS: { [Kind in DataKind]: z.ZodType<DataRow[Kind]> } = {
  examples: Example,
  catalysts: Catalyst,
  questions: Question,
  prompts: PromptRow,
};

/** U+FFFD: half of a surrogate pair was replaced when the row was read, or something else before that. */
export const hasReplacement = (row: object): boolean =>
  Object.values(row).some((text) => String(text).includes('\uFFFD'));
export const replacements = (rows: number) =>
  `${rows} row${rows === 1 ? ' holds' : 's hold'} U+FFFD, which stands for what is no Unicode character`;

interface Site {
  store: Store;
  texts: ObjectRef;
  folder: string;
  runId: string;
  strict: boolean;
}

/** Stores a file and its rows. `onRow` is called for every row, also where the file was ingested before. */
export async function ingest<Kind extends DataKind>(
  { store, texts, folder, runId, strict }: Site,
  { field, ...step }: Pick<IngestInput, 'source' | 'chunkSize'> & { kind: Kind; field?: string },
  source: Source,
  onRow: (row: DataRow[Kind]) => void,
): Promise<{ file: ObjectRef; rows: number; warnings: string[] }> {
  const file = await store.objects.putFile(resolve(folder, source.path)).catch((error: NodeJS.ErrnoException) => {
    // It was there a moment ago. What is wrong with the store is written, not read.
    throw error.syscall === 'read' || error.path === resolve(folder, source.path)
      ? unreadable(source.path, error)
      : error;
  });
  const input: IngestInput = { ...step, texts, file, limit: source.limit ?? null };
  let replaced = 0;
  const look = (row: DataRow[Kind]) => {
    if (hasReplacement(row)) replaced++;
    onRow(row);
  };
  const ingesting = ingestOnce(store, input, source, runId, (row) => look(row as DataRow[Kind]));
  const { output, reused } = await ingesting.catch((error: unknown) => {
    const isRow = error instanceof Problem && error.type === 'data.invalid';
    throw isRow ? error.adding(`Or leave such rows out with ${field ?? step.source}.skipInvalid: true.`) : error;
  });
  if (reused) {
    const schema: z.ZodType<DataRow[Kind]> = ROWS[step.kind];
    for await (const row of store.datasets.rows(output.dataset, schema)) look(row);
  }
  const { skipped, unused = [] } = output;
  if (strict && unused.length > 0) throw fieldsUnused(source.path, unused);
  const warnings = [
    ...(replaced > 0 ? [replacements(replaced)] : []),
    ...(skipped ? [`${skipped.rows} rows are left out: ${skipped.reasons.map(shownReason).join('; ')}`] : []),
    ...(unused.length > 0 ? [notUsed(unused)] : []),
  ];
  return { file, rows: output.dataset.rows, warnings: warnings.map((warning) => `${source.path}: ${warning}.`) };
}

export const shownReason = ({ reason, rows }: { reason: string; rows: number }) => `${reason} (${rows})`;
