/**
 * How long the shortest commands take, in turn with Node itself: `node bench/start-up.mjs [--runs N]`. `list` asks the
 * Temporal of TEMPORAL_ADDRESS, such as that of `srlm up`. Prints the median and the range of the
 * seconds.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { runs: { type: 'string', default: '9' } } });
const main = fileURLToPath(new URL('../dist/client/cli/main.js', import.meta.url));
const COMMANDS = {
  'node -e 0': ['-e', '0'],
  'srlm --help': [main, '--help'],
  'srlm list --help': [main, 'list', '--help'],
  'srlm list': [main, 'list'],
};
const seconds = Object.fromEntries(Object.keys(COMMANDS).map((name) => [name, []]));

for (let run = 0; run < Number(values.runs); run++)
  for (const [name, args] of Object.entries(COMMANDS)) {
    const before = performance.now();
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${name}: ${stderr}`);
    seconds[name].push((performance.now() - before) / 1000);
  }
for (const [name, all] of Object.entries(seconds)) {
  const sorted = all.toSorted((a, b) => a - b);
  process.stdout.write(
    `${name.padEnd(20)} ${sorted[Math.floor(sorted.length / 2)].toFixed(2)} s (${sorted[0].toFixed(2)}-${sorted.at(-1).toFixed(2)})\n`,
  );
}
