/**
 * The Python environment: a venv with the packages of requirements.txt, a complete lock. pip compares every file it
 * receives with the lock's SHA-256 and runs no code of a package while it installs it. Made once, and again when the
 * lock changes; a stamp that is written last says that it is complete. Plain JavaScript on Node's built-ins, so that
 * `npm run demo` and `npm test` run it while the npm packages are still being installed. Throws SetUpError.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const CANDIDATES = ['python3.13', 'python3.12', 'python3.11', 'python3'];
const OLDEST = [3, 11];
const REPORT_EVERY_MS = 20_000;
/** Enough for the hashes that pip lists when a file has none of them: a package may have a hundred files. */
const KEPT_OUTPUT = 64 * 1024;
const EVALS = 'requirements-evals.txt';
const WHAT = { requirements: 'torch, transformers', 'requirements-evals': 'lm-eval, Inspect' };
/** torch, and the packages that only its CUDA build needs: a build of another kind brings its own, or none. */
const TORCH_AND_CUDA = /^(torch|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==/;

/** `reason`: what failed, one sentence. `hint`: what to do about it. */
export class SetUpError extends Error {
  /** @param {string} reason @param {string} hint */
  constructor(reason, hint) {
    super(`${reason} ${hint}`);
    this.reason = reason;
    this.hint = hint;
  }
}

/**
 * Makes the environment in `folder`, unless it is there already. Returns its interpreter. `name`: the lock's, without .txt.
 * @param {string} folder
 * @param {(line: string) => void} say
 * @param {string} name
 * @returns {Promise<string>}
 */
export async function setUpPython(folder, say, name = 'requirements') {
  const lock = fileURLToPath(new URL(`${name}.txt`, import.meta.url));
  const wanted = createHash('sha256')
    .update(await readFile(lock))
    .digest('hex');
  const stamp = join(folder, 'srlm-requirements.sha256');
  const python = join(folder, 'bin', 'python');
  const found = await readFile(stamp, 'utf8').catch(() => '');
  if (found === wanted && (await versionOf(python))) return python;

  await rm(stamp, { force: true });
  if (!(await versionOf(python))) {
    const base = await findPython();
    say(`Creating a Python environment in ${folder} (${base.name}, Python ${base.version})`);
    await mkdir(dirname(folder), { recursive: true });
    await run(base.name, ['-m', 'venv', '--clear', folder], say);
  }
  say(`Installing ${WHAT[name]} and what they need, in pinned versions`);
  await install(python, lock, folder, say);
  // With all cores. A file that cannot be compiled is an example in some package, which nobody imports.
  const compile = 'import compileall, sys; compileall.compile_dir(sys.argv[1], quiet=2, workers=0)';
  await run(python, ['-c', compile, join(folder, 'lib')], say);
  await writeFile(stamp, wanted);
  return python;
}

/**
 * Where the user's own pip configuration offers a build of torch for this machine (`2.13.0+cpu`, `2.13.0+rocm7.2`), pip
 * has always preferred it, and it still does. The lock has no hash of such a build: it comes from where the user chose.
 */
async function install(python, lock, folder, say) {
  // pip would compile one file after the other, which takes longer than everything else it does.
  const pip = ['-m', 'pip', 'install', '--quiet', '--no-input', '--no-compile', '--disable-pip-version-check'];
  const locked = [...pip, '--require-hashes', '--only-binary', ':all:', '--requirement'];
  const text = await readFile(lock, 'utf8');
  const torch = /^torch==(\S+)/m.exec(text)?.[1];
  // A lock without torch is that of the evaluation tools. It leaves out what they need for few of their tasks and what
  // has no wheel, so that nothing has to be built, and is complete otherwise.
  if (!torch) return run(python, [...locked, lock, '--no-deps'], say);
  const build = await ownBuildOfTorch(python, torch);
  if (!build) return run(python, [...locked, lock], say);

  say(`torch ${build} comes from your pip configuration; the hashes of the lock cover everything else`);
  const rest = join(folder, 'srlm-requirements-without-torch.txt');
  // An entry of the lock begins in the first column; its hashes and comments follow, indented.
  const entries = text.split(/^(?=\S)/m).filter((entry) => !TORCH_AND_CUDA.test(entry));
  await writeFile(rest, entries.join(''));
  // What remains does not need torch to be complete: accelerate and peft do, and it follows.
  await run(python, [...locked, rest, '--no-deps'], say);
  await run(python, [...pip, `torch==${build}`], say);
}

/** The local version of torch that pip would install, or null. */
async function ownBuildOfTorch(python, version) {
  const list = ['-m', 'pip', 'index', 'versions', 'torch', '--disable-pip-version-check'];
  // A pip that cannot list versions fails here: then the lock decides, and pip reports what is wrong, if anything.
  const { stdout } = await promisify(execFile)(python, list).catch(() => ({ stdout: '' }));
  const offered = /^Available versions: (.*)$/m.exec(stdout)?.[1]?.split(', ') ?? [];
  return offered.find((candidate) => candidate.startsWith(`${version}+`)) ?? null;
}

/** Tries the newest version that is known to work first; `python3` may be any version that is recent enough. */
async function findPython() {
  const old = [];
  for (const name of CANDIDATES) {
    const version = await versionOf(name);
    if (!version) continue;
    const [major = 0, minor = 0] = version.split('.').map(Number);
    if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return { name, version };
    old.push(`${name} is ${version}`);
  }
  throw new SetUpError(
    `There is no Python 3.11 or newer (${old.length > 0 ? old.join(', ') : 'none is on the PATH'}).`,
    'Install one, or name an environment of yours with SRLM_PYTHON.',
  );
}

/** null: it does not run, or cannot make environments (Debian has that in the package python3-venv). */
async function versionOf(python) {
  if (python.includes('/') && !existsSync(python)) return null;
  const probe = 'import sys, venv, ensurepip; print(sys.version.split()[0])';
  return promisify(execFile)(python, ['-c', probe]).then(
    ({ stdout }) => stdout.trim(),
    () => null,
  );
}

async function run(command, args, say) {
  const startedAt = Date.now();
  const reports = setInterval(() => say(`... ${Math.round((Date.now() - startedAt) / 1000)} s`), REPORT_EVERY_MS);
  let output = '';
  try {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output = (output + text).slice(-KEPT_OUTPUT);
      });
    }
    const code = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    if (code !== 0)
      throw foreignFile(output, args) ?? setUpFailed(command, args, lastLines(output) || `it ended with ${code}`);
  } finally {
    clearInterval(reports);
  }
}

const lastLines = (output) => output.trim().split('\n').slice(-3).join(' | ');

/** pip's report of files whose hash differs from the lock's, as one sentence; null for any other output. */
function foreignFile(output, args) {
  const [, report] = output.split('DO NOT MATCH THE HASHES');
  if (!report) return null;
  const lock = args.some((one) => one.endsWith(EVALS)) ? EVALS : 'requirements.txt';
  const named = [...report.matchAll(/^\s+(\S+==\S+) from \S+/gm)].map((match) => match[1]);
  return new SetUpError(
    `pip received a file of ${named.join(' and ')} that is not the one in python/${lock}: its SHA-256 differs.`,
    'Nothing was installed. Find out which package index or proxy serves other files than PyPI, and whether that is an attack.',
  );
}

const setUpFailed = (command, args, reason) =>
  new SetUpError(
    `\`${command} ${args.slice(0, 3).join(' ')}\` failed: ${reason}.`,
    'Fix the cause (often the network or the disk) and try again, or name an environment of yours with SRLM_PYTHON.',
  );
