/** What selectors make of a round's table, as it is kept in the store. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { afterAll, expect, it } from 'vitest';
import { agreement, reselect, type ScoredLine, type ScoredRound, tableLines } from '../../client/scores.js';
import { writeParquet } from '../../client/scores-parquet.js';
import type { Decision } from '../../contracts/rows.js';
import { Selection } from '../../contracts/spec.js';
import { openStore } from '../../storage/store.js';

const folder = mkdtempSync(join(tmpdir(), 'srlm-test-scores-'));
const store = openStore({ artifactRoot: folder, modelRoots: [] });
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** k = 0 is longer, k = 1 makes the answer likelier; `off` is the reference model's score of k = 1. */
const rowOf = (id: string, off: number, chosen: number): Decision[] =>
  [
    { k: -1, chars: 10, score: -2 },
    { k: 0, chars: 90, score: -3 },
    { k: 1, chars: 30, score: off },
  ].map(({ k, chars, score }) => ({
    ...{ id, k, chars, rationale: 'x'.repeat(chars), guard: null, chosen: k === chosen },
    scores: { 'off-policy': score },
  }));

async function round(): Promise<ScoredRound> {
  const chunks = [
    [...rowOf('a', -1, 1), ...rowOf('b', -1, 1)],
    [...rowOf('c', -2.5, -1), ...rowOf('d', -1.9, 1)],
  ];
  const decisions = await store.datasets.put(await Promise.all(chunks.map((rows) => store.objects.putRows(rows))));
  return { round: 1, decisions } as unknown as ScoredRound;
}
const DRAWS = { seed: 0, own: null };
const by = (selector: Selection['selector'], more = {}) => Selection.parse({ selector, ...more });

it('counts what each selector would choose, and in how many rows two choose the same', async () => {
  const selections = new Map([
    ['length', by('length')],
    ['off-policy', by('off-policy')],
    ['rlpr', by('rlpr')],
  ]);
  const { names, chosen, same } = await agreement(store, await round(), selections, 0);
  expect(names).toEqual(['as run', 'length', 'off-policy', 'rlpr']);
  expect(chosen.map(({ enriched, uncompared, chars }) => [enriched, uncompared, chars])).toEqual([
    [3, 0, 100],
    [4, 0, 360],
    [3, 0, 100],
    // The tokens were not kept.
    [0, 4, 40],
  ]);
  expect(same).toEqual([
    [4, 0, 4, 1],
    [0, 4, 0, 0],
    [4, 0, 4, 1],
    [1, 0, 1, 4],
  ]);
});

it('shows what another selector would change, with examples of the rows that differ', async () => {
  const found = await reselect(store, await round(), by('off-policy', { minGain: 0.5 }), DRAWS);
  expect([found.before.enriched, found.after.enriched, found.same]).toEqual([3, 2, 3]);
  expect(found.examples).toMatchObject([{ id: 'd', before: { k: 1, chosen: false }, after: { k: -1, chosen: true } }]);
  expect((await reselect(store, await round(), by('length'), DRAWS)).examples.map(({ id }) => id)).toEqual([
    'a',
    'b',
    'c',
  ]);
});

it('writes the table as it is kept, a line a rationale', async () => {
  const lines: ScoredLine[] = [];
  for await (const line of tableLines(store, await round())) lines.push(line);
  expect(lines).toHaveLength(12);
  expect(lines[2]).toMatchObject({ round: 1, id: 'a', k: 1, scores: { 'off-policy': -1 }, chosen: true });
});

it('writes it as Parquet, with the log-probabilities of tokens as lists', async () => {
  const path = join(folder, 'table.parquet');
  async function* lines(): AsyncGenerator<ScoredLine> {
    const logprobs = { 'on-policy': [-0.5, -1.25] };
    for (const line of rowOf('é', -1, 1)) yield { round: 2, ...line, guard: 'empty', logprobs };
    for await (const line of tableLines(store, await round())) yield line;
  }
  expect(await writeParquet(path, lines())).toBe(15);
  const rows = await parquetReadObjects({ file: await asyncBufferFromFile(path) });
  expect(rows).toHaveLength(15);
  expect(rows[2]).toMatchObject({ ...{ round: 2, id: 'é', k: 1, guard: 'empty', chars: 30, chosen: true } });
  expect(rows[2]).toMatchObject({ off_policy: -1, on_policy: null, on_policy_tokens: [-0.5, -1.25] });
  expect(rows[3]).toMatchObject({ guard: null, on_policy_tokens: null, on_policy_alone: null });
});
