/** Writes the demo's narrow task.  Usage: node demo/narrow.mjs OUT_DIR [--seed 0]
 *
 *  Adding six numbers of one digit: a templated task, on which a small model on a small machine visibly improves itself.
 *  It shows the mechanism and says nothing about general ability.
 *  Writes train.jsonl (150 rows: instruction, short rationale, answer), catalysts.jsonl (32 rows: the same with the
 *  enriched rationale and its skills) and evaluation.jsonl (200 rows: question, answer). No question occurs twice.
 *  The same seed gives the same bytes. Files are replaced. Needs the build. Exit: 0 done, 2 bad arguments. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { random } from '../dist/method/random.js';

const COUNTS = { train: 150, catalysts: 32, evaluation: 200 };
const SHORT = ['Add them up.', 'Just add all the numbers.', 'Sum the numbers.'];

/** "Step by step: 8+3=11, 11+8=19, ...". Without spaces it has 48 tokens and is learned from 32 examples; with spaces it
 *  has 71 and was not learned. */
function workOut(numbers) {
  let sum = numbers[0];
  const steps = numbers.slice(1).map((next) => {
    const before = sum;
    sum += next;
    return `${before}+${next}=${sum}`;
  });
  return `Step by step: ${steps.join(', ')}.`;
}

/** The rows of the three files, decided by the seed alone. */
function makeTask(seed) {
  const draw = random(seed);
  const pick = (values) => values[Math.floor(draw() * values.length)];
  const seen = new Set();
  const newSum = () => {
    const numbers = Array.from({ length: 6 }, () => pick([2, 3, 4, 5, 6, 7, 8, 9]));
    const question = `What is ${numbers.join(' + ')}?`;
    if (seen.has(question)) return newSum();
    seen.add(question);
    return { question, numbers, answer: String(numbers.reduce((sum, number) => sum + number)) };
  };
  const rows = (name, make) =>
    Array.from({ length: COUNTS[name] }, (_, n) => ({
      id: `${name}-${String(n).padStart(3, '0')}`,
      ...make(newSum()),
    }));
  return {
    train: rows('train', ({ question, answer }) => ({ instruction: question, rationale: pick(SHORT), answer })),
    catalysts: rows('catalysts', ({ question, numbers, answer }) => ({
      instruction: question,
      rationale: pick(SHORT),
      answer,
      enriched: workOut(numbers),
      skills: ['decomposition', 'detail'],
    })),
    evaluation: rows('evaluation', ({ question, answer }) => ({ question, answer })),
  };
}

const usage = 'usage: node demo/narrow.mjs OUT_DIR [--seed 0]';
let options;
try {
  options = parseArgs({ allowPositionals: true, options: { seed: { type: 'string', default: '0' } } });
} catch (problem) {
  console.error(`${problem.message}\n${usage}`);
  process.exit(2);
}
const [outDir] = options.positionals;
const seed = Number(options.values.seed);
if (options.positionals.length !== 1 || !Number.isInteger(seed) || seed < 0) {
  console.error(usage);
  process.exit(2);
}
mkdirSync(outDir, { recursive: true });
for (const [name, rows] of Object.entries(makeTask(seed))) {
  const path = join(outDir, `${name}.jsonl`);
  writeFileSync(`${path}.partial`, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  renameSync(`${path}.partial`, path);
  console.log(`${path}: ${rows.length} rows`);
}
