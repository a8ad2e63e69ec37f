/**
 * The Python environment: a venv with the pinned packages of requirements.txt. Made once, and again when that list
 * changes; a stamp that is written last says that it is complete. Plain JavaScript on Node's built-ins, so that
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
 * Makes the environment in `folder`, unless it is there already. Returns its interpreter.
 * @param {string} folder
 * @param {(line: string) => void} say
 * @returns {Promise<string>}
 */
export async function setUpPython(folder, say) {
  const requirements = fileURLToPath(new URL('requirements.txt', import.meta.url));
  const wanted = createHash('sha256')
    .update(await readFile(requirements))
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
  say('Installing torch, transformers and what they need, in pinned versions');
  const pip = ['-m', 'pip', 'install', '--quiet', '--no-input', '--disable-pip-version-check'];
  await run(python, [...pip, '--requirement', requirements], say);
  await writeFile(stamp, wanted);
  return python;
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
        output = (output + text).slice(-4000);
      });
    }
    const code = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    if (code !== 0)
      throw setUpFailed(command, args, output.trim().split('\n').slice(-3).join(' | ') || `it ended with ${code}`);
  } finally {
    clearInterval(reports);
  }
}

const setUpFailed = (command, args, reason) =>
  new SetUpError(
    `\`${command} ${args.slice(0, 3).join(' ')}\` failed: ${reason}.`,
    'Fix the cause (often the network or the disk) and try again, or name an environment of yours with SRLM_PYTHON.',
  );
