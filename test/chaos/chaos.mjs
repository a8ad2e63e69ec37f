/**
 * The fault suite:   npm run chaos -- --runs 100 --seed 1 [--parallel 2] [--only 17,18] [--kinds killed,damaged]
 * Files at rest:     npm run chaos -- --at-rest [--seed 1] [--kinds record,token]
 * Runs the loop with a tiny model again and again while processes are killed and frozen, the disk fills, files are
 * damaged, servers answer wrongly, connections break and operators send commands, at moments drawn from the seed; each
 * run must end with the digests of an undisturbed one. With --at-rest every kind of file that srlm writes is damaged in
 * four ways, one at a time, after everything has stopped (at-rest.ts). Exit: 0 all held, 1 not all did, 2 wrong arguments.
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
      'at-rest': { type: 'boolean', default: false },
    },
  });
  words = values.kinds?.split(',');
  options = {
    runs: whole('--runs', values.runs),
    seed: whole('--seed', values.seed),
    parallel: whole('--parallel', values.parallel),
    atRest: values['at-rest'],
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
const load = (name) => createJiti(import.meta.url).import(join(here, name));
const say = (line) => console.log(line);
if (options.atRest) await damageAtRest();
else await runWithFaults();

async function runWithFaults() {
  const { campaign } = await load('campaign.ts');
  const { kinds } = await load('faults/index.ts');
  const { held, runs, table } = await campaign({ ...options, kinds: chosenOf(kinds), say });
  console.log(`\n${table}`);
  process.exit(held === runs ? 0 : 1);
}

async function damageAtRest() {
  const { atRest, fileKinds } = await load('at-rest.ts');
  const { held, cases } = await atRest({ seed: options.seed, kinds: chosenOf(fileKinds), say });
  console.log(`\n${held} of ${cases} ended as they should`);
  process.exit(held === cases ? 0 : 1);
}

/** Kinds whose name contains one of the words. */
function chosenOf(kinds) {
  const chosen = words ? kinds.filter((kind) => words.some((word) => kind.includes(word))) : kinds;
  if (chosen.length === 0) fail(`--kinds: no kind contains ${words.join(' or ')}.`);
  return chosen;
}

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
