/** A round's curves as a table, as CSV and as a plot. */
import { describe, expect, it } from 'vitest';
import { curveCells, curvesCsv, curvesSvg, shownSizes } from '../../client/curves.js';
import { CurvesReport } from '../../contracts/curves.js';

const curve = (mean_N: number[]) => ({ mean_N, error_N: mean_N.map(() => 0.025) });
const report = (depths: number, samples: number): CurvesReport =>
  CurvesReport.parse({
    ...{ version: 1, questions: 40, samples, temperature: 0.7, greedy: 0.5 },
    depths: Array.from({ length: depths }, (_, depth) => ({
      ...{ depth, replies: 40 * samples, changed: 0, silent: 3 },
      majority: curve(Array.from({ length: samples }, (__, n) => 0.4 + n / 100)),
      longest: curve(Array(samples).fill(0.4)),
      any: curve(Array.from({ length: samples }, (__, n) => 0.4 + n / 50)),
    })),
  });

it('shows the powers of two, and all samples', () => {
  expect([1, 2, 5, 8, 64].map(shownSizes)).toEqual([[1], [1, 2], [1, 2, 4, 5], [1, 2, 4, 8], [1, 2, 4, 8, 16, 32, 64]]);
});

it('has a line for each depth and each way to answer', () => {
  const { head, rows } = curveCells(report(2, 3));
  expect(head).toEqual(['depth', 'of N samples', 'N = 1', 'N = 2', 'N = 3']);
  expect(rows.map(([depth, name]) => `${depth} ${name}`)).toEqual([
    ...['0 majority vote', '0 longest rationale', '0 any right (pass@N)'],
    ...['1 majority vote', '1 longest rationale', '1 any right (pass@N)'],
  ]);
  expect(rows[0]!.slice(2)).toEqual(['40.0 ± 2.5', '41.0 ± 2.5', '42.0 ± 2.5']);
});

it('writes every number as CSV', () => {
  const lines = curvesCsv(report(3, 8)).trimEnd().split('\n');
  expect(lines).toHaveLength(1 + 3 * 3 * 8);
  expect(lines.slice(0, 2)).toEqual(['depth,curve,samples,accuracy,standard_error', '0,majority,1,0.4,0.025']);
});

describe('the plot', () => {
  it('has a line for each depth and curve, and none of its coordinates is missing', () => {
    const svg = curvesSvg(report(3, 8), 'run-1');
    expect(svg.match(/<polyline/g)).toHaveLength(9);
    for (const name of ['not enriched', 'enriched once', 'enriched twice', 'greedy reply']) expect(svg).toContain(name);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });
  it('has points where there is one sample, and room around a curve that is flat at either end', () => {
    const all = (share: number): CurvesReport => {
      const { depths, ...rest } = report(1, 1);
      const flat = { mean_N: [share], error_N: [0] };
      return { ...rest, greedy: share, depths: [{ ...depths[0]!, majority: flat, longest: flat, any: flat }] };
    };
    for (const share of [0, 0.333, 1]) {
      const svg = curvesSvg(all(share), 'run-1');
      expect(svg.match(/<circle/g)).toHaveLength(3);
      expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    }
  });
  it('shows a title as text, whatever is in it', () => {
    const svg = curvesSvg(report(1, 2), '</text><script>"&\u0000');
    expect(svg).not.toContain('<script');
    expect(svg).toContain('&#60;/text&#62;&#60;script&#62;&#34;&#38;\uFFFD');
  });
});
