/**
 * The fault suite:   npm run chaos -- --runs 100 --seed 1 [--parallel 2] [--only 17,18] [--kinds killed,damaged]
 * Runs the loop with a tiny model again and again while processes are killed and frozen, the disk fills, files are
 * damaged, servers answer wrongly, connections break and operators send commands, at moments drawn from the seed; each
 * run must end with the digests of an undisturbed one. Exit: 0 all held, 1 not all did, 2 wrong arguments.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { python, setUp } from '../../scripts/set-up.mjs';

let options;
let words;
try {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '20' },
      seed: { type: 'string', default: '1' },
      parallel: { type: 'string', default: '2' },
      only: { type: 'string' },
      kinds: { type: 'string' },
    },
  });
  words = values.kinds?.split(',');
  options = {
    runs: whole('--runs', values.runs),
    seed: whole('--seed', values.seed),
    parallel: whole('--parallel', values.parallel),
    ...(values.only ? { only: values.only.split(',').map((number) => whole('--only', number)) } : {}),
  };
} catch (error) {
  fail(error.message);
}

await setUp();
process.env.SRLM_PYTHON = python;
// Only now: on a fresh clone it did not exist before.
const { createJiti } = await import('jiti');
const here = dirname(fileURLToPath(import.meta.url));
const { campaign } = await createJiti(import.meta.url).import(join(here, 'campaign.ts'));
const { kinds, kindsWith } = await createJiti(import.meta.url).import(join(here, 'faults/index.ts'));
const chosen = words ? kindsWith(words) : kinds;
if (chosen.length === 0) fail(`--kinds: no kind of fault contains ${words.join(' or ')}.`);
const { held, runs, table } = await campaign({ ...options, kinds: chosen, say: (line) => console.log(line) });
console.log(`\n${table}`);
process.exit(held === runs ? 0 : 1);

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}

function whole(name, text) {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1)
    throw new Error(`${name}: expected a whole number from 1, found ${text}.`);
  return number;
}
