/**
 * Hostile files, names and numbers, as tables: what is given, and the sentence that is expected. All of it is found
 * before a run starts, and needs no Temporal.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exportsOf } from '../../audit/bundle.js';
import { loadRun } from '../../audit/load.js';
import { checkFile } from '../../client/check-file.js';
import { fileWriter } from '../../client/cli/output-file.js';
import { sampleLines } from '../../client/cli/start.js';
import { loadSpec } from '../../client/spec-file.js';
import { resolveDeployment } from '../../config/load.js';
import type { DeploymentInput } from '../../contracts/deployment.js';
import { runExists, shellWord } from '../../contracts/errors.js';
import { SampleSpec } from '../../contracts/spec.js';
import { normaliseAnswer } from '../../method/answers.js';
import { PLAIN } from '../audit/fake-temporal.js';

let lab: string;
const at = (name: string) => join(lab, name);
beforeAll(() => {
  lab = mkdtempSync(join(tmpdir(), 'srlm-test-hostile-files-'));
  mkdirSync(at('folder'));
  symlinkSync('loop', at('loop'));
});
afterAll(() => rmSync(lab, { recursive: true, force: true }));

const sentence = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'accepted',
    ({ message }: Error) => message.replaceAll(`${lab}/`, ''),
  );

const SPEC = 'data:\n  path: data.jsonl\n';
const deep = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);
const BOMB = ['a: &a [x,x,x,x,x,x,x,x,x]', ...'bcdefghij'].map((key, i, keys) =>
  i === 0
    ? key
    : `${key}: &${key} [${Array(9)
        .fill(`*${keys[i - 1]!.charAt(0)}`)
        .join(',')}]`,
);

describe('a spec', () => {
  it.each<[string, string | Buffer, string]>([
    [
      'in Latin-1',
      Buffer.from(`${SPEC}system: caf\xe9\n`, 'latin1'),
      'this is not UTF-8. Convert the file to UTF-8. [file.not-utf8]',
    ],
    [
      'in UTF-16',
      Buffer.from(`\ufeff${SPEC}`, 'utf16le'),
      'this is not UTF-8. Convert the file to UTF-8. [file.not-utf8]',
    ],
    ['of more than 4 MB', `${SPEC}${'# and so on\n'.repeat(400_000)}`, 'a spec is at most 4 MB. [spec.unreadable]'],
    [
      'that nests without end',
      `${SPEC}system: ${deep(5000)}`,
      'this is not YAML or JSON (it is nested too deeply). [spec.unreadable]',
    ],
    [
      'whose aliases multiply',
      BOMB.join('\n'),
      'Excessive alias count indicates a resource exhaustion attack. [spec.unreadable]',
    ],
    [
      'with a tag of Python',
      `${SPEC}name: !!python/name:os.system x\n`,
      'this is not YAML or JSON (unresolved tag: tag:yaml.org,2002:python/name:os.system). [spec.unreadable]',
    ],
    [
      'with a tag of its own',
      `${SPEC}name: !secret x\n`,
      'this is not YAML or JSON (unresolved tag: !secret). [spec.unreadable]',
    ],
    [
      'and another one',
      `${SPEC}---\n${SPEC}`,
      'this is not YAML or JSON (it holds more than one document). [spec.unreadable]',
    ],
    ['with a prototype', `${SPEC}__proto__: { seed: 3 }\n`, 'there is no such field; the fields are name'],
    [
      'with a constructor',
      `{"data": {"path": "x", "constructor": {}}}`,
      'there is no such field; the fields are path, fields, limit, skipInvalid. Fix the line.',
    ],
    [
      'with half of a surrogate pair',
      `${SPEC}system: "\\ud83d"\n`,
      'system: it must hold no lone surrogate, found "\\ud83d". Fix the line. [spec.invalid]',
    ],
    [
      'with half of one in a name',
      `${SPEC}  fields: { id: "\\ud83d" }\n`,
      'data.fields.id: it must hold no lone surrogate, found "\\ud83d". Fix the line. [spec.invalid]',
    ],
    ['with no number', `${SPEC}seed: .nan\n`, 'seed: expected a number, found NaN. Fix the line. [spec.invalid]'],
    [
      'with an infinite number',
      `${SPEC}sampling: { temperature: 1e999 }\n`,
      'sampling.temperature: expected a number, found Infinity. Fix the line. [spec.invalid]',
    ],
    [
      'with a number beyond all',
      `${SPEC}seed: 1e300\n`,
      'seed: expected at most 9007199254740991, found 1e+300. Fix the line. [spec.invalid]',
    ],
  ])('%s is refused with a sentence', async (_what, content, says) => {
    writeFileSync(at('spec.yaml'), content);
    const found = await sentence(loadSpec(at('spec.yaml'), SampleSpec));
    expect(found).toMatch(/^spec\.yaml(?::\d+)?(?: |: )/);
    expect(found).toContain(says);
  });

  it.each([
    ['folder', 'folder: this is a folder, not a file. [spec.unreadable]'],
    ['loop', 'loop: it cannot be read (ELOOP). [spec.unreadable]'],
    ['/dev/zero', '/dev/zero: this is a device or a socket, not a file. [spec.unreadable]'],
  ])('at %s is refused with a sentence', async (path, says) => {
    expect(await sentence(loadSpec(path.startsWith('/') ? path : at(path), SampleSpec))).toBe(says);
  });

  it('through a pipe is read', async () => {
    execFileSync('mkfifo', [at('spec.fifo')]);
    const reading = loadSpec(at('spec.fifo'), SampleSpec);
    writeFileSync(at('spec.fifo'), SPEC);
    expect((await reading).data.path).toBe('data.jsonl');
  });

  it.each([
    ['an alias of nothing', '*nobody'],
    ['a tag', '!tag 5'],
    ['half a list', '&a [*a'],
    ['lists without end', deep(2000)],
  ])('with %s in --set is refused with a sentence', async (_what, value) => {
    writeFileSync(at('spec.yaml'), SPEC);
    const found = await sentence(loadSpec(at('spec.yaml'), SampleSpec, { seed: value }));
    expect(found).toMatch(/^--set seed: this is not a YAML value: .*\. \[spec\.invalid\]$/);
  });
});

const ROW = '{"instruction": "i", "answer": "a"}\n';
const OTHER = 'Convert it to JSONL, CSV or Parquet. [data.unusable]';

describe('a data file', () => {
  it.each<[string, Buffer, string]>([
    [
      'zstd cut short',
      Buffer.from('28b52ffd0400', 'hex'),
      'it is not a whole zstd file (unexpected EOF). [file.damaged]',
    ],
    ['xz', Buffer.from('fd377a585a0000', 'hex'), `this is an xz file. ${OTHER}`],
    ['bzip2', Buffer.from('BZh91AY&SY'), `this is a bzip2 file. ${OTHER}`],
    [
      'zip, as of a spreadsheet',
      Buffer.from('PK\u0003\u0004'),
      'this is a zip file. Unpack it, and name the data file that is in it. [data.unusable]',
    ],
    [
      'Parquet cut short',
      Buffer.from('PAR1\u0015\u0004\n'),
      'it is not a Parquet file that can be read (it is too short). [file.damaged]',
    ],
    ['Arrow', Buffer.from('ARROW1\0\0'), `this is an Arrow file. ${OTHER}`],
    ['gzip twice', gzipSync(gzipSync(ROW)), `this is a packed file within a packed file. ${OTHER}`],
    [
      'gzip cut short',
      gzipSync(ROW).subarray(0, -9),
      'it is not a whole gzip file (unexpected end of file). [file.damaged]',
    ],
  ])('of %s is refused by its kind', async (_what, content, says) => {
    writeFileSync(at('data'), content);
    expect(await sentence(checkFile('examples', { path: 'data', fields: {} }, lab))).toBe(`data: ${says}`);
  });

  it.each([
    ['folder', 'this is a folder, not a file.'],
    ['loop', 'it cannot be read (ELOOP).'],
    ['/dev/zero', 'this is a device or a socket, not a file.'],
  ])('at %s is refused before it is read', async (path, says) => {
    expect(await sentence(checkFile('examples', { path, fields: {} }, lab))).toBe(`${path}: ${says} [file.damaged]`);
  });

  it('in which something is no character says in how many rows', async () => {
    writeFileSync(at('data'), `{"instruction": "cut \\ud83d", "answer": "a"}\n${ROW}`);
    const { rows, warnings } = await checkFile('examples', { path: 'data', fields: {} }, lab);
    expect({ rows, warnings }).toEqual({
      rows: 2,
      warnings: ['1 row holds U+FFFD, which stands for what is no Unicode character'],
    });
  });
});

describe('a deployment', () => {
  const endpoint = { kind: 'endpoint', baseUrl: 'http://127.0.0.1:1/v1', model: 'x' };
  it.each<[string, unknown, string]>([
    ['no number', { heartbeatSeconds: Number.NaN }, 'heartbeatSeconds: expected a number, found NaN.'],
    ['a bigint', { maxAttempts: 5n }, 'maxAttempts: expected a number, found 5.'],
    ['no folder', { artifactRoot: '' }, 'artifactRoot: expected at least 1 character, found "".'],
    [
      'a time beyond all timers',
      { engines: { local: { ...endpoint, timeoutSeconds: 1e300 } } },
      'engines.local.timeoutSeconds: expected at most 1000000, found 1e+300.',
    ],
  ])('with %s is refused with a sentence', (_what, config, says) => {
    expect(() => resolveDeployment(config as DeploymentInput, lab)).toThrow(
      `the deployment config: ${says} [config.invalid]`,
    );
  });
});

// biome-ignore lint/suspicious/noControlCharactersInRegex: what no terminal may be sent
const STEERS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b\u2028-\u202e]/;

describe('the file of --out', () => {
  const row = { id: 'r', instruction: '=cmd|calc', texts: ['\u202eltr \u009b2J \u200b \u0000 \u2028', '@SUM(1)'] };
  const result = { prompts: { rows: 1 }, candidates: {} };
  const store = {
    datasets: {
      chunks: async () => [{}],
      rows: async function* () {
        for (const one of texts) yield { ...one, reason: null };
      },
    },
    objects: {
      readRows: async (_ref: unknown, schema: { shape: object }) => ('text' in schema.shape ? texts : [row]),
    },
  };
  const texts = row.texts.map((text, k) => ({ id: 'r', k, text }));
  const write = async (path: string, plain = true) =>
    (await fileWriter(path))(sampleLines(store as never, result as never, plain));

  it('may have the longest name that there is, and its text steers no terminal', async () => {
    const path = at(`${'x'.repeat(249)}.jsonl`);
    await write(path);
    const text = await readFile(path, 'utf8');
    expect(text).not.toMatch(STEERS);
    expect(JSON.parse(text)).toEqual(row);
    await write(path, false);
    const lines = await readFile(path, 'utf8');
    expect(lines).not.toMatch(STEERS);
    expect(
      lines
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual(texts);
  });

  it.each([
    ['x'.repeat(256), 'it cannot be written (ENAMETOOLONG). Name another file with --out. [file.not-writable]'],
    ['loop/x', 'its folder cannot be written (ELOOP). Name another file with --out. [file.not-writable]'],
  ])('at %s is refused before anything is sampled', async (name, says) => {
    expect(await sentence(fileWriter(at(name)))).toContain(says);
  });
});

describe('the id of a run', () => {
  it.each([
    ['gsm8k-1', 'gsm8k-1'],
    ['$(touch x)', "'$(touch x)'"],
    ["a'; rm -rf ~", "'a'\\''; rm -rf ~'"],
    ['`id`', "'`id`'"],
    ['--json', "-- '--json'"],
    ['a b', "'a b'"],
    ['~', "'~'"],
    ['', "''"],
  ])('%j is one word of a command that is printed', (id, word) => {
    expect(shellWord(id)).toBe(word);
    expect(runExists(id).hint).toContain(`\`srlm watch ${word}\``);
    if (!id.startsWith('-')) expect(execFileSync('sh', ['-c', `printf %s ${word}`]).toString()).toBe(id);
  });

  it.each([
    ['run', 'run'],
    ['con', '%63on'],
    ['NUL', '%4EUL'],
    ['aux.x', '%61ux.x'],
    ['console', 'console'],
    ['end.', 'end%2E'],
    ['..', '%2E%2E'],
    ['../up', '%2E%2E%2Fup'],
    ['a*b', 'a%2Ab'],
    ['e\u0301', 'e%CC%81'],
    ['\u00e9', '%C3%A9'],
    ['\u202e', '%E2%80%AE'],
  ])('%j has an export that every file system can hold', (id, folder) => {
    expect(basename(exportsOf('/store', id))).toBe(folder);
    expect(decodeURIComponent(folder)).toBe(id);
  });

  it('is never taken for one that differs in case only', async () => {
    // As on a file system without case, where both runs have one folder.
    const histories = join(exportsOf(at('store'), 'run'), 'x', 'histories');
    mkdirSync(histories, { recursive: true });
    const history = { events: [{ eventId: '1', workflowExecutionStartedEventAttributes: {} }] };
    writeFileSync(join(histories, '20261127T232428.030Z-x.json'), JSON.stringify({ workflowId: 'Run', history }));
    await expect(loadRun({ temporal: null, decoding: PLAIN, root: at('store') }, 'run')).rejects.toThrow(
      'There is no run "run"',
    );
  });
});

describe('an answer', () => {
  it.each([
    ['dots', `${'.'.repeat(100_000)}x`],
    ['white space', `x${' '.repeat(100_000)}y`],
    ['zeros', `0.${'0'.repeat(100_000)}1`],
    ['marks', `x ${'!'.repeat(100_000)}y`],
    ['quotes within quotes', `${'" '.repeat(6_000)}x`],
  ])('of 100,000 %s has a normal form at once', (_what, text) => {
    // By a regular expression that looks for the end of a run at each of its places, it took a minute.
    expect(normaliseAnswer(text)).not.toBe('');
  });
});
