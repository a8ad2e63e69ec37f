/**
 * How sure is the gate? Simulates rounds whose true accuracy is known, and lets the gate (method/gate.ts, as built in
 * dist/) judge them: how often a good round is rolled back, and a bad one kept. Prints Markdown tables for
 * docs/evaluation.md.
 *   npm run build && node bench/gate-risk.mjs [--runs 300] [--correlation 0.7] [--tolerance 0.02] [--confidence 0.95]
 * Whether a model answers a question is a hidden difficulty, which all rounds share, plus chance of its own; both are
 * normal, and `correlation` is the share of the first. With 0.7, two equally good rounds of 50 % differ in a quarter of
 * the questions.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { decideGate } from '../dist/method/gate.js';
import { random } from '../dist/method/random.js';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '300' },
    correlation: { type: 'string', default: '0.7' },
    tolerance: { type: 'string', default: '0.02' },
    confidence: { type: 'string', default: '0.95' },
  },
});
const runs = Number(values.runs);
const correlation = Number(values.correlation);
const gate = { tolerance: Number(values.tolerance), confidence: Number(values.confidence), patience: 2 };
const SIZES = [100, 200, 500, 1000];
const FIRST = 0.5;

const next = random(2026);
/** Box and Muller (1958). */
const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
/** z with P(Z <= z) = share, from a large sample of the same generator: exact to a tenth of a point. */
const sample = Float64Array.from({ length: 1_000_000 }, normal).sort();
const quantile = (share) => sample[Math.floor(share * sample.length)];

/** Answers of rounds with these true accuracies, on the same questions. */
function answers(accuracy_T, size) {
  const [shared, own] = [Math.sqrt(correlation), Math.sqrt(1 - correlation)];
  const bound_T = accuracy_T.map(quantile);
  const difficulty_E = Array.from({ length: size }, normal);
  return bound_T.map((bound) => difficulty_E.map((difficulty) => shared * difficulty + own * normal() < bound));
}

const count = (list) => list.filter(Boolean).length;
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.01 ? 1 : 0)} %`;
const line = (cells) => console.log(`| ${cells.join(' | ')} |`);
const head = (...cells) => {
  console.log();
  line(cells);
  line(cells.map(() => '---'));
};

/** As workflows/run.ts takes a round: a kept one that scores as high as the best is the new best. */
function course(later_T, size, seed) {
  const accuracy_T = [FIRST, ...later_T.map((points) => FIRST + points / 100)];
  const right_TE = answers(accuracy_T, size);
  let best = 0;
  let rollbacksInARow = 0;
  const kept_T = [];
  for (let t = 1; t < right_TE.length; t++) {
    const { verdict } = decideGate(right_TE[best], right_TE[t], gate, rollbacksInARow, seed);
    kept_T.push(verdict === 'keep');
    rollbacksInARow = verdict === 'keep' ? 0 : rollbacksInARow + 1;
    if (verdict === 'stop') break;
    if (verdict === 'keep' && count(right_TE[t]) >= count(right_TE[best])) best = t;
  }
  return { kept_T, best: 100 * (accuracy_T[best] - FIRST) };
}

const simulated = (later_T, size) => Array.from({ length: runs }, (_, seed) => course(later_T, size, seed));
const share = (found, is) => count(found.map(is)) / runs;

console.log(
  `${runs} simulated runs a cell, tolerance ${gate.tolerance}, confidence ${gate.confidence}, correlation ${correlation}, best round ${100 * FIRST} %; Node ${process.version}, ${cpus()[0].model.trim()}`,
);

head('true difference of a round to the best', ...SIZES.map((size) => `rolled back, of ${size} questions`));
for (const points of [-10, -7, -5, -3, -2, -1, 0, 2, 5])
  line([
    `${points > 0 ? '+' : ''}${points} points`,
    ...SIZES.map((size) => percent(share(simulated([points], size), ({ kept_T }) => !kept_T[0]))),
  ]);

const COURSES = [
  ['five rounds as good as round 0', [0, 0, 0, 0, 0], 'any is rolled back', ({ kept_T }) => kept_T.includes(false)],
  ['five rounds, each a point better', [1, 2, 3, 4, 5], 'any is rolled back', ({ kept_T }) => kept_T.includes(false)],
  ['the third of five is 5 points worse', [0, 0, -5, 0, 0], 'it is kept', ({ kept_T }) => kept_T[2] === true],
  ['the third of five is 10 points worse', [0, 0, -10, 0, 0], 'it is kept', ({ kept_T }) => kept_T[2] === true],
];
head('course of a run', 'how often', ...SIZES.map((size) => `of ${size} questions`));
for (const [name, later_T, what, is] of COURSES) {
  const found_S = SIZES.map((size) => simulated(later_T, size));
  line([name, what, ...found_S.map((found) => percent(share(found, is)))]);
  if (later_T.filter((points) => points !== 0).length < 2) continue;
  const loss = (found) => found.reduce((sum, { best }) => sum + best, 0) / runs;
  line([
    '',
    'true points of the best round, on average',
    ...found_S.map((found) => `${loss(found) > 0 ? '+' : ''}${loss(found).toFixed(1)}`),
  ]);
}
