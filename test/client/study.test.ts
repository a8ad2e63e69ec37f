/** A study file, what is wrong with it, what a study's check makes of it, and how its result is shown. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadStudy } from '../../client/study/arms.js';
import { plot } from '../../client/study/plot.js';
import { markdown, resultLines } from '../../client/study/report.js';
import { studyResult } from '../../method/study/result.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'srlm-study-'));
  mkdirSync(join(folder, 'base'));
  write('base/run.yaml', 'model: { path: tiny }\ndata: { path: train.jsonl }\ncatalysts: { path: catalysts.jsonl }\n');
});

const write = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return relative(process.cwd(), join(folder, name));
};
const study = (arms: string, more = '') => write('study.yaml', `base: base/run.yaml\narms:\n${arms}${more}`);
const refusal = (path: string): Promise<string> =>
  loadStudy(path).then(
    () => 'none',
    ({ message }: Error) => message.replaceAll(`${relative(process.cwd(), folder)}/`, ''),
  );

describe('a study file', () => {
  it('makes a run spec of each arm, with paths that lead to where they were written', async () => {
    const arms = '  method: {}\n  random: random\n  own: { catalysts.path: own.jsonl, sampling.k: 8 }\n';
    const { arms: found, baseline } = await loadStudy(study(arms));
    expect(baseline).toBe('method');
    expect(found.map(({ name, preset }) => [name, preset])).toEqual([
      ['method', 'method'],
      ['random', 'random'],
      ['own', null],
    ]);
    const [method, random, own] = found.map(({ spec }) => spec);
    expect(method!.data.path).toBe(join(folder, 'base/train.jsonl'));
    expect(random!.selection.selector).toBe('random');
    expect(own).toMatchObject({ catalysts: { path: join(folder, 'own.jsonl') }, sampling: { k: 8 } });
  });

  it('takes an arm that is written out for the ready-made one', async () => {
    const { arms } = await loadStudy(
      study('  a: {}\n  b: { catalysts: none }\n  c: { catalysts.use: answer, rounds: 0 }\n'),
    );
    expect(arms.map(({ preset }) => preset)).toEqual(['method', 'no-catalysts', 'no-loop']);
  });

  it.each([
    [
      '  a: {}\n  b: { selection.selectr: random }\n',
      'study.yaml:4 arms.b.selection.selectr: there is no such field; did you mean "selector"?',
    ],
    ['  a: {}\n  b:\n    rounds: -1\n', 'study.yaml:5 arms.b.rounds: expected at least 0, found -1.'],
    ['  a: { seed: 3 }\n', 'study.yaml:3 arms.a.seed: a study sets this field.'],
    [
      '  a: equal-compute\n',
      'study.yaml:3 arms.a: there is no ready-made arm "equal-compute"; it needs several samples',
    ],
    ['  a: nothing\n', 'study.yaml:3 arms.a: there is no ready-made arm "nothing"; there are method, '],
    ['  a: {}\nbaseline: b\n', 'study.yaml:4 baseline: there is no arm "b"; the arms are a.'],
    ['  a: {}\nseeds: [1, 1]\n', 'study.yaml:4 seeds: it must not name a seed twice'],
    ['  a: { model.path.x: 1 }\n', 'study.yaml:3 arms.a.model.path'],
  ])('is refused with the arm and the field: %j', async (arms, words) => {
    expect(await refusal(study(arms))).toContain(words);
  });

  it('is refused where its base is, by the line of the base', async () => {
    write('base/wrong.yaml', 'model: { path: tiny }\ndata: { path: train.jsonl }\ncatalysts: none\nround: 1\n');
    expect(await refusal(write('wrong.yaml', 'base: base/wrong.yaml\narms: { a: {} }\n'))).toContain(
      'base/wrong.yaml:4 round: there is no such field; did you mean "rounds"?',
    );
  });
});

const ids_E = Array.from({ length: 100 }, (_, e) => `q${e}`);
const round = (right: number) => ({ round: 0, ids_E, hits_E: Uint8Array.from(ids_E, (_, e) => Number(e < right)) });

describe('a result', () => {
  const result = studyResult(
    {
      ...{ version: 1, name: 'tiny', baseline: 'method', confidence: 0.95, runs: [] },
      arms: [
        { name: 'method', preset: 'method' },
        { name: 'none', preset: 'no-catalysts' },
      ],
    },
    [
      { id: 'tiny-method-s0', arm: 'method', seed: 0, end: 'done', rounds: [round(60)], steps: [] },
      { id: 'tiny-none-s0', arm: 'none', seed: 0, end: 'done', rounds: [round(20)], steps: [] },
    ],
  );

  it('is a table by arm and round, a sentence for each claim, and what was reused', () => {
    const lines = resultLines(result).join('\n');
    expect(lines).toMatch(/method \* +0 +60\.0 % +50\.2 to 69\.1 +questions of one seed +- +-/);
    expect(lines).toMatch(/none +0 +20\.0 % +13\.3 to 28\.9 +questions of one seed +-40\.0 +-50\.0 to -3\d\.0/);
    expect(lines).toContain('The catalysts matter: supported (method minus none, last rounds: +40.0 points');
    expect(lines).toContain('0 of 0 steps were found instead of done');
  });

  it('is Markdown and a plot, in which nothing that a user wrote is code', () => {
    expect(markdown(result)).toContain('| none | 0 | tiny-none-s0 | done | 0: 20/100 |');
    const svg = plot({ ...result, name: '<script>' });
    expect(svg).toContain('&lt;script&gt;');
    expect(svg).not.toContain('<script>');
    expect(svg.match(/<polyline /g)).toHaveLength(2);
  });
});
