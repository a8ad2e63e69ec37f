/** Curves of a round as a table of text, CSV and SVG. Pure. Throws nothing. */
import { CURVES, type Curve, type CurveName, type CurvesReport } from '../contracts/curves.js';
import { percent } from '../text/text.js';

export const CURVE_NAMES: Record<CurveName, string> = {
  majority: 'majority vote',
  longest: 'longest rationale',
  any: 'any right (pass@N)',
};

/** 1, 2, 4, ... and the last one. */
export function shownSizes(samples: number): number[] {
  const sizes: number[] = [];
  for (let n = 1; n < samples; n *= 2) sizes.push(n);
  return [...sizes, samples];
}

/** A line for each depth and curve: the accuracy in %, with its standard error, at some N. */
export function curveCells({ depths, samples }: CurvesReport): { head: string[]; rows: string[][] } {
  const sizes = shownSizes(samples);
  const at = ({ mean_N, error_N }: Curve, n: number) => `${percent(mean_N[n - 1]!)} ± ${percent(error_N[n - 1]!)}`;
  return {
    head: ['depth', 'of N samples', ...sizes.map((n) => `N = ${n}`)],
    rows: depths.flatMap((depth) =>
      CURVES.map((name) => [String(depth.depth), CURVE_NAMES[name], ...sizes.map((n) => at(depth[name], n))]),
    ),
  };
}

export function curvesCsv({ depths }: CurvesReport): string {
  const lines = depths.flatMap((depth) =>
    CURVES.flatMap((name) =>
      depth[name].mean_N.map((mean, i) => [depth.depth, name, i + 1, mean, depth[name].error_N[i]!].join(',')),
    ),
  );
  return ['depth,curve,samples,accuracy,standard_error', ...lines, ''].join('\n');
}

// --- the plot ---------------------------------------------------------------------------------------------------------
const WIDTH = 740;
const HEIGHT = 440;
const PLOT = { left: 64, right: 560, top: 56, bottom: 380 };
/** They differ in brightness, too, and are readable on white and on black. */
const COLORS = ['#2f81c7', '#d9772b', '#2ea36a'];
const DASHES: Record<CurveName, string> = { majority: '', longest: '7 4', any: '1.5 4' };

/** One colour a depth; a solid line for majority vote with its standard error, dashes for the others. */
export function curvesSvg(report: CurvesReport, title: string): string {
  const { depths, samples, greedy } = report;
  const { left, right, top, bottom } = PLOT;
  const all = depths.flatMap((depth) => CURVES.flatMap((name) => depth[name].mean_N));
  const [low, high, step] = range(Math.min(greedy, ...all), Math.max(greedy, ...all));
  const x = (n: number) => (samples === 1 ? left : left + ((right - left) * Math.log2(n)) / Math.log2(samples));
  const y = (share: number) => bottom - ((bottom - top) * (share - low)) / (high - low);
  const point = (share: number, i: number) => `${x(i + 1).toFixed(1)},${y(share).toFixed(1)}`;
  const ticks = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => low + i * step);
  const text = (at: [number, number], content: string, more = '') =>
    `<text x="${at[0].toFixed(1)}" y="${at[1].toFixed(1)}" ${more}>${escaped(content)}</text>`;
  const lines = depths.flatMap((depth, d) => {
    const color = COLORS[d % COLORS.length]!;
    const { mean_N, error_N } = depth.majority;
    const edge = (sign: number) => mean_N.map((mean, i) => point(clamped(mean + sign * error_N[i]!, low, high), i));
    const band = [...edge(1), ...edge(-1).reverse()].join(' ');
    return [
      `<polygon points="${band}" fill="${color}" opacity="0.12"/>`,
      ...CURVES.map((name) =>
        samples === 1
          ? `<circle cx="${x(1)}" cy="${y(depth[name].mean_N[0]!).toFixed(1)}" r="4" fill="${color}"/>`
          : `<polyline points="${depth[name].mean_N.map(point).join(' ')}" fill="none" stroke="${color}" stroke-width="${name === 'majority' ? 2.5 : 1.5}" stroke-dasharray="${DASHES[name]}"/>`,
      ),
    ];
  });
  const keys = [
    ...depths.map(({ depth }, d) => ({ color: COLORS[d % COLORS.length]!, dash: '', name: depthName(depth) })),
    ...CURVES.map((name) => ({ color: 'currentColor', dash: DASHES[name], name: CURVE_NAMES[name] })),
  ];
  const key = keys.flatMap(({ color, dash, name }, i) => {
    const at = top + 8 + 22 * i + (i >= depths.length ? 12 : 0);
    return [
      `<line x1="${right + 14}" x2="${right + 38}" y1="${at}" y2="${at}" stroke="${color}" stroke-width="2" stroke-dasharray="${dash}"/>`,
      text([right + 44, at + 4], name),
    ];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${escaped(title)}">`,
    '<style>svg{color:#24292f;background:#fff;font:12px sans-serif}text{fill:currentColor}@media(prefers-color-scheme:dark){svg{color:#d0d7de;background:#0d1117}}</style>',
    text([left, 24], title, 'font-size="14"'),
    text([left, 42], 'accuracy in %, for N samples of each question; the band is the standard error', 'opacity="0.75"'),
    ...ticks.flatMap((share) => [
      `<line x1="${left}" x2="${right}" y1="${y(share).toFixed(1)}" y2="${y(share).toFixed(1)}" stroke="currentColor" opacity="0.15"/>`,
      text([left - 8, y(share) + 4], String(Math.round(100 * share)), 'text-anchor="end"'),
    ]),
    ...shownSizes(samples).map((n) => text([x(n), bottom + 20], String(n), 'text-anchor="middle"')),
    text([(left + right) / 2, bottom + 42], 'N samples', 'text-anchor="middle"'),
    `<line x1="${left}" x2="${right}" y1="${y(greedy).toFixed(1)}" y2="${y(greedy).toFixed(1)}" stroke="currentColor" opacity="0.6"/>`,
    text([right, y(greedy) - 5], 'greedy reply', 'text-anchor="end" opacity="0.75"'),
    ...lines,
    ...key,
    '</svg>',
    '',
  ].join('\n');
}

const depthName = (depth: number) => (depth === 0 ? 'not enriched' : `enriched ${depth === 1 ? 'once' : 'twice'}`);

/** Round bounds around what is shown, and the distance of their marks. */
function range(low: number, high: number): [number, number, number] {
  const step = [0.01, 0.02, 0.05, 0.1, 0.2].find((one) => (high - low) / one <= 6) ?? 0.2;
  const from = Math.max(0, Math.floor(low / step + 1e-9) * step);
  const to = Math.min(1, Math.ceil(high / step - 1e-9) * step);
  return to > from ? [from, to, step] : from >= 1 ? [1 - step, 1, step] : [from, from + step, step];
}

const clamped = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value));

const escaped = (text: string) =>
  text.replace(/[&<>"']/g, (found) => `&#${found.charCodeAt(0)};`).replace(/[\p{Cc}\p{Cs}\uFFFE\uFFFF]/gu, '\uFFFD');
