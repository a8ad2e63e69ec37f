/** srlmCatalysts with scripted activities: its waves, how it ends, and a teacher that is away. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CatalystResult, DrawInput, PickInput } from '../../contracts/catalysts.js';
import { jsonBytes, MAX_PAYLOAD_BYTES } from '../../contracts/refs.js';
import { REJECTIONS, SKILLS } from '../../contracts/rows.js';
import { srlmCatalysts } from '../../workflows/catalysts.js';
import { Scenarios } from './scenario.js';
import { dataset, done, fails, shard, texts } from './script.js';

let scenarios: Scenarios;
beforeAll(async () => {
  scenarios = await Scenarios.open();
});
afterAll(() => scenarios?.close());

describe.concurrent('catalysts from a teacher', () => {
  it('are asked for in waves that grow, rows of no use again, until there are as many as wanted', async () => {
    const run = await scenarios.startCatalysts({ settings: { count: 150 } });
    const result = await run.result<CatalystResult>();
    expect(result).toMatchObject({ ended: 'count', counts: { kept: 150 } });
    const draws = run.inputs('srlmDrawCatalysts') as DrawInput[];
    // Wave 1 is small. Of its 64 replies 42 are of use, so that 1.5 rows are asked for each that is still wanted.
    expect(draws.map(({ from, rows, againRows }) => [from, rows, againRows])).toEqual([
      [0, 64, 0],
      [64, 143, 22],
    ]);
    expect(run.inputs('srlmOpenStep').map(({ purpose, round, sampling }) => [purpose, round, sampling.k])).toEqual([
      ['catalyst', 1, 1],
      ['catalyst', 2, 1],
    ]);
    const { steps } = await run.state();
    expect(steps.map(({ step }) => step)).toEqual([
      'ingest examples',
      ...['draw (wave 1)', 'sample (wave 1)', 'pick (wave 1)'],
      ...['draw (wave 2)', 'sample (wave 2)', 'pick (wave 2)'],
    ]);
  });

  it('end with what there is when the requests are used up, and ask no more than these', async () => {
    const run = await scenarios.startCatalysts({ settings: { count: 200, maxRequests: 80 } });
    const result = await run.result<CatalystResult>();
    expect(result).toMatchObject({ ended: 'requests', counts: { asked: 80 } });
  });

  it('end when every row was asked as often as it may be', async () => {
    const drawn = ({ rows, againRows }: DrawInput, call: number) => {
      const found = call === 1 ? 10 : 0;
      return done({
        dataset: dataset(`${call}`, againRows + found),
        drawn: Math.min(rows, found),
        missingRationales: 0,
      });
    };
    const picked = ({ asked, before }: PickInput) => {
      const asks = (before?.counts.asked ?? 0) + asked.rows;
      const counts = { of: 'catalysts', rows: 10, asked: asks, kept: 9, rejected: { cut: 1 }, skills: {} };
      const again = before ? null : dataset('again', 1);
      return done({ catalysts: dataset('catalysts', 9), rejected: dataset('rejected', 1), again, counts });
    };
    const script = { srlmDrawCatalysts: drawn, srlmPickCatalysts: picked };
    const run = await scenarios.startCatalysts({ settings: { count: 20 }, script });
    expect(await run.result<CatalystResult>()).toMatchObject({ ended: 'rows', counts: { kept: 9, asked: 11 } });
  });

  it('end after three waves of which nothing was of use', async () => {
    const none = ({ asked, before }: PickInput) => {
      const asks = (before?.counts.asked ?? 0) + asked.rows;
      const counts = { of: 'catalysts', rows: asks, asked: asks, kept: 0, rejected: { cut: asks }, skills: {} };
      return done({ catalysts: dataset('none', 0), rejected: dataset('rejected', asks), again: asked, counts });
    };
    const run = await scenarios.startCatalysts({ script: { srlmPickCatalysts: none } });
    expect(await run.result<CatalystResult>()).toMatchObject({ ended: 'no-use', counts: { kept: 0 } });
    expect(run.calls('srlmPickCatalysts')).toHaveLength(3);
  });

  it('have first rationales written where a wave has rows without one, and for these rows only', async () => {
    const drawn = ({ rows }: DrawInput) => done({ dataset: dataset('drawn', rows), drawn: rows, missingRationales: 3 });
    const run = await scenarios.startCatalysts({ settings: { count: 2 }, script: { srlmDrawCatalysts: drawn } });
    await run.result();
    expect(run.inputs('srlmOpenStep').map(({ purpose, data }) => [purpose, data])).toEqual([
      ['rationalize', dataset('drawn', 3)],
      ['catalyst', dataset('with rationales')],
    ]);
  });

  it.each([
    ['engine.unreachable', 'away'],
    ['engine.refused', 'of no such model, a wrong key, or no quota'],
  ])('park with %s while the teacher is %s, keep what is done, and continue', async (type) => {
    const away = fails(type, `It is not there. [${type}]`);
    const run = await scenarios.startCatalysts({ settings: { count: 100 }, script: { srlmShard: away } });
    const { halt } = await run.until((state) => state.halt);
    expect(halt).toMatchObject({ kind: 'parked', step: 'sample (wave 1)', type });
    run.answer({ srlmShard: ({ from, to }) => shard(to - from) });
    await run.command('retry');
    expect(await run.result<CatalystResult>()).toMatchObject({ ended: 'count' });
    expect(run.calls('srlmIngest')).toHaveLength(1);
  });

  it('park when the first wave brings no text at all, and not when a later one does', async () => {
    const nothing = texts({ asked: 32, withText: 0, texts: 0, refused: 32 });
    const some = texts({ asked: 32, texts: 32 });
    const assembled = (_: unknown, call: number) =>
      done({ dataset: dataset(`replies ${call}`), counts: call === 2 ? some : nothing });
    const run = await scenarios.startCatalysts({ settings: { count: 150 }, script: { srlmAssemble: assembled } });
    const { halt } = await run.until((state) => state.halt);
    expect(halt).toMatchObject({ type: 'sampling.failed', step: 'sample (wave 1)' });
    await run.command('retry');
    expect(await run.result<CatalystResult>()).toMatchObject({ ended: 'count' });
  });

  it('have payloads below the limit, with every count as long as it can be', () => {
    const most = Number.MAX_SAFE_INTEGER;
    const all = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, most]));
    const counts = {
      of: 'catalysts',
      rows: most,
      asked: most,
      kept: most,
      rejected: all(REJECTIONS),
      skills: all(SKILLS),
    };
    const ref = { ...dataset('x'), rows: most, bytes: most, chunks: most };
    const before = { catalysts: ref, rejected: ref, again: ref, counts };
    const input = { wave: 1, asked: ref, replies: ref, before, texts: ref, count: 1, tries: 1, maxSkillShare: 1 / 3 };
    expect(jsonBytes(input)).toBeLessThan(MAX_PAYLOAD_BYTES);
    expect(jsonBytes(scenarios.catalystInput())).toBeLessThan(MAX_PAYLOAD_BYTES);
  });

  it('refuse an input that is not theirs with a sentence', async () => {
    await expect(srlmCatalysts({ version: 2 } as never)).rejects.toThrow(/^catalysts input: /);
  });
});
