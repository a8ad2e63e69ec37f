/**
 * The demo's runs, by the product's own command line: `srlm up`, `srlm start --watch`, `srlm status`, `srlm scores` and
 * `srlm reselect`.
 * Called by demo/demo.mjs, which has set everything up. --config FILE uses another deployment; --json prints one
 * JSON document with the rounds of each run and the seconds it took.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { root } from '../scripts/set-up.mjs';
import { options } from './options.mjs';

const srlm = [join(root, 'dist/client/cli/main.js'), ...(options.config ? ['--config', options.config] : [])];
const spec = join(root, 'demo', `${options.data}.yaml`);
const arms = [{ name: options.data, what: 'the method', set: [] }];
if (options.control) {
  arms.push(
    { name: 'no-catalysts', what: 'no catalysts', set: ['catalysts=none'] },
    { name: 'random', what: 'random choice', set: ['selection.selector=random'] },
    { name: 'no-loop', what: 'catalysts as answers, no loop', set: ['catalysts.use=answer', 'rounds=0'] },
  );
}

if (options.data === 'narrow') {
  mkdirSync(join(root, '.srlm/demo'), { recursive: true });
  must(
    spawnSync(process.execPath, [join(root, 'demo/narrow.mjs'), join(root, '.srlm/demo/narrow')], {
      stdio: ['ignore', 2, 2],
    }),
  );
}

const port = await freePort(7233);
const uiPort = await freePort(8233);
const up = spawn(process.execPath, [...srlm, 'up', '--json', '--port', String(port), '--ui-port', String(uiPort)], {
  cwd: root,
  stdio: ['ignore', 'pipe', 'inherit'],
});
const upEnded = new Promise((resolve) => up.once('exit', resolve));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => up.kill(signal));
const ready = await Promise.race([
  new Promise((resolve) => createInterface({ input: up.stdout }).once('line', resolve)),
  upEnded.then(() => null),
]);
if (!ready) process.exit(1);
const env = { ...process.env, TEMPORAL_ADDRESS: JSON.parse(ready).address };
say(`Temporal's UI, while this runs: ${JSON.parse(ready).uiUrl}`);

const outcomes = [];
try {
  for (const arm of arms) {
    say(`\n${arm.what} (${options.data} data)`);
    const id = `demo-${arm.name}-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, '')}`;
    const startedAt = Date.now();
    const set = arm.set.flatMap((value) => ['--set', value]);
    const args = [...srlm, 'start', spec, '--id', id, '--watch', ...set];
    const code = await new Promise((resolve) => {
      spawn(process.execPath, args, { cwd: root, env, stdio: ['ignore', 2, 2] }).once('exit', resolve);
    });
    if (code !== 0)
      throw new Error(`The run ended with ${code}. It is kept: \`npx srlm up\`, then \`npx srlm status ${id}\`.`);
    const seconds = (Date.now() - startedAt) / 1000;
    const { rounds } = JSON.parse(printed('status', id, '--json'));
    const looks = rounds.some(({ decisions }) => decisions) ? looksAt(id) : '';
    outcomes.push({ arm: arm.what, id, seconds, rounds, lines: printed('status', id) + looks });
  }
} catch (error) {
  say(error.message);
  process.exitCode = 1;
} finally {
  up.kill('SIGTERM');
  await upEnded;
}
if (options.json) {
  process.stdout.write(`${JSON.stringify({ outcomes: outcomes.map(({ lines: _, ...outcome }) => outcome) })}\n`);
} else if (outcomes.length > 0) {
  report();
}

/** What a command of `srlm` prints. */
function printed(...args) {
  return spawnSync(process.execPath, [...srlm, ...args], { cwd: root, env, encoding: 'utf8' }).stdout;
}

/** How far the selectors agree on the last round, and what another one would have chosen: without one request. */
function looksAt(id) {
  const commands = [
    ['scores', id],
    ['reselect', id, '--selector', 'rlpr'],
  ];
  return commands.map((args) => `\n$ npx srlm ${args.join(' ')}\n${printed(...args)}`).join('');
}

function report() {
  for (const { arm, lines } of outcomes) process.stdout.write(`\n${arm} (${options.data} data)\n\n${lines}`);
  const [{ id, seconds }] = outcomes;
  const isNarrow = options.data === 'narrow';
  const took = outcomes.length === 1 ? `Took ${(seconds / 60).toFixed(1)} min. ` : '';
  const shows = isNarrow
    ? 'A narrow, generated task: it shows the mechanism, not general ability.'
    : 'Starter data and a small model: this shows that the loop runs, not that general ability rises.';
  const question = isNarrow ? 'What is 7 + 5 + 9 + 4 + 8 + 6?' : 'How do I plan a week of simple dinners?';
  process.stdout.write(`
${took}${shows}

To look and ask:  npx srlm up            (Temporal's UI: http://127.0.0.1:8233; runs and their histories are kept)
                  npx srlm status ${id}
                  npx srlm ask ${id} "${question}" --samples 8
`);
}

function say(text) {
  process.stderr.write(`${text}\n`);
}

function must({ status }) {
  if (status !== 0) process.exit(status ?? 1);
}

/** `wanted` if it is free, else any. */
function freePort(wanted) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(freePort(0)));
    server.listen(wanted, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
