/**
 * What becomes of a finished run, by the command line: its rows and replies are shown, its data and model exported, rounds
 * added, and what is no longer needed is freed.
 */
import { readFileSync } from 'node:fs';
import { readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { folderDigest } from '../../storage/model-folder.js';
import { Commands } from '../cli/command.js';
import { Harness, harnessSpec } from '../support/harness.js';

describe('the last hour', { timeout: 240_000 }, () => {
  let harness: Harness;
  let commands: Commands;

  beforeAll(async () => {
    // What runs of other tests need, some of them encrypted, is not known here: gc would free nothing.
    harness = await Harness.open('last', { temporal: 'own' });
    const [, address = ''] = /address = "(.*)"/.exec(readFileSync(join(harness.folder, 'temporal.toml'), 'utf8')) ?? [];
    commands = new Commands(harness.folder, { TEMPORAL_ADDRESS: address });
  });
  afterAll(async () => {
    commands?.close();
    await harness?.close();
  });

  const run = async (...args: string[]) => {
    const { code, stdout, stderr } = await commands.run(...args);
    expect(code, stderr).toBe(0);
    return { stdout, stderr };
  };
  const documents = async <T>(...args: string[]): Promise<T[]> =>
    (await run(...args, '--json')).stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));

  it('shows, exports, continues and frees', async () => {
    const data = { path: 'train.jsonl', limit: 8 };
    const training = { epochs: 2 };
    const spec = { ...harnessSpec({ data, selection: { selector: 'length' }, rounds: 0, seed: 9, training }) };
    const first = await harness.finish(await harness.start(spec, 'first'));
    await run('continue', 'first', '--rounds', '1', '--id', 'second');
    const { rounds } = await harness.finish('second');
    expect(rounds[0]!.model).toEqual(first.rounds[0]!.model);
    expect(rounds[0]!.steps.filter(({ reused }) => !reused)).toEqual([]);
    expect(rounds).toHaveLength(2);

    const rows = await documents<{ id: string; candidates: { k: number; chosen: boolean }[] }>('show', 'second');
    expect(rows).toHaveLength(8);
    for (const { candidates } of rows) {
      expect(candidates.map(({ k }) => k)).toEqual([-1, 0, 1]);
      expect(candidates.filter(({ chosen }) => chosen)).toHaveLength(1);
    }
    const { id } = rows[3]!;
    expect((await run('show', 'second', '--round', '0', '--row', id)).stdout).toMatch(/^row .* · round 0\n/);
    const replies = await documents<{ correct: boolean; reply: string; question: string }>(
      ...['show', 'second', '--questions'],
    );
    expect(replies.filter(({ correct }) => correct)).toHaveLength(rounds[1]!.evaluation!.correct);
    for (const { reply, question } of replies)
      expect([typeof reply, question]).toEqual(['string', expect.stringMatching(/./)]);

    await run('export', 'second', '--round', '1', '--out', 'exported', '--model');
    const exported = join(harness.folder, 'exported');
    expect(readFileSync(join(exported, 'train.jsonl'), 'utf8').trim().split('\n')).toHaveLength(8);
    expect(await folderDigest(join(exported, 'model'))).toBe(rounds[1]!.model.sha256);

    // The worker that runs has the config of this folder; one that does not is named.
    expect((await run('status', 'second')).stdout).not.toContain('another temporal.config');

    await allUsedAt(harness.artifactRoot, new Date(Date.now() - 100 * 3_600_000));
    const [before] = await documents<{ bytes: number }>('gc', '--forget', 'second');
    expect(before!.bytes).toBeGreaterThan(0);
    await run('gc', '--forget', 'second', '--yes');
    // What the first run needs is whole: the same spec finds all of it.
    const again = await harness.finish(await harness.start(spec, 'third'));
    expect(again.rounds[0]!.steps.filter(({ reused }) => !reused)).toEqual([]);
    await run('show', 'first');
  });
});

async function allUsedAt(root: string, at: Date): Promise<void> {
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true }))
    await utimes(join(entry.parentPath, entry.name), at, at).catch(() => {});
}
