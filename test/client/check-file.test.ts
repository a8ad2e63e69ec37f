import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { checkFile } from '../../client/check-file.js';
import { fieldsYaml } from '../../client/fields-yaml.js';
import { type FirstSpecRequest, writeFirstSpec } from '../../client/first-spec.js';
import { loadSpec } from '../../client/spec-file.js';
import { Deployment } from '../../contracts/deployment.js';
import { type Fields, RunSpec } from '../../contracts/spec.js';
import type { DataKind } from '../../contracts/steps.js';
import { suggestFields } from '../../method/formats/suggest.js';
import { problemOf, temporaryFolder } from '../storage/support.js';

const folder = temporaryFolder();
const write = (name: string, content: string | Uint8Array) => writeFileSync(join(folder(), name), content);
const lines = (...rows: unknown[]) =>
  rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n');
const check = (path: string, kind: DataKind = 'examples', fields: Fields = {}) =>
  checkFile(kind, { path, fields }, folder());

describe('data check', () => {
  it('counts what cannot be used by its reason, and shows the first of it', async () => {
    const bad = Array.from({ length: 11 }, () => ({ instruction: 'a', output: '' }));
    write('data.jsonl', lines({ instruction: 'Q', output: 'A' }, ...bad, 'nope', { instruction: 'Q', output: ['x'] }));
    const { rows, invalid, faults, reasons } = await check('data.jsonl');
    expect({ rows, invalid, reasons }).toEqual({
      rows: 1,
      invalid: 13,
      reasons: [
        { reason: 'output: expected text, found ""', rows: 11, line: 2 },
        { reason: 'this is not JSON', rows: 1, line: 13 },
        { reason: 'output: expected text', rows: 1, line: 14 },
      ],
    });
    expect(faults).toHaveLength(10);
    expect(faults[0]).toEqual({
      type: 'data.invalid',
      message: 'data.jsonl:2 output: expected text, found "". Fix the row. [data.invalid]',
    });
  });

  it('shows which fields are used for what and which are not, rows that ask the same, and the first row', async () => {
    write(
      'data.csv.gz',
      gzipSync('instruction,context,output,source\nWhen?,In 1894.,1894,w\nWho?,,Ann,w\nWho?,,Bea,\n'),
    );
    expect(await check('data.csv.gz')).toMatchObject({
      rows: 3,
      uses: { instruction: ['instruction'], input: ['context'], answer: ['output'] },
      unused: ['source'],
      duplicates: 1,
      missingRationales: 3,
      sample: {
        prompt: [{ role: 'user', content: 'When?\n\nIn 1894.' }],
        reply: '(a short rationale, which the model writes)\nAnswer: 1894',
      },
    });
  });

  it('throws what is wrong with the file as a whole', async () => {
    write('data.jsonl', '<!doctype html><html></html>');
    expect(((await problemOf(check('data.jsonl'))) as Error).message).toBe(
      'data.jsonl: this is an HTML page, not data. Download the file itself, by its raw or resolve address. [data.unusable]',
    );
  });
});

describe('fields that make a file readable', () => {
  const many = (row: (i: number) => object) => Array.from({ length: 20 }, (_, i) => row(i));
  it.each<[string, DataKind, object[], Fields]>([
    [
      'under other names',
      'examples',
      many((i) => ({ utterance: `Say ${i}.`, gold: `${i}` })),
      { instruction: 'utterance', answer: 'gold' },
    ],
    [
      'with reasoning',
      'examples',
      many((i) => ({ ID: `${i}`, Body: `There are ${i} things.`, Working: `${i} x 1`, Final: i })),
      { instruction: 'Body', answer: 'Final', rationale: 'Working' },
    ],
    [
      'in nested fields',
      'examples',
      many((i) => ({ data: { q: { text: `Say ${i}?` }, label: i % 3 } })),
      { instruction: 'data.q.text', answer: 'data.label' },
    ],
    [
      'SQuAD',
      'questions',
      many((i) => ({
        id: i,
        title: 'x',
        context: `C ${i}`,
        question: `Q ${i}`,
        answers: { text: [`a${i}`], answer_start: [1] },
      })),
      { answer: 'answers.text.0' },
    ],
    [
      'HellaSwag',
      'questions',
      many((i) => ({
        ind: i,
        activity_label: 'x',
        ctx: `He ${i}`,
        endings: [`a${i}`, 'b', 'c', 'd'],
        label: `${i % 4}`,
      })),
      { instruction: 'ctx', choices: 'endings' },
    ],
    [
      'a goal and its solutions',
      'examples',
      many((i) => ({ goal: `Do ${i}`, sol1: `a${i}`, sol2: 'b', label: i % 2 })),
      { instruction: 'goal' },
    ],
    [
      'choices called answers, counted from 1',
      'questions',
      many((i) => ({ context: `C${i}`, question: `Q${i}`, answers: ['a', 'b', 'c'], label: (i % 3) + 1 })),
      { choices: 'answers' },
    ],
    [
      'an answer among other words about it',
      'examples',
      many((i) => ({
        ...{ question: `Q${i}`, is_correct: true, predicted_answer: `${i}`, expected_answer: `${i}` },
        generated_solution: `So ${i}.`,
      })),
      { answer: 'expected_answer', rationale: 'generated_solution' },
    ],
    ['a prompt', 'prompts', many((i) => ({ url: `https://x/${i}`, title: `What is ${i}?` })), { instruction: 'title' }],
  ])('%s', (_, kind, rows, want) => {
    expect(suggestFields(kind, rows, {})).toMatchObject(want);
  });
  it('are none where names suffice, or nothing helps', () => {
    expect(
      suggestFields(
        'examples',
        many((i) => ({ question: `Q${i}`, answer: 'A' })),
        {},
      ),
    ).toBeNull();
    expect(
      suggestFields(
        'examples',
        many(() => ({ a: 1 })),
        {},
      ),
    ).toBeNull();
    expect(suggestFields('examples', [1, 'x', null], {})).toBeNull();
  });
  it.each<[string, object[]]>([
    ['a field that is the prompt already', many((i) => ({ prompt: `Q${i}`, source: 'web', role: 'user' }))],
    ['one turn of a conversation', many((i) => ({ log: [{ role: 'user', content: `Q${i}` }] }))],
    ['the first row of a table without a header', many((i) => ({ 'What is 2+2?': `What is ${i}?`, 4: `${i}` }))],
    ['a column of pandas', [{ question: { 0: 'Q', 1: 'R' }, answer: { 0: 'A', 1: 'B' } }]],
    ['a question', many((i) => ({ question: `Q${i}`, context: `C${i}`, answers: { text: i % 2 ? ['a'] : [] } }))],
    ['what is about the row', many((i) => ({ text: `T${i}`, message_id: `${i}`, lang: 'en', role: 'user' }))],
  ])('are never %s', (_, rows) => {
    expect(suggestFields('examples', rows, {})).toBeNull();
  });
  it('are part of the report', async () => {
    write('data.jsonl', lines(...many((i) => ({ utterance: `Say ${i}.`, gold: `${i}` }))));
    expect(await check('data.jsonl')).toMatchObject({
      rows: 0,
      suggested: { instruction: 'utterance', answer: 'gold' },
    });
  });
  it('are YAML, whatever the names are', () => {
    expect(fieldsYaml({ instruction: 'q.text', input: ['a', 'b: c'], answer: 'yes' })).toBe(
      '{ instruction: q.text, input: [a, "b: c"], answer: "yes" }',
    );
  });
});

describe('init', () => {
  const init = (request: Partial<FirstSpecRequest>) => {
    const roots = {
      artifactRoot: join(folder(), 'store'),
      workRoot: join(folder(), 'work'),
      modelRoots: [join(folder(), 'models')],
    };
    const whole = { data: 'Data Set.jsonl', model: null, fields: {}, out: null, ...request };
    return writeFirstSpec(whole, Deployment.parse(roots), folder());
  };
  const row = { utterance: 'Say it.', gold: 'It.', category: 'x' };

  it('writes a spec that is read, with what is particular to the file and the model', async () => {
    mkdirSync(join(folder(), 'models', 'tiny'), { recursive: true });
    for (const name of ['model.safetensors', 'tokenizer.json', 'chat_template.jinja'])
      write(`models/tiny/${name}`, '{}');
    write('models/tiny/config.json', '{"model_type":"llama","max_position_embeddings":300}');
    write(
      'Data Set.jsonl',
      lines(...Array.from({ length: 9 }, (_, i) => ({ ...row, utterance: `Say ${i}.` })), { utterance: 1 }),
    );
    const { spec } = await init({});
    expect(spec).toBe('data-set.yaml');
    const text = readFileSync(join(folder(), spec), 'utf8');
    expect(text).toContain('# Not used: category.');
    expect(text).toMatch(
      /^# {3}srlm data check '.*Data Set\.jsonl' --model tiny --field instruction=utterance --field answer=gold$/m,
    );
    expect(await loadSpec(join(folder(), spec), RunSpec)).toMatchObject({
      name: 'data-set',
      model: { path: 'tiny' },
      data: { path: 'Data Set.jsonl', fields: { instruction: 'utterance', answer: 'gold' }, skipInvalid: true },
      sampling: { maxTokens: 150 },
      training: { maxLength: 300 },
    });
    expect(((await problemOf(init({}))) as Error).message).toBe(
      'data-set.yaml: it exists, and is not replaced. Name another file with --out. [file.not-writable]',
    );
    expect(readFileSync(join(folder(), spec), 'utf8')).toBe(text);
  });

  it('says where a model belongs if there is none, and nothing about it', async () => {
    write('Data Set.jsonl', lines(row));
    const { spec, notes } = await init({ out: 'no-model.yaml', fields: { instruction: 'utterance', answer: 'gold' } });
    expect(notes.at(-1)).toContain(`There is no model below the model roots (${join(folder(), 'models')}) yet: put`);
    const text = readFileSync(join(folder(), spec), 'utf8');
    expect(text).toContain('characters; a model is taken to read 2048 tokens.');
    expect(text).not.toContain('--model');
  });

  it('writes nothing for a file of which no row can be read', async () => {
    write('Data Set.jsonl', lines({ a: 1 }));
    expect(((await problemOf(init({ out: 'none.yaml' }))) as Error).message).toContain(
      'no row of it can be read as an example',
    );
    await expect(async () => readFileSync(join(folder(), 'none.yaml'))).rejects.toThrow('ENOENT');
  });
});
