/**
 * `srlm init`: a commented spec for a data file and a model, by looking at both. It holds what is particular to them, and
 * what most people change first; docs/reference/spec.md has the rest. Never replaces a file.
 * Throws file.not-writable, what is wrong with the file as a whole, data.unusable where no row can be read, and what is
 * wrong with the model folder.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { parse } from 'yaml';
import type { Deployment } from '../contracts/deployment.js';
import { dataUnusable, fileNotWritable, shellWord } from '../contracts/errors.js';
import { type Fields, RunSpec } from '../contracts/spec.js';
import { packageRoot } from '../processes/python.js';
import { codeOf } from '../storage/files.js';
import { openStore } from '../storage/store.js';
import { checkFile, type FileReport } from './check-file.js';
import { checkCommand, fieldsYaml, yamlWord } from './fields-yaml.js';

export interface FirstSpecRequest {
  data: string;
  model: string | null;
  fields: Fields;
  out: string | null;
}

/** A token of English has about four characters; of figures and other languages, fewer. */
const CHARS_PER_TOKEN = 3;
const [LEAST_LENGTH, MOST_LENGTH] = [256, 4096];
/** The tokens of an enriched rationale. Its prompt has about a hundred tokens besides the row. */
const RATIONALE_TOKENS = 256;
const PROMPT_TOKENS = 128;
/** Where the model does not say how long its texts may be. */
const DEFAULT_CONTEXT = 2048;

interface ModelFacts {
  path: string;
  /** Tokens. */
  context: number;
  bytes: number | null;
}

export async function writeFirstSpec(
  { data, model, fields, out }: FirstSpecRequest,
  deployment: Deployment,
  folder: string,
): Promise<{ spec: string; notes: string[] }> {
  const name = nameOf(data);
  const spec = out ?? `${name}.yaml`;
  if (existsSync(resolve(folder, spec))) throw fileNotWritable(spec, 'it exists, and is not replaced');
  const { report, mapped } = await readable(data, fields, folder);
  const facts = await modelFacts(model, deployment);
  const base = dirname(resolve(folder, spec));
  const text = specText({ name, base, data: resolve(folder, data), report, mapped, facts });
  RunSpec.parse(parse(text));
  await writeFile(resolve(folder, spec), text, { flag: 'wx' }).catch((error) => {
    const exists = codeOf(error) === 'EEXIST';
    throw fileNotWritable(spec, exists ? 'it exists, and is not replaced' : `it cannot be written (${codeOf(error)})`);
  });
  return { spec, notes: notesOn(report, mapped, facts, { model, roots: deployment.modelRoots }) };
}

/** The report on the file, with fields that make it readable if it is not. Throws data.unusable. */
async function readable(data: string, fields: Fields, folder: string): Promise<{ report: FileReport; mapped: Fields }> {
  const report = await checkFile('examples', { path: data, fields }, folder);
  if (report.suggested) {
    const again = await checkFile('examples', { path: data, fields: report.suggested }, folder);
    return { report: again, mapped: report.suggested };
  }
  if (report.rows > 0) return { report, mapped: fields };
  throw dataUnusable(
    data,
    'no row of it can be read as an example.',
    '`srlm data check` shows why; --field maps a field.',
  );
}

async function modelFacts(model: string | null, deployment: Deployment): Promise<ModelFacts> {
  const path = model ?? (await firstModel(deployment.modelRoots));
  if (path === null) return { path: 'NAME-OF-A-MODEL-FOLDER', context: DEFAULT_CONTEXT, bytes: null };
  const { folder, bytes } = await openStore(deployment).models.inspect(path);
  const config: unknown = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'));
  const { max_position_embeddings, text_config } = config as Record<string, unknown>;
  const inner = (text_config as Record<string, unknown> | undefined)?.max_position_embeddings;
  const context = [max_position_embeddings, inner].find((value) => Number.isSafeInteger(value) && Number(value) >= 16);
  return { path, context: Number(context ?? DEFAULT_CONTEXT), bytes };
}

/** A model below the roots, by its path there. */
async function firstModel(roots: readonly string[]): Promise<string | null> {
  for (const root of roots) {
    const entries = await readdir(root, { withFileTypes: true }).catch(() => []);
    const names = entries.map(({ name }) => name).filter((name) => !name.startsWith('.'));
    const found = names.sort().find((name) => existsSync(join(root, name, 'config.json')));
    if (found !== undefined) return found;
  }
  return null;
}

/** `data/train-00000.parquet` -> `train-00000`. */
function nameOf(data: string): string {
  const stem = basename(data).replace(/(?:\.(?:jsonl?|ndjson|csv|tsv|tab|parquet|txt|gz|zst|zstd))+$/i, '');
  const name = stem
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, 60);
  return name || 'run';
}

interface SpecFacts {
  name: string;
  /** The folder of the spec. */
  base: string;
  data: string;
  report: FileReport;
  mapped: Fields;
  facts: ModelFacts;
}

function specText({ name, base, data, report, mapped, facts }: SpecFacts): string {
  const path = (to: string) => yamlWord(/^\.\.[\\/]\.\./.test(relative(base, to)) ? to : relative(base, to) || '.');
  const starter = (file: string) => path(join(packageRoot, 'data', 'starter', file));
  const { rows, invalid, missingRationales, unused, uses } = report;
  const tokens = Math.ceil(report.longestChars / CHARS_PER_TOKEN) + RATIONALE_TOKENS + PROMPT_TOKENS;
  const needed = 2 ** Math.ceil(Math.log2(Math.max(LEAST_LENGTH, tokens)));
  const maxLength = Math.min(needed, facts.context, MOST_LENGTH);
  const maxTokens = Math.min(RATIONALE_TOKENS, Math.ceil(maxLength / 2));
  const read = Object.entries(uses).map(([part, names]) => `${part} from ${names.join(', ')}`);
  const takes = facts.bytes === null ? 'a model is taken to read' : 'the model takes';
  const isSmall = facts.bytes !== null && facts.bytes < 2e9;
  return `${[
    `# Written by \`srlm init\`. Every field: docs/reference/spec.md.`,
    `#   ${oneLine(checkCommand(data, mapped, facts.bytes === null ? '' : ` --model ${shellWord(facts.path)}`))}`,
    `name: ${yamlWord(name)}`,
    ``,
    `# A Hugging Face folder below a model root of temporal.config.ts.`,
    `model: { path: ${yamlWord(facts.path)} }`,
    ``,
    `# ${rows} rows can be used: ${oneLine(read.join('; '))}.`,
    ...(unused.length > 0
      ? [
          `# Not used: ${oneLine(unused.slice(0, 12).join(', '))}. Several fields may be one's input: fields: { input: [a, b] }.`,
        ]
      : []),
    ...(missingRationales > 0
      ? [`# ${missingRationales} rows have no rationale: the model writes a short one before round 0.`]
      : []),
    `data:`,
    `  path: ${path(data)}`,
    ...(Object.keys(mapped).length > 0 ? [`  fields: ${fieldsYaml(mapped)}`] : []),
    ...(invalid > 0 ? [`  # ${invalid} rows cannot be used.`, `  skipInvalid: true`] : []),
    `  # limit: 64  # begin with a few rows`,
    ``,
    `# Demonstrations of how a short rationale becomes a richer one. These come with srlm; yours may be better.`,
    `catalysts: { path: ${starter('catalysts.jsonl')} }`,
    ``,
    `# Held-out questions, by which rounds are compared. Replace them by some of your own task that are not in the data.`,
    `evaluation: { path: ${starter('evaluation.jsonl')}, limit: 64, maxTokens: ${maxTokens} }`,
    ``,
    `rounds: 2`,
    `# k rationales are written for each row, and maxTokens ends each; raise it if many are cut.`,
    `sampling: { k: 4, maxTokens: ${maxTokens} }`,
    `# off-policy, on-policy, vote, rank-sum or length.`,
    `selection: { selector: off-policy }`,
    `training:`,
    `  epochs: 3`,
    `  learningRate: ${isSmall ? '1.0e-4' : '2.0e-5'}`,
    `  # Tokens. The longest row has ${report.longestChars} characters; ${takes} ${facts.context} tokens.`,
    `  maxLength: ${maxLength}`,
  ].join('\n')}\n`;
}

/** Within a comment. */
const oneLine = (text: string) => text.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, ' ').slice(0, 300);

interface Asked {
  model: string | null;
  roots: readonly string[];
}

function notesOn(report: FileReport, mapped: Fields, facts: ModelFacts, { model, roots }: Asked): string[] {
  return [
    ...(report.suggested === null && Object.keys(mapped).length > 0 ? [`Fields: ${fieldsYaml(mapped)}`] : []),
    ...(report.invalid > 0 ? [`${report.invalid} rows cannot be used and are left out (skipInvalid: true).`] : []),
    ...(report.unused.length > 0 ? [`Not used: ${report.unused.join(', ')}.`] : []),
    ...(facts.bytes === null
      ? [
          `There is no model below the model roots (${roots.join(', ')}) yet: put its folder there, such as by \`hf download NAME --local-dir FOLDER\` of Hugging Face, and name it in the spec.`,
        ]
      : []),
    ...(facts.bytes !== null && model === null ? [`The model is ${facts.path}; --model names another one.`] : []),
  ];
}
