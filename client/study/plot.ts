/** Accuracy by round, a line an arm, as SVG that needs nothing else. Pure. */
import type { ArmRound, StudyResult } from '../../contracts/study.js';
import { visible } from '../../text/text.js';

const [WIDTH, LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT] = [760, 60, 24, 460, 320];
const LINE = 18;
/** Okabe and Ito's colours, which people with any kind of colour vision can tell apart; then dashes do. */
const COLORS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000'];
const DASHES = ['', '6 3', '2 3', '8 3 2 3'];

export function plot({ arms, name, confidence }: StudyResult): string {
  const shown = arms.filter(({ rounds }) => rounds.length > 0);
  const lastRound = Math.max(1, ...shown.flatMap(({ rounds }) => rounds.map(({ round }) => round)));
  const top = Math.min(1, Math.ceil(10 * Math.max(0.1, ...shown.flatMap(({ rounds }) => rounds.map(highOf)))) / 10);
  const x = (round: number) => LEFT + 20 + (round / lastRound) * (PLOT_WIDTH - 40);
  const y = (share: number) => TOP + PLOT_HEIGHT * (1 - share / top);
  const steps = Array.from({ length: Math.round(top * 10) + 1 }, (_, i) => i / 10);
  const grid = steps.map(
    (share) =>
      `<line x1="${LEFT}" x2="${LEFT + PLOT_WIDTH}" y1="${n(y(share))}" y2="${n(y(share))}" stroke="#ddd"/>` +
      label(LEFT - 8, y(share) + 4, `${Math.round(100 * share)} %`, 'end'),
  );
  const ticks = Array.from({ length: lastRound + 1 }, (_, round) => round)
    .filter((round) => round % Math.ceil((lastRound + 1) / 12) === 0)
    .map((round) => label(x(round), TOP + PLOT_HEIGHT + 20, String(round), 'middle'));
  const lines = shown.map(({ arm, rounds }, i) => {
    const color = COLORS[i % COLORS.length]!;
    const dash = DASHES[Math.floor(i / COLORS.length) % DASHES.length]!;
    // Beside each other, so that intervals at the same round can be seen.
    const at = ({ round }: ArmRound) => x(round) + (i - (shown.length - 1) / 2) * Math.min(5, 30 / shown.length);
    const stroke = `stroke="${color}" stroke-width="2"${dash ? ` stroke-dasharray="${dash}"` : ''}`;
    const path = rounds.map((one) => `${n(at(one))},${n(y(one.mean))}`).join(' ');
    const marks = rounds.map(
      (one) =>
        `<line x1="${n(at(one))}" x2="${n(at(one))}" y1="${n(y(one.interval.low))}" y2="${n(y(highOf(one)))}" stroke="${color}" opacity="0.5"/>` +
        `<circle cx="${n(at(one))}" cy="${n(y(one.mean))}" r="3.5" fill="${color}"/>`,
    );
    const key = TOP + 8 + i * LINE;
    const legend =
      `<line x1="${LEFT + PLOT_WIDTH + 20}" x2="${LEFT + PLOT_WIDTH + 44}" y1="${key}" y2="${key}" ${stroke}/>` +
      label(LEFT + PLOT_WIDTH + 52, key + 4, arm, 'start');
    return `<polyline points="${path}" fill="none" ${stroke}/>${marks.join('')}${legend}`;
  });
  const height = Math.max(TOP + PLOT_HEIGHT + 60, TOP + 8 + shown.length * LINE + 20);
  const title = `${name}: accuracy by round, with intervals at ${100 * confidence} %`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    ...grid,
    ...ticks,
    label(LEFT + PLOT_WIDTH / 2, TOP + PLOT_HEIGHT + 42, 'round', 'middle'),
    ...lines,
    '</svg>\n',
  ].join('\n');
}

const highOf = ({ interval }: ArmRound): number => interval.high;
const n = (value: number): string => String(Math.round(10 * value) / 10);
const label = (x: number, y: number, text: string, anchor: string): string =>
  `<text x="${n(x)}" y="${n(y)}" text-anchor="${anchor}">${escaped(text)}</text>`;
const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escaped = (text: string): string => visible(text).replace(/[&<>"]/g, (one) => ENTITIES[one]!);
