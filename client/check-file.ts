/**
 * Reads a whole file as a run would, stores nothing, and reports what is in it: what it will be trained on, which fields
 * are used for what, what is wrong with it, and which `fields` would make it readable. Throws what is wrong with the file
 * as a whole.
 */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Problem } from '../contracts/errors.js';
import type { Message } from '../contracts/rows.js';
import { type Fields, PromptTemplates } from '../contracts/spec.js';
import type { DataKind } from '../contracts/steps.js';
import { type DataRow, readData, readValues } from '../method/formats/index.js';
import { suggestFields } from '../method/formats/suggest.js';
import { Survey } from '../method/formats/survey.js';
import { evaluateMessages } from '../method/graders/index.js';
import { answerMessages, enrichPrompt, reply, sampleMessages } from '../method/prompts.js';
import { readFileBytes } from '../storage/unpack.js';
import { hasReplacement, replacements } from './preflight.js';

/** A row as the model reads and writes it. `reply` null: it writes it freely. */
export interface Sample {
  prompt: Message[];
  reply: string | null;
}

export interface FileReport {
  file: string;
  kind: DataKind;
  /** Those that can be used. */
  rows: number;
  missingRationales: number;
  warnings: string[];
  meanInstructionChars: number;
  meanRationaleChars: number;
  meanAnswerChars: number;
  longestChars: number;
  /** Part of a row -> the fields that it was read from. */
  uses: Record<string, string[]>;
  unused: string[];
  /** Rows that cannot be used: how many, the first of them, and all by reason. */
  invalid: number;
  faults: { type: string; message: string }[];
  reasons: { reason: string; rows: number; line: number | null }[];
  /** Rows that ask what an earlier row asked. */
  duplicates: number;
  /** The first row; null: there is none. */
  sample: Sample | null;
  /** Fields with which most rows could be read that cannot be read now. */
  suggested: Fields | null;
}

const SUGGEST_FROM_ROWS = 100;

export async function checkFile(
  kind: DataKind,
  { path, fields, limit = null }: { path: string; fields: Fields; limit?: number | null },
  folder: string,
  onSample: (sample: Sample) => void = () => {},
): Promise<FileReport> {
  const read = () => readFileBytes(resolve(folder, path), path);
  // A pipe can be read only once.
  const isFile = (await stat(resolve(folder, path)).catch(() => null))?.isFile() ?? false;
  const survey = new Survey();
  const totals = { rows: 0, missingRationales: 0, replaced: 0, instruction: 0, rationale: 0, answer: 0, longest: 0 };
  let duplicates = 0;
  const asked = new Set<string>();
  let sample: Sample | null = null;
  const watch = { onUses: survey.onUses, onFault: survey.onFault };
  try {
    for await (const row of readData(kind, read(), path, fields, limit, watch)) {
      const instruction = 'instruction' in row ? row.instruction : row.question;
      const rationale = 'rationale' in row ? row.rationale : '';
      const answer = ('answer' in row ? row.answer : null) ?? '';
      totals.rows++;
      if (hasReplacement(row)) totals.replaced++;
      if ('original' in row && row.original === null) totals.missingRationales++;
      totals.instruction += instruction.length;
      totals.rationale += rationale.length;
      totals.answer += answer.length;
      totals.longest = Math.max(totals.longest, instruction.length + rationale.length + answer.length);
      const print = fingerprint(JSON.stringify([instruction, 'choices' in row ? row.choices : null]));
      if (asked.has(print)) duplicates++;
      asked.add(print);
      const found = sampleOf(kind, row);
      sample ??= found;
      onSample(found);
    }
  } catch (error) {
    // That no row is usable is shown by what is wrong with them.
    if (!(error instanceof Problem && error.type === 'data.unusable' && survey.faults > 0 && totals.rows === 0))
      throw error;
  }
  const mean = (sum: number) => Math.round(sum / Math.max(1, totals.rows));
  return {
    file: path,
    kind,
    rows: totals.rows,
    missingRationales: totals.missingRationales,
    warnings: totals.replaced > 0 ? [replacements(totals.replaced)] : [],
    meanInstructionChars: mean(totals.instruction),
    meanRationaleChars: mean(totals.rationale),
    meanAnswerChars: mean(totals.answer),
    longestChars: totals.longest,
    uses: survey.uses,
    unused: survey.unused,
    invalid: survey.faults,
    faults: survey.firstFaults.map(({ type, message }) => ({ type, message })),
    reasons: survey.reasons,
    duplicates,
    sample,
    suggested:
      survey.faults > totals.rows && isFile ? suggestFields(kind, await firstValues(read(), path), fields) : null,
  };
}

async function firstValues(bytes: AsyncIterable<Uint8Array>, path: string): Promise<unknown[]> {
  const values: unknown[] = [];
  for await (const { value, problem } of readValues(bytes, path)) {
    if (!problem) values.push(value);
    if (values.length === SUGGEST_FROM_ROWS) break;
  }
  return values;
}

const fingerprint = (text: string): string => createHash('sha256').update(text).digest('base64').slice(0, 16);

/** With the templates of a spec that names none. */
function sampleOf(kind: DataKind, row: DataRow[DataKind]): Sample {
  const templates = PromptTemplates.parse({});
  const user = (content: string): Message[] => [{ role: 'user', content }];
  if ('enriched' in row)
    return {
      prompt: user(enrichPrompt(templates, { ...row, original: row.rationale }, 'original')),
      reply: row.enriched,
    };
  if ('question' in row) return { prompt: evaluateMessages(templates, row), reply: row.answer };
  const prompt = kind === 'prompts' ? sampleMessages(null, null, row) : answerMessages(templates, row);
  if (!('original' in row)) return { prompt, reply: null };
  return { prompt, reply: reply(templates, row.original ?? '(a short rationale, which the model writes)', row.answer) };
}
