/**
 * What activities say to hostile input, one by one: each reference in each activity's input, altered in every way that
 * matters, and each name and number. After all of it the store is as it was.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SpecTexts } from '../../contracts/spec.js';
import { type Hostile, hostileStore } from './store.js';

let hostile: Hostile;
let before: string[];
const files = async () => (await readdir(join(hostile.root, 'store'), { recursive: true })).sort();
beforeAll(async () => {
  hostile = await hostileStore();
  before = await files();
});
afterAll(() => rm(hostile.root, { recursive: true, force: true }));

type Fields = Record<string, unknown>;
const at = (input: unknown, path: string): Fields =>
  path.split('.').reduce((node, name) => node[name] as Fields, input as Fields);

async function refusal(name: string, change: (input: Fields) => void): Promise<string> {
  // Not structuredClone, which keeps one object at two places as one.
  const input = JSON.parse(JSON.stringify(hostile.valid[name])) as Fields;
  change(input);
  return hostile.run(name, input).then(
    () => 'accepted',
    ({ message }) => message,
  );
}

/** Every reference in the input of every activity. */
const REFERENCES: Record<string, string[]> = {
  srlmPrepareModel: ['texts'],
  srlmIngest: ['texts', 'file'],
  srlmAddRationales: ['data', 'candidates', 'texts'],
  srlmOpenStep: ['model', 'data', 'texts'],
  srlmShard: ['step'],
  srlmAssemble: ['step'],
  srlmParse: ['candidates', 'texts'],
  srlmSelect: ['data', 'candidates', 'scores.off-policy', 'texts'],
  srlmMix: ['data', 'texts'],
  srlmFineTune: ['base', 'data'],
  srlmGrade: ['questions', 'replies', 'texts'],
  srlmWatch: ['evaluation.grades', 'table'],
  srlmGate: ['best.grades', 'current.grades'],
  srlmKeepRound: ['table', 'round.set.dataset', 'round.model'],
  srlmReadRound: ['table'],
};

const MALFORMED: [string, (ref: Fields) => void, string][] = [
  ['a path for a digest', (ref) => Object.assign(ref, { sha256: '../steps' }), 'a SHA-256 in lower-case hex'],
  ['a digest in capitals', (ref) => Object.assign(ref, { sha256: 'A'.repeat(64) }), 'a SHA-256 in lower-case hex'],
  ['a digest and more', (ref) => Object.assign(ref, { sha256: `${'a'.repeat(64)}/..` }), 'a SHA-256 in lower-case hex'],
  [
    'a digest with a line break',
    (ref) => Object.assign(ref, { sha256: `${'a'.repeat(64)}\n` }),
    'a SHA-256 in lower-case hex',
  ],
  ['no digest', (ref) => delete ref.sha256, 'sha256: expected text'],
  ['a list for a digest', (ref) => Object.assign(ref, { sha256: ['a'.repeat(64)] }), 'sha256: expected text'],
  ['a path of its own', (ref) => Object.assign(ref, { uri: 'steps' }), 'uri: there is no such field'],
  ['less than no bytes', (ref) => Object.assign(ref, { bytes: -1 }), 'bytes: expected at least 0'],
  ['half a byte', (ref) => Object.assign(ref, { bytes: 0.5 }), 'bytes: expected a whole number'],
  [
    'more bytes than a number holds',
    (ref) => Object.assign(ref, { bytes: 1e300 }),
    'bytes: expected at most 9007199254740991',
  ],
];

describe.each(Object.entries(REFERENCES))('%s', (name, references) => {
  describe.each(references)('with, for its reference %s,', (path) => {
    it.each(MALFORMED)('%s, refuses it by field', async (_what, change, sentence) => {
      const message = await refusal(name, (input) => change(at(input, path)));
      expect(message).toContain(sentence);
      expect(message).toContain(path);
      expect(message).toMatch(/\[input\.invalid\]$/);
    });
  });
});

/** Well-formed, but not what is there: refused when it is read, and nothing is moved. */
const WRONG: [string, (ref: Fields) => void][] = [
  ['the digest of nothing', (ref) => Object.assign(ref, { sha256: '0'.repeat(64) })],
  ['a byte more than there is', (ref) => Object.assign(ref, { bytes: (ref.bytes as number) + 1 })],
  ['the digest of something else', (ref) => Object.assign(ref, { sha256: other(ref) })],
];
const other = (ref: Fields) =>
  (hostile.pool as Fields[]).find(({ sha256, path }) => path === undefined && sha256 !== ref.sha256)!.sha256;

/** What is said of them; a text stands for the file or the spec of a user, who can store it again. */
function expected(name: string, path: string, what: string): RegExp {
  // The next activity reads it, and refuses it there.
  const isPassedOn = name === 'srlmKeepRound' ? path !== 'table' : name === 'srlmOpenStep' && path !== 'texts';
  // The digest alone is part of the key, and the step is done.
  if (isPassedOn || (path === 'file' && what.startsWith('a byte'))) return /^accepted$/;
  if (path === 'texts' || path === 'file')
    return /^(spec|rows\.jsonl): the copy .* is missing or altered\. .*\[data\.damaged\]$/;
  if (path === 'base') return /: the model is not the one this run began with .*\[model\.changed\]$/;
  return /^objects\/\w+\/\w+\.json: (the file is gone|the reference says \d+ bytes, the object has \d+)\. \[artifact\.damaged\]$/;
}

describe.each(Object.entries(REFERENCES))('%s', (name, references) => {
  describe.each(references)('with, for its reference %s,', (path) => {
    it.each(WRONG)('%s, refuses it where it reads it, and leaves the store as it is', async (what, change) => {
      expect(await refusal(name, (input) => change(at(input, path)))).toMatch(expected(name, path, what));
      const after = new Set(await files());
      expect(before.filter((file) => !after.has(file))).toEqual([]);
      expect([...after].filter((file) => file.startsWith('damaged/'))).toEqual([]);
    });
  });
});

const NAMES = [
  'constructor',
  '__proto__',
  'toString',
  'hasOwnProperty',
  'valueOf',
  'Local',
  '',
  '../local',
  'a b',
  'x'.repeat(65),
];
const UNKNOWN =
  /(There is no (engine|trainer) "\w+" in temporal\.config\.ts; it has local\.|expected lower-case letters, digits, dot, dash, underscore; at most 64)/;

describe('a name that is not one of the deployment', () => {
  it.each(NAMES)('%j is refused as an engine, before anything is opened', async (engine) => {
    expect(await refusal('srlmOpenStep', (input) => Object.assign(input, { engine }))).toMatch(UNKNOWN);
  });

  it.each(NAMES)('%j is refused as a trainer', async (trainer) => {
    expect(await refusal('srlmFineTune', (input) => Object.assign(input, { trainer }))).toMatch(UNKNOWN);
  });
});

const EXECUTION = '01a21eb4-b04b-7ac4-9fca-8c1e042dd8f0';
const OTHERS: [string, string, object, string][] = [
  ...[
    '',
    '..',
    '../..',
    'x',
    EXECUTION.toUpperCase(),
    `{${EXECUTION}}`,
    `urn:uuid:${EXECUTION}`,
    EXECUTION.replaceAll('-', ''),
    `${EXECUTION}/..`,
  ].flatMap((id): [string, string, object, string][] => [
    ['srlmExport', `the execution ${JSON.stringify(id)}`, { runId: id }, 'runId: expected a UUID in lower-case hex'],
    [
      'srlmExport',
      `the first execution ${JSON.stringify(id)}`,
      { firstRunId: id },
      'firstRunId: expected a UUID in lower-case hex',
    ],
  ]),
  ['srlmExport', 'another run', { workflowId: '../other' }, '"run" exports itself only, not "../other"'],
  ['srlmMix', 'copies without end', { copies: 1e9 }, 'copies: expected at most 1000'],
  ['srlmMix', 'no copies', { copies: 0 }, 'copies: expected at least 1'],
  ['srlmIngest', 'chunks without end', { chunkSize: 1e9 }, 'chunkSize: expected at most 1024'],
  ['srlmIngest', 'half a row', { limit: 0.5 }, 'limit: expected a whole number'],
  ['srlmIngest', 'another source', { source: '__proto__' }, 'source: expected "data" or "catalysts" or "evaluation"'],
  [
    'srlmIngest',
    'another kind',
    { kind: 'constructor' },
    'kind: expected "examples" or "catalysts" or "questions" or "prompts"',
  ],
  ['srlmShard', 'a range that ends before it begins', { from: 2, to: 1 }, 'from is below to'],
  ['srlmShard', 'a range below the first chunk', { from: -1 }, 'from: expected at least 0'],
  ['srlmShard', 'a range beyond the last chunk', { from: 0, to: 1e9 }, 'to: expected at most 2, found 1000000000'],
  [
    'srlmOpenStep',
    'an unknown purpose',
    { purpose: 'constructor' },
    'purpose: expected "enrich" or "rationalize" or "evaluate" or "prompt"',
  ],
  ['srlmOpenStep', 'a seed beyond 32 bits', { seed: 2 ** 31 }, 'seed: expected at most 2147483647'],
  ['srlmOpenStep', 'a round beyond all', { round: 1e6 }, 'round: expected at most 1000'],
  ['srlmOpenStep', 'an unknown step', { step: '../../steps' }, 'step: there is no such kind'],
  ['srlmSelect', 'an unknown score', { scores: { constructor: {} } }, 'scores'],
  [
    'srlmFineTune',
    'a command for a precision',
    { training: { precision: '; rm -rf /' } },
    'training.precision: expected "auto"',
  ],
  ['srlmFineTune', 'a micro-batch of none', { microBatchSize: 0 }, 'microBatchSize: expected at least 1'],
  ['srlmGrade', 'a confidence above one', { confidence: 2 }, 'confidence: expected less than 1'],
  [
    'srlmKeepRound',
    'steps without end',
    { preparation: Array.from({ length: 201 }, () => ({ step: 's', seconds: 0, usage: null, reused: false })) },
    'preparation: expected at most 200',
  ],
];

describe('other input', () => {
  it.each(OTHERS)('of %s with %s is refused with a sentence', async (name, _what, change, sentence) => {
    expect(await refusal(name, (input) => Object.assign(input, change))).toContain(sentence);
  });
});

describe('a path of a model', () => {
  it.each([
    ['../outside/model', 'model.outside-roots'],
    ['base/../../outside/model', 'model.outside-roots'],
    ['link', 'model.outside-roots'],
    ['/', 'model.outside-roots'],
    ['/etc/passwd', 'model.outside-roots'],
    ['.', 'model.'],
    ['nothing', 'model.unusable'],
    ['base\u0000', 'model.'],
    ['~/.ssh', 'model.unusable'],
    ['file:///etc', 'model.unusable'],
  ])('%j leads to nothing outside the model roots', async (path, type) => {
    const texts = hostile.valid.srlmPrepareModel as { texts: never };
    const content = await hostile.store.objects.readJson(texts.texts, SpecTexts);
    const altered = await hostile.store.objects.putJson({ ...content, model: path });
    const message = await refusal('srlmPrepareModel', (input) => Object.assign(input, { texts: altered }));
    expect(message).toContain(`[${type}`);
  });
});
