/**
 * Reads a file of catalysts as a run would, and beside it training and evaluation data, row by row, and reports what is in
 * it and what is wrong with it. Stores nothing. Throws what is wrong with a file as a whole.
 */
import { resolve } from 'node:path';
import { Problem } from '../contracts/errors.js';
import { type Fields, PromptTemplates } from '../contracts/spec.js';
import type { DataKind } from '../contracts/steps.js';
import { CatalystMeasures, type Measured } from '../method/catalysts/measure.js';
import { type DataRow, readData } from '../method/formats/index.js';
import { Survey } from '../method/formats/survey.js';
import { readFileBytes } from '../storage/unpack.js';

export interface CatalystReport extends Measured {
  file: string;
  /** Rows that cannot be used: how many, and the first of them. */
  invalid: number;
  faults: string[];
  /** Rows that the set was compared with; null: no such file was named. */
  trainingRows: number | null;
  evaluationRows: number | null;
}

export interface CatalystFiles {
  file: string;
  fields: Fields;
  training?: string | undefined;
  evaluation?: string | undefined;
}

export const mustFix = ({ invalid, findings }: CatalystReport): boolean =>
  invalid > 0 || findings.some((finding) => finding.mustFix);

export async function checkCatalystFile(
  { file, fields, training, evaluation }: CatalystFiles,
  folder: string,
): Promise<CatalystReport> {
  const measures = new CatalystMeasures(PromptTemplates.parse({}), {
    training: training !== undefined,
    evaluation: evaluation !== undefined,
  });
  const survey = new Survey();
  try {
    for await (const row of rowsOf('catalysts', file, folder, fields, survey)) measures.add(row);
  } catch (error) {
    // That no row is usable is shown by what is wrong with them.
    if (!(error instanceof Problem && error.type === 'data.unusable' && survey.faults > 0)) throw error;
  }
  const compared = { trainingRows: null as number | null, evaluationRows: null as number | null };
  if (training !== undefined) {
    compared.trainingRows = 0;
    for await (const { id, instruction, rationale, answer } of rowsOf('examples', training, folder)) {
      measures.compare('training', { id, question: instruction, text: `${rationale}\n${answer}` });
      compared.trainingRows++;
    }
  }
  if (evaluation !== undefined) {
    compared.evaluationRows = 0;
    for await (const { id, question } of rowsOf('questions', evaluation, folder)) {
      measures.compare('evaluation', { id, question, text: '' });
      compared.evaluationRows++;
    }
  }
  const faults = survey.firstFaults.map(({ message }) => message);
  return { file, ...measures.measured, invalid: survey.faults, faults, ...compared };
}

function rowsOf<Kind extends DataKind>(
  kind: Kind,
  path: string,
  folder: string,
  fields: Fields = {},
  survey?: Survey,
): AsyncGenerator<DataRow[Kind]> {
  const bytes = readFileBytes(resolve(folder, path), path);
  return readData(kind, bytes, path, fields, null, survey ? { onUses: survey.onUses, onFault: survey.onFault } : {});
}
