/** Writes a generated task for `node demo/TASK.mjs OUT_DIR [--seed 0]`: train.jsonl (instruction, short rationale, answer),
 *  catalysts.jsonl (the same with the enriched rationale and its skills) and evaluation.jsonl (question, answer). No
 *  question occurs twice. The same seed gives the same bytes. Files are replaced. Needs the build.
 *  Exit: 0 done, 2 bad arguments. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { random } from '../dist/method/random.js';

/** `ask(pick)`: a question, its answer and its working, from what `pick` draws of lists. `short`: the short rationales. */
export function writeTask({ counts, short, ask }) {
  const { outDir, seed } = readArguments();
  mkdirSync(outDir, { recursive: true });
  for (const [name, rows] of Object.entries(makeTask(seed, { counts, short, ask }))) {
    const path = join(outDir, `${name}.jsonl`);
    writeFileSync(`${path}.partial`, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    renameSync(`${path}.partial`, path);
    console.log(`${path}: ${rows.length} rows`);
  }
}

/** The rows of the three files, decided by the seed alone. */
function makeTask(seed, { counts, short, ask }) {
  const draw = random(seed);
  const pick = (values) => values[Math.floor(draw() * values.length)];
  const seen = new Set();
  const next = () => {
    const asked = ask(pick);
    if (seen.has(asked.question)) return next();
    seen.add(asked.question);
    return asked;
  };
  const rows = (name, make) =>
    Array.from({ length: counts[name] }, (_, n) => ({
      id: `${name}-${String(n).padStart(3, '0')}`,
      ...make(next()),
    }));
  return {
    train: rows('train', ({ question, answer }) => ({ instruction: question, rationale: pick(short), answer })),
    catalysts: rows('catalysts', ({ question, answer, working }) => ({
      instruction: question,
      rationale: pick(short),
      answer,
      enriched: working,
      skills: ['decomposition', 'detail'],
    })),
    evaluation: rows('evaluation', ({ question, answer }) => ({ question, answer })),
  };
}

function readArguments() {
  const usage = `usage: node ${basename(process.argv[1])} OUT_DIR [--seed 0]`;
  try {
    const { positionals, values } = parseArgs({
      allowPositionals: true,
      options: { seed: { type: 'string', default: '0' } },
    });
    const [outDir] = positionals;
    const seed = Number(values.seed);
    if (positionals.length === 1 && Number.isInteger(seed) && seed >= 0) return { outDir, seed };
  } catch (problem) {
    console.error(problem.message);
  }
  console.error(usage);
  process.exit(2);
}
