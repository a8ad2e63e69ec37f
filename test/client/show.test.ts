/** What `srlm show` reads from the store, and what it makes of it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { replyLines, rowLines } from '../../client/cli/show.js';
import { shownReplies, shownRows } from '../../client/show.js';
import type { SetResult } from '../../contracts/report.js';
import type { Decision, Example, Grade } from '../../contracts/rows.js';
import type { RoundSummary } from '../../contracts/steps.js';
import { openStore } from '../../storage/store.js';

const folder = mkdtempSync(join(tmpdir(), 'srlm-test-show-'));
const store = openStore({ artifactRoot: folder, modelRoots: [] });
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const example = (id: string, rationale: string): Example => ({
  ...{ id, instruction: `What is ${id}?`, turns: null, original: 'Short.', rationale, answer: '4', origin: null },
});
const decision = (id: string, k: number, more: Partial<Decision> = {}): Decision => ({
  ...{ id, k, rationale: `Text ${k} of ${id}.`, guard: null, chars: 12, scores: { 'off-policy': -k / 10 } },
  ...{ chosen: false, ...more },
});
const grade: Grade = {
  ...{ id: 'q1', correct: false, given: null, expected: 'B', question: 'Which?\nA. x\nB. y', reply: 'Hm.' },
};
const dataset = async (...chunks: object[][]) =>
  store.datasets.put(await Promise.all(chunks.map((rows) => store.objects.putRows(rows))));

async function round(): Promise<RoundSummary> {
  const rows = await dataset([example('a', 'Text 1 of a.')], [example('b', 'Short.'), example('c', 'Short.')]);
  const decisions = await dataset(
    [decision('a', 1, { chosen: true }), decision('a', -1), decision('a', 0, { guard: 'truncated' })],
    [decision('b', -1, { chosen: true })],
  );
  const grades = await dataset([grade, { ...grade, id: 'q2', correct: true, given: 'B' }]);
  return {
    round: 1,
    set: { dataset: rows, rows: 3, enriched: 1, meanRationaleChars: 8 },
    decisions,
    evaluation: { grades, correct: 1, total: 2, accuracy: 0.5, low: 0, high: 1 },
  } as unknown as RoundSummary;
}

async function all<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const row of rows) found.push(row);
  return found;
}

it('shows each row with what was compared, the incumbent first', async () => {
  const rows = await all(shownRows(store, await round()));
  expect(rows.map(({ id, candidates }) => [id, candidates.map(({ k }) => k)])).toEqual([
    ['a', [-1, 0, 1]],
    ['b', [-1]],
    ['c', []],
  ]);
  expect(rowLines(rows[0]!, 60)).toEqual([
    'row a · round 1',
    '  question   What is a?',
    '  answer     4',
    '  short      Short.',
    '  before     off-policy 0.100',
    '             Text -1 of a.',
    '  k = 0      refused: truncated · off-policy 0.000',
    '             Text 0 of a.',
    '> k = 1      chosen · off-policy -0.100',
    '             Text 1 of a.',
    '',
  ]);
  expect(await all(shownRows(store, await round(), 'c'))).toMatchObject([{ id: 'c', rationale: 'Short.' }]);
  expect(await all(shownRows(store, await round(), 'd'))).toEqual([]);
});

it('shows round 0, which compares nothing', async () => {
  const first = { ...(await round()), round: 0, decisions: null };
  const [row] = await all(shownRows(store, first, 'b'));
  expect(rowLines(row!, 60)).toContain('  rationale  Short.');
});

it('shows replies with what was expected and given', async () => {
  const replies = await all(shownReplies(store, await round()));
  expect(replies.map((one) => [one.id, 'correct' in one && one.correct])).toEqual([
    ['q1', false],
    ['q2', true],
  ]);
  expect(replyLines(replies[0]!, 60)).toEqual([
    'question q1 · round 1 · wrong',
    '  question   Which?',
    '             A. x',
    '             B. y',
    '  expected   B',
    '  given      (no answer was found in the reply)',
    '  reply      Hm.',
    '',
  ]);
  expect(await all(shownReplies(store, { ...(await round()), evaluation: null }))).toEqual([]);
});

it('shows what a model found likely in a set that nothing can grade', async () => {
  const { grades } = (await round()).evaluation!;
  const likely = {
    id: 'q1',
    expected: 'So.',
    nats: -0.5,
    natsAlone: -1,
    leftOut: true,
    question: 'Why?',
    reply: 'Hm.',
  };
  const result = { kind: 'likelihood', grades: await dataset([likely, { ...likely, nats: null }]) } as SetResult;
  const replies = await all(shownReplies(store, await round(), undefined, { name: 'chat', result }));
  const [first, second] = replies.map((one) => replyLines(one, 60)[0]);
  const left = 'left out: in the training data';
  expect(first).toBe(`question q1 · chat · round 1 · -0.500 nats a token, -1.000 without a rationale · ${left}`);
  expect(second).toBe(`question q1 · chat · round 1 · no log-probability · ${left}`);
  const graded = { name: 'mc', result: { ...result, kind: null, grades } };
  expect(await all(shownReplies(store, await round(), 'q2', graded))).toMatchObject([{ id: 'q2', set: 'mc' }]);
});

it('shows nothing that a terminal obeys', async () => {
  const hostile = '\u001b[2J\u001b]52;c;aGk=\u0007x\r\u202ey';
  const row = { ...{ round: 1, id: '7', question: hostile, answer: hostile, original: hostile, rationale: hostile } };
  const candidates = [{ ...decision('7', 0), rationale: hostile }];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are looked for
  const steering = /[\u0000-\u001f\u202e]/;
  for (const line of rowLines({ ...row, candidates }, 60)) expect(line).not.toMatch(steering);
  const texts = { question: hostile, reply: hostile, given: hostile, expected: hostile };
  for (const line of replyLines({ round: 1, set: null, id: '7', correct: true, ...texts }, 60))
    expect(line).not.toMatch(steering);
});
