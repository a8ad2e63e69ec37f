/**
 * Everything that can be found wrong before a run starts: files and their rows, the model folder, engines and
 * trainers, the artifact root, the disk. Reads each data file once, whole. Throws the first Problem; returns warnings.
 */
import { readdir, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { resolveModel } from '../activities/prepare.js';
import type { Deployment } from '../contracts/deployment.js';
import {
  dataUnusable,
  diskTooFull,
  engineLacks,
  evaluationLeaks,
  modelUnusable,
  nameUnknown,
} from '../contracts/errors.js';
import type { RunSpec, SampleSpec } from '../contracts/spec.js';
import type { DataKind } from '../contracts/steps.js';
import { readData } from '../method/formats.js';
import { readPlain } from '../storage/plain.js';
import { ArtifactStore } from '../storage/store.js';

export interface Checked {
  warnings: string[];
  /** Absolute paths of the user's files. */
  files: { data: string; catalysts: string | null; evaluation: string | null };
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

/** `folder`: what relative data paths of the spec are relative to. */
export async function checkRun(spec: RunSpec, deployment: Deployment, folder: string): Promise<Checked> {
  const store = ArtifactStore.open(deployment.artifactRoot);
  const warnings: string[] = [];
  const engine = deployment.engines[spec.engine];
  if (!engine) throw nameUnknown('engine', spec.engine, Object.keys(deployment.engines));
  if (!deployment.trainers[spec.trainer]) throw nameUnknown('trainer', spec.trainer, Object.keys(deployment.trainers));
  if (engine.kind === 'openai') {
    const scores = spec.selection.selector !== 'length' && spec.selection.selector !== 'random';
    if (scores && !engine.promptLogprobs) {
      throw engineLacks(
        spec.engine,
        'give log-probabilities of a prompt',
        `selection.selector: ${spec.selection.selector}`,
      );
    }
    throw engineLacks(spec.engine, 'load new weights', 'a run, which samples from the model it has just trained,');
  }
  const writer = spec.rationalizeEngine;
  if (writer && !deployment.engines[writer]) throw nameUnknown('engine', writer, Object.keys(deployment.engines));

  const files = {
    data: resolve(folder, spec.data.path),
    catalysts: spec.catalysts === 'none' ? null : resolve(folder, spec.catalysts.path),
    evaluation: spec.evaluation === 'none' ? null : resolve(folder, spec.evaluation.path),
  };
  const questions = new Set<string>();
  const trained = await checkFile('examples', files.data, spec.data, (row) =>
    questions.add(fold((row as { instruction: string }).instruction)),
  );
  if (spec.catalysts !== 'none') {
    const { use, path } = spec.catalysts;
    await checkFile('catalysts', files.catalysts!, spec.catalysts, (row) => {
      if (use === 'answer' && (row as { answer: string | null }).answer === null) {
        throw dataUnusable(path, 'a catalyst has no answer, which catalysts.use: answer needs.');
      }
    });
  } else if (spec.rounds > 0) {
    warnings.push('There are no catalysts: the model is not taught to enrich. This is a control arm, not the method.');
  }
  if (spec.evaluation !== 'none') {
    let shared = 0;
    await checkFile('questions', files.evaluation!, spec.evaluation, (row) => {
      if (questions.has(fold((row as { question: string }).question))) shared++;
    });
    if (shared > 0) {
      const leak = evaluationLeaks(spec.evaluation.path, shared);
      if (spec.strict) throw leak;
      warnings.push(`${spec.evaluation.path}: ${leak.says}`);
    }
  } else {
    warnings.push('There is no evaluation: rounds are not compared, and none is rolled back.');
  }
  const model = await checkModel(spec.model.path, deployment);
  await checkDisk(store, spec, trained.rows, model.bytes);
  return { warnings, files };
}

export async function checkSample(spec: SampleSpec, deployment: Deployment, folder: string): Promise<Checked> {
  ArtifactStore.open(deployment.artifactRoot);
  const engine = deployment.engines[spec.engine];
  if (!engine) throw nameUnknown('engine', spec.engine, Object.keys(deployment.engines));
  if (engine.kind === 'openai' && spec.model) throw engineLacks(spec.engine, 'load weights', 'model');
  if (engine.kind === 'builtin') {
    if (!spec.model) throw modelUnusable('model', `engine ${spec.engine} needs a model in the spec.`);
    await checkModel(spec.model.path, deployment);
  }
  const data = resolve(folder, spec.data.path);
  await checkFile('prompts', data, spec.data);
  return { warnings: [], files: { data, catalysts: null, evaluation: null } };
}

/** Reads a whole file as the run would. Throws what is wrong with it, by line and field. */
export async function checkFile(
  kind: DataKind,
  path: string,
  source: { path: string; fields: object; limit?: number | undefined },
  each: (row: object) => void = () => {},
): Promise<FileReport> {
  const report = { file: source.path, kind, rows: 0, missingRationales: 0 };
  let instruction = 0;
  let rationale = 0;
  let answer = 0;
  for await (const row of readData(
    kind,
    readPlain(path, source.path),
    source.path,
    source.fields,
    source.limit ?? null,
  )) {
    report.rows++;
    if ('rationale' in row && row.rationale === null) report.missingRationales++;
    instruction += ('instruction' in row ? row.instruction : row.question).length;
    if ('rationale' in row) rationale += row.rationale?.length ?? 0;
    if ('answer' in row) answer += row.answer?.length ?? 0;
    each(row);
  }
  const mean = (sum: number) => Math.round(sum / Math.max(1, report.rows));
  return {
    ...report,
    meanInstructionChars: mean(instruction),
    meanRationaleChars: mean(rationale),
    meanAnswerChars: mean(answer),
  };
}

async function checkModel(path: string, deployment: Deployment): Promise<{ bytes: number }> {
  return { bytes: await folderBytes(await resolveModel(path, deployment)) };
}

/** What a run writes: a model a round, a checkpoint or two with the optimizer's state, and texts. */
async function checkDisk(store: ArtifactStore, spec: RunSpec, rows: number, modelBytes: number): Promise<void> {
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

async function folderBytes(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(folder)) bytes += (await stat(resolve(folder, name))).size;
  return bytes;
}
