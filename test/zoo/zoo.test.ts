/** Models of common families. `npm run zoo` tries all of them (minutes), and writes the table of docs/models.md. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { packageRoot } from '../../processes/python.js';
import { python } from '../support/python.js';
import { families, type Outcome, outcomes } from './zoo.js';

const folder = mkdtempSync(join(tmpdir(), 'srlm-test-zoo-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('models of two families train, sample and score as a plain forward pass does; one that cannot is refused', () => {
  const names = ['Gemma 3', 'DeepSeek-R1 distillation', 'LFM2'];
  expect(outcomes(python, folder, names)).toMatchObject([
    { name: 'Gemma 3', refused: null, round: 'ok', takesSystem: false },
    {
      refused: null,
      round: 'ok',
      takesSystem: true,
      warnings: [expect.stringMatching(/^its chat template opens a think block/)],
    },
    { name: 'LFM2', refused: expect.stringMatching(/^config\.json: lfm2 models have layers \(conv\)/) },
  ]);
}, 300_000);

const DOCS = join(packageRoot, 'docs/models.md');

const said = ({ refused, warnings, takesSystem, round }: Outcome): string => {
  if (refused) return `refused: ${refused}`;
  if (round !== 'ok') return `fails: ${round}`;
  return ['works', ...warnings, ...(takesSystem ? [] : ['rows with a system message are refused'])].join('; ');
};

it.runIf(process.env.SRLM_ZOO)(
  'every family is refused before a run, or works',
  () => {
    const all = families(python);
    const names = all.map(({ name }) => name);
    const found = outcomes(python, mkdtempSync(join(folder, 'all-')), names);
    const rows = all.map(
      ({ name, tokenizer, template }, i) => `| ${name} | ${tokenizer} | ${template} | ${said(found[i]!)} |`,
    );
    const table = ['| family | tokenizer | template | outcome |', '|---|---|---|---|', ...rows].join('\n');
    const text = readFileSync(DOCS, 'utf8').replace(/\| family \|[\s\S]*$/, `${table}\n`);
    writeFileSync(DOCS, text);
    expect(found.filter(({ refused, round }) => !refused && round !== 'ok')).toEqual([]);
  },
  1_800_000,
);

it('the table in the docs has all families', () => {
  const table = readFileSync(DOCS, 'utf8');
  for (const { name, tokenizer, template } of families(python))
    expect(table).toContain(`| ${name} | ${tokenizer} | ${template} |`);
});
