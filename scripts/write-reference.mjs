/**
 * Writes docs/reference/ (spec, sample spec, study, deployment, errors) from the code in dist.
 *   npm run reference                            after a change of a schema or an error
 *   node scripts/write-reference.mjs --check     writes nothing, and fails when a file is out of date
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { CatalystSpec } from '../dist/contracts/catalysts.js';
import { Deployment } from '../dist/contracts/deployment.js';
import * as errors from '../dist/contracts/errors.js';
import { RunSpec, SampleSpec } from '../dist/contracts/spec.js';
import { StudySpec } from '../dist/contracts/study.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'docs/reference');
const NOTE = 'Written by `npm run reference` from the code; changes are made there.';

/** [field, form, default, meaning] of every field, nested ones by their dotted path. */
function fieldsOf(schema, path = '') {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const at = path ? `${path}.${name}` : name;
    const inner = [field, ...(field.anyOf ?? []), ...(field.oneOf ?? [])];
    const map = typeof field.additionalProperties === 'object' ? [[`${at}.NAME`, field.additionalProperties]] : [];
    const nested = [...inner.map((one) => [at, one]), ...map];
    const required = (schema.required ?? []).includes(name) && field.default === undefined;
    const line = [at, formOf(field), required ? '**required**' : shown(field.default), field.description ?? ''];
    const kinds = map.flatMap(([key, one]) => (one.oneOf ?? one.anyOf ?? []).flatMap((kind) => fieldsOf(kind, key)));
    return [line, ...nested.flatMap(([key, one]) => fieldsOf(one, key)), ...kinds];
  });
}

function formOf(field) {
  const options = field.anyOf ?? field.oneOf;
  if (options) return [...new Set(options.map(formOf))].join(' or ');
  if (field.const !== undefined) return `\`${field.const}\``;
  if (field.enum) return field.enum.map((value) => `\`${value}\``).join(', ');
  if (field.type === 'array')
    return field.items
      ? `list of ${formOf(field.items)}`
      : `list (${(field.prefixItems ?? []).map(formOf).join(', ')})`;
  if (field.type === 'object') return 'map';
  if (field.type !== 'integer' && field.type !== 'number') return field.type ?? 'any';
  const least =
    field.exclusiveMinimum !== undefined
      ? `> ${field.exclusiveMinimum}`
      : bound('>=', field.minimum, -Number.MAX_SAFE_INTEGER);
  const most =
    field.exclusiveMaximum !== undefined
      ? `< ${field.exclusiveMaximum}`
      : bound('<=', field.maximum, Number.MAX_SAFE_INTEGER);
  return [field.type === 'integer' ? 'whole number' : 'number', [least, most].filter(Boolean).join(', ')]
    .filter(Boolean)
    .join(' ');
}

const bound = (sign, value, none) => (value === undefined || value === none ? '' : `${sign} ${value}`);
const shown = (value) =>
  value === undefined || typeof value === 'object'
    ? Array.isArray(value)
      ? `\`${JSON.stringify(value)}\``
      : ''
    : typeof value === 'string' && value.length > 40
      ? 'see below'
      : `\`${JSON.stringify(value)}\``;
const cell = (text) => String(text).replaceAll('|', '\\|').replaceAll('\n', ' ');
const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');

function schemaPage(title, words, schema) {
  const json = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  const seen = new Set();
  const rows = fieldsOf(json).filter(([name, form]) => !seen.has(`${name} ${form}`) && seen.add(`${name} ${form}`));
  const long = rows
    .filter(([, , value]) => value === 'see below')
    .map(([name]) => [name, name.split('.').reduce((at, key) => at?.properties?.[key], json)?.default]);
  const texts = long.map(([name, text]) => `### Default of \`${name}\`\n\n\`\`\`\n${text}\n\`\`\``);
  const fields = rows.map(([name, ...rest]) => [`\`${name}\``, ...rest]);
  return `${[`# ${title}`, NOTE, words, table(['field', 'form', 'default', 'meaning'], fields), ...texts].join('\n\n')}\n`;
}

/** Every function of contracts/errors.ts that makes a Problem, called with a placeholder for each argument. */
function errorPage() {
  const rows = Object.values(errors)
    .filter((make) => typeof make === 'function' && String(make).startsWith('('))
    .map((make) => make(...argumentsOf(make)))
    .filter((made) => made instanceof errors.Problem)
    .map(({ type, retry, message }) => [
      `\`${type}\``,
      retry ? 'yes' : 'no',
      // An id with brackets is quoted where it is part of a command.
      message
        .slice(0, message.lastIndexOf('['))
        .replaceAll(/'(<(?:runId|studyId)>)'/g, '$1')
        .trim(),
    ])
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `${[
    '# Errors',
    NOTE,
    'Every message ends in its type. *Retried*: Temporal tries the step again, with growing waits; the others park the run at once or, before a run, end the command with exit code 2. A word in angle brackets stands for what the message names. Not in the list: `usage` (a mistake on the command line), `budget.spent` (a bound of the budget is used up; the run parks), `run.stopped` and `run.aborted` (how somebody ended a run).',
    table(['type', 'retried', 'words'], rows),
  ].join('\n\n')}\n`;
}

/** `<name>` for each parameter, and a number or a list where the function computes with it. */
function argumentsOf(make) {
  const names = /^\(([^)]*)\)/
    .exec(String(make))[1]
    .split(',')
    .map((name) => name.split('=')[0].trim());
  return names.filter(Boolean).map((name) => PLACEHOLDERS[name] ?? `<${name}>`);
}

const PLACEHOLDERS = {
  at: { file: '<file>', line: '<line>', field: '<field>' },
  roots: ['<roots>'],
  models: ['<models>'],
  known: ['<known>'],
  kind: 'engine',
  needBytes: 8e9,
  freeBytes: 2e9,
  shared: 2,
  names: ['<names>'],
  answered: '',
  waitMs: 0,
};

const PAGES = {
  'spec.md': schemaPage(
    'Run spec',
    'What `srlm start SPEC` reads, YAML or JSON. `srlm schema` prints it as JSON Schema for your editor.',
    RunSpec,
  ),
  'sample-spec.md': schemaPage('Sample spec', 'What `srlm sample SPEC` reads.', SampleSpec),
  'study.md': schemaPage('Study', 'What `srlm study STUDY` reads; [studies.md](../studies.md) explains it.', StudySpec),
  'catalyst-spec.md': schemaPage(
    'Catalyst spec',
    'What `srlm catalyst build` sets by its options and `--set`, and `SrlmClient.startCatalysts` takes.',
    CatalystSpec,
  ),
  'deployment.md': schemaPage('Deployment', 'What `temporal.config.ts` sets for one installation.', Deployment),
  'errors.md': errorPage(),
};
mkdirSync(folder, { recursive: true });
for (const [name, text] of Object.entries(PAGES)) {
  const path = join(folder, name);
  if (!process.argv.includes('--check')) writeFileSync(path, text);
  else if (readFileSync(path, 'utf8') !== text) {
    process.stderr.write(`docs/reference/${name} is out of date: npm run reference writes it.\n`);
    process.exitCode = 1;
  }
}
