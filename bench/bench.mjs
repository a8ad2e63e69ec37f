/**
 * Is the product fast enough? Each bench does the same work twice, by the product and by a yardstick, in turn.
 *   npm run bench                          all of them: about half an hour on two cores
 *   npm run bench -- server orchestration  some: server, score, trainer, demo, rerun, orchestration, memory, history,
 *                                          select
 *   npm run bench -- --data gsm8k.jsonl    questions and answers for server and score (default: data/starter)
 *   npm run bench -- --runs 3 trainer      so many runs of each side; the table holds the median, and the ratio's range
 * Prints a table, then one JSON line, which also goes into bench/results/DATE.json (a bench run again that day replaces
 * its rows). Fails where work was not done; a target that is missed is shown, and fails nothing.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { demoModel, python, root, run, setUp } from '../scripts/set-up.mjs';

const BENCHES = { server, score, trainer, demo, rerun, orchestration, memory, history, select };
const { values: options, positionals } = parseArgs({
  options: { data: { type: 'string' }, runs: { type: 'string', default: '1' } },
  allowPositionals: true,
});
const unknown = positionals.find((name) => !(name in BENCHES));
if (unknown || !(Number(options.runs) >= 1)) {
  process.stderr.write(`Usage: npm run bench -- [--data FILE] [--runs N] [${Object.keys(BENCHES).join('|')} ...]\n`);
  process.exit(2);
}
const runs = Number(options.runs);
const scratch = mkdtempSync(join(tmpdir(), 'srlm-bench-'));
const demoFolder = join(root, '.srlm/bench-demo');

await setUp({ model: true });
const rows = [];
try {
  for (const name of positionals.length > 0 ? positionals : Object.keys(BENCHES)) {
    say(`\n${name} ...`);
    rows.push(...(await BENCHES[name]()));
  }
} catch (error) {
  // What was measured before is reported all the same.
  say(error.message);
  process.exitCode = 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
if (rows.length > 0) report();

// --- the benches ----------------------------------------------------------------------------------------------------

async function server() {
  const given = ['--model', demoModel, '--data', questions(), '--prompts', '64'];
  return compare(
    'sample 64 x 4, at most 128 tokens',
    'tokens/s',
    'transformers generate',
    { atLeast: 1.5 },
    async () => ({
      ours: await json(python, ['bench/python/drive_server.py', ...given, '--texts', '1'], 'server_generate'),
      yardstick: await json(python, ['bench/python/generate_baseline.py', ...given]),
    }),
  );
}

/** Wanted of each answer: its last line, as the method scores (log p(y | x, r)); and every token of it. */
async function score() {
  const given = ['--model', demoModel, '--data', questions()];
  const drive = ['bench/python/drive_server.py', ...given, '--prompts', '1', '--texts', '256'];
  const pairs = [];
  for (let i = 0; i < runs; i++) {
    const [line, whole] = await jsons(python, drive, ['server_score_last_line', 'server_score']);
    const yardstick = await json(python, ['bench/python/score_baseline.py', ...given, '--prompts', '256']);
    pairs.push({ line, whole, yardstick });
  }
  const row = (bench, side, target) =>
    compared(
      bench,
      'tokens/s',
      'forward passes, full logits',
      target,
      pairs.map((pair) => ({ ours: pair[side], yardstick: pair.yardstick })),
    );
  return [
    row('score 256 texts, the last line of each', 'line', { atLeast: 1.5 }),
    row('the same, every token of the answer', 'whole', null),
  ];
}

async function trainer() {
  const given = ['--model', demoModel, '--data', await narrowTask()];
  const withTrl = await benchPython();
  const work = async () => ({
    ours: await json(python, ['bench/python/drive_trainer.py', ...given, '--job', mkdtempSync(join(scratch, 'job-'))]),
    yardstick: await json(withTrl, ['bench/python/train_baseline.py', ...given]),
  });
  const [row] = await compare('train round 0', 'tokens/s', 'TRL SFTTrainer', { atLeast: 2 }, work);
  // Over all reply tokens of the training rows; a step's own loss depends on which rows it held.
  const lossOf = (side) => median(row.runs.map((one) => one[side].finalLoss));
  const note = `loss after it ${lossOf('ours').toFixed(3)}, TRL's ${lossOf('yardstick').toFixed(3)}`;
  return [{ ...row, note }];
}

/** The product from `srlm start` to the run's end; the bare loop from its first line to its last. */
async function demo() {
  const work = async () => {
    rmSync(demoFolder, { recursive: true, force: true });
    const ours = await demoRun();
    const startedAt = Date.now();
    const bare = await json(python, ['bench/python/bare_loop.py', '--model', demoModel, '--data', await narrowTask()]);
    return { ours, yardstick: { ...bare, stepSeconds: bare.seconds, seconds: (Date.now() - startedAt) / 1000 } };
  };
  const [row] = await compare(
    'the narrow demo',
    's',
    'bare Python loop',
    { atMost: 1.15 },
    work,
    ({ seconds }) => seconds,
  );
  const heldOut = (side) => row.runs.map((one) => percents(one[side].rounds)).join('; ');
  return [{ ...row, note: `held out ${heldOut('ours')}; bare ${heldOut('yardstick')}` }];
}

/** A run like one that is there already: every step is found by its key. */
async function rerun() {
  if (!existsSync(demoFolder)) await demoRun();
  const { seconds } = await demoRun();
  return [
    {
      bench: 'rerun of the finished demo',
      unit: 's',
      ours: seconds,
      yardstick: 10,
      by: 'the target',
      ...judged(seconds / 10, { atMost: 1 }),
    },
  ];
}

async function orchestration() {
  const { orchestration: bench } = await import('./orchestration/run.mjs');
  const found = await bench({ runs: Math.max(5, runs) });
  const row = (bench, ours, yardstick, ratio, target) => ({
    ...{ bench, unit: 'requests/s', ours: ours.median, yardstick: yardstick.median, by: 'bare openai client' },
    ...judged(ratio, target),
    ...{ runs: [found], note: `worker's peak memory ${megabytes(found.workerPeakBytes)}` },
  });
  return [
    row('sample 2,000 x 4 from a stub', found.ours, found.bare, found.ratio, { atLeast: 0.85 }),
    row('the same, ingest and sealing too', found.oursWhole, found.bareWhole, found.ratioWhole, null),
  ];
}

async function memory() {
  const { orchestration: bench } = await import('./orchestration/run.mjs');
  const { workerPeakBytes: bytes } = await bench({ runs: 1, count: 20_000 });
  const ours = bytes === null ? null : bytes / 1e6;
  const target = judged(ours === null ? null : ours / 500, { atMost: 1 });
  return [{ bench: "worker's peak memory, 20,000 x 4", unit: 'MB', ours, yardstick: 500, by: 'the target', ...target }];
}

/** The CPU steps of a round on generated tables, each in a process of its own. */
async function select() {
  const found = [];
  for (const rows of [10_000, 100_000, 1_000_000]) {
    const folder = join(scratch, `select-${rows}`);
    mkdirSync(folder);
    const work = (what) => json(process.execPath, ['bench/select/work.mjs', what, String(rows), folder]);
    say(`${rows.toLocaleString('en')} rows ...`);
    await work('make');
    for (const what of ['select', 'mix']) {
      const { candidates, cpuSeconds, peakBytes } = await work(what);
      const bench = `${what}, ${rows.toLocaleString('en')} rows x 8`;
      const [rate, peak] = [candidates / cpuSeconds, peakBytes / 1e6];
      found.push(
        {
          bench,
          unit: 'candidates/s',
          ours: rate,
          yardstick: 20_000,
          by: 'the target',
          ...judged(rate / 20_000, { atLeast: 1 }),
        },
        { bench, unit: 'MB', ours: peak, yardstick: 500, by: 'the bound', ...judged(peak / 500, { atMost: 1 }) },
      );
    }
    rmSync(folder, { recursive: true });
  }
  return found;
}

/** Bounds that hold whatever the size of the data; bench/results/history.json has all figures. */
async function history() {
  const { history: bench } = await import('./history/run.mjs');
  const { histories, cost } = await bench(say);
  const row = ({ rows, promptBytes, ...of }, what, unit, bound, measure) => ({
    bench: `history: ${what}, ${rows.toLocaleString('en')} rows${promptBytes ? `, prompt of ${promptBytes / 1000} KB` : ''}`,
    ...{ unit, ours: measure(of), yardstick: bound, by: 'the bound', ...judged(measure(of) / bound, { atMost: 1 }) },
  });
  const actions = {
    bench: `history: billable actions an hour, ${cost.shards} shards in flight (before: ${cost.before.actionsPerHour})`,
    ...{ unit: '', ours: cost.actionsPerHour, yardstick: 2000, by: 'the bound' },
    ...judged(cost.actionsPerHour / 2000, { atMost: 1 }),
  };
  const sizes = histories.flatMap((one) => [
    row(one, 'events of a round', '', 8000, ({ events }) => events),
    row(one, 'size of a round', 'MB', 5, ({ bytes }) => bytes / 1e6),
    row(one, 'largest payload', 'bytes', 4096, ({ largestPayload }) => largestPayload),
    row(one, 'replay', 's', 3, ({ replaySeconds }) => replaySeconds),
  ]);
  return [...sizes, actions];
}

// --- what they share ------------------------------------------------------------------------------------------------

/** `work` gives {ours, yardstick}, each with what `measure` reads. A row with medians; the ratio is of each pair. */
async function compare(bench, unit, by, target, work, measure) {
  const pairs = [];
  for (let i = 0; i < runs; i++) pairs.push(await work());
  return [compared(bench, unit, by, target, pairs, measure)];
}

function compared(bench, unit, by, target, pairs, measure = ({ tokensPerSecond }) => tokensPerSecond) {
  const of = (side) => pairs.map((pair) => measure(pair[side]));
  const ratios = pairs.map(({ ours, yardstick }) => measure(ours) / measure(yardstick));
  const row = { bench, unit, ours: median(of('ours')), yardstick: median(of('yardstick')), by };
  return { ...row, ...judged(median(ratios), target), ratios, runs: pairs };
}

function judged(ratio, target) {
  if (!target || ratio === null) return { ratio, target: '', met: null };
  const { atLeast, atMost } = target;
  return atLeast
    ? { ratio, target: `>= ${atLeast}`, met: ratio >= atLeast }
    : { ratio, target: `<= ${atMost}`, met: ratio <= atMost };
}

/** The last JSON line that the program prints, or the one of that bench. */
async function json(command, args, bench) {
  return (await jsons(command, args, [bench]))[0];
}

/** The JSON lines of these benches (undefined: the last line). The program's other words go to stderr. */
async function jsons(command, args, benches) {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  const found = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith('{"')) found.push(JSON.parse(line));
    else say(line);
  }
  const [code, signal] = await ended;
  const wanted = benches.map((bench) => (bench ? found.find((one) => one.bench === bench) : found.at(-1)));
  if (code !== 0 || wanted.includes(undefined)) throw new Error(`${args[0]} ended with ${code ?? signal}.`);
  return wanted;
}

/** One run of the demo's spec in a store of its own. */
async function demoRun() {
  mkdirSync(demoFolder, { recursive: true });
  const config = join(demoFolder, 'temporal.config.json');
  const deployment = { artifactRoot: 'store', workRoot: 'work', modelRoots: [join(root, '.srlm/models')], python };
  writeFileSync(config, JSON.stringify(deployment));
  const { outcomes } = await json(process.execPath, ['demo/run.mjs', '--json', '--config', config]);
  if (outcomes.length !== 1) throw new Error('The demo did not end well.');
  return outcomes[0];
}

async function narrowTask() {
  const folder = join(scratch, 'narrow');
  if (!existsSync(folder)) await run(process.execPath, [join(root, 'demo/narrow.mjs'), folder]);
  return folder;
}

/** Rows with `question` and `answer`, GSM8K's form. */
function questions() {
  if (options.data) return resolve(process.env.INIT_CWD ?? '.', options.data); // npm changes the folder
  const file = join(scratch, 'questions.jsonl');
  const starter = readFileSync(join(root, 'data/starter/instructions.jsonl'), 'utf8').trim().split('\n');
  const made = starter.map((line) => {
    const { instruction, rationale, answer } = JSON.parse(line);
    return JSON.stringify({ question: instruction, answer: `${rationale}\n#### ${answer}` });
  });
  writeFileSync(file, `${made.join('\n')}\n`);
  return file;
}

/** The engine's packages, and those that only benches need beside them, in an environment of their own. */
async function benchPython() {
  const folder = join(root, '.srlm/python-bench');
  const interpreter = join(folder, 'bin/python');
  const stamp = join(folder, 'srlm-requirements.txt');
  const requirements = join(root, 'bench/python/requirements.txt');
  const wanted = `${python}\n${readFileSync(requirements, 'utf8')}`;
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return interpreter;
  say('Setting up: Python packages for benches only ...');
  await run(python, ['-m', 'venv', '--clear', folder]);
  const sitePackages = (of) => ask(of, 'import sysconfig; print(sysconfig.get_path("purelib"))');
  writeFileSync(join(sitePackages(interpreter), 'engine.pth'), `${sitePackages(python)}\n`);
  await run(interpreter, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements]);
  writeFileSync(stamp, wanted);
  return interpreter;
}

function ask(interpreter, code) {
  return spawnSync(interpreter, ['-c', code], { encoding: 'utf8' }).stdout.trim();
}

// --- the table ------------------------------------------------------------------------------------------------------

function report() {
  const names = ['torch', 'transformers', ...(existsSync(join(root, '.srlm/python-bench')) ? ['trl'] : [])];
  const interpreter = names.length > 2 ? join(root, '.srlm/python-bench/bin/python') : python;
  const versionOf = `from importlib.metadata import version; print(*[n + " " + version(n) for n in ${JSON.stringify(names)}], sep=", ")`;
  const about = {
    date: new Date().toISOString(),
    machine: `${cpus()[0].model.trim()}, ${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GB, ${process.platform}`,
    versions: `Node ${process.versions.node}, ${ask(python, 'import platform; print("Python", platform.python_version())')}, ${ask(interpreter, versionOf)}`,
    command: [
      'npm run bench --',
      ...(options.data ? ['--data', basename(options.data)] : []),
      '--runs',
      runs,
      ...positionals,
    ].join(' '),
  };
  const cells = rows.map(({ bench, unit, ours, yardstick, by, ratio, ratios = [], target, met, note }) => [
    bench,
    `${figure(ours)} ${unit}`,
    `${figure(yardstick)} ${unit} (${by})`,
    `${ratio === null ? '?' : ratio.toFixed(2)}${ratios.length > 1 ? ` (${Math.min(...ratios).toFixed(2)}-${Math.max(...ratios).toFixed(2)})` : ''}`,
    target,
    met === null ? '' : met ? 'yes' : 'NO',
    note ?? '',
  ]);
  const table = [['bench', 'ours', 'yardstick', 'ratio', 'target', 'met', ''], ...cells];
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
  const lines = table.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd(),
  );
  console.log(
    `\n${lines.join('\n')}\n\n${about.machine}\n${about.versions}\n${about.command}   (${runs} run${runs > 1 ? 's' : ''} of each side)`,
  );

  const results = rows.map((row) => ({ ...row, ...about }));
  const file = join(root, 'bench/results', `${about.date.slice(0, 10)}.json`);
  const kept = existsSync(file)
    ? JSON.parse(readFileSync(file, 'utf8')).filter((old) => !rows.some(({ bench }) => bench === old.bench))
    : [];
  mkdirSync(join(root, 'bench/results'), { recursive: true });
  writeFileSync(file, `${JSON.stringify([...kept, ...results], null, 2)}\n`);
  console.log(JSON.stringify(results));
}

function percents(rounds) {
  return rounds.map(({ evaluation, heldOut }) => `${(100 * (evaluation?.accuracy ?? heldOut)).toFixed(0)}`).join(' > ');
}

function figure(value) {
  if (value === null) return '?';
  return value < 100 ? value.toFixed(1) : value.toFixed(0);
}

function megabytes(bytes) {
  return bytes === null ? 'unknown' : `${(bytes / 1e6).toFixed(0)} MB`;
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

function say(text) {
  process.stderr.write(`${text}\n`);
}
