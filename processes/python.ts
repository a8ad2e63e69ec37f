/** The Python environment and the programs that run in it. Throws python.missing and python.setup-failed. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type { Deployment } from '../contracts/deployment.js';
import { evalsMissing, pythonMissing, pythonSetUpFailed } from '../contracts/errors.js';
import { passedEnvironment } from './detached.js';

/** The folder of this package, whether this runs from source or from dist. */
export const packageRoot = ((): string => {
  let folder = __dirname;
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
})();

export const pythonProgram = (name: string): string => join(packageRoot, 'python', name);

/** temporal.config.ts, else $SRLM_PYTHON, else the environment that `srlm doctor --fix` or `npm run demo` made. */
export function pythonPath(deployment: Pick<Deployment, 'python'>): string {
  const named = deployment.python ?? process.env.SRLM_PYTHON;
  if (named) return named;
  const places = [resolve('.srlm/python/bin/python'), join(packageRoot, '.srlm/python/bin/python')];
  return places.find((place) => existsSync(place)) ?? places[0]!;
}

/** What the programs import directly. */
const MODULES = ['torch', 'transformers', 'safetensors', 'starlette', 'uvicorn', 'jsonschema'];

/** What a short program prints. It gets no key of this process: Python runs code of installed packages when it starts. */
export async function runPython(python: string, program: string): Promise<string> {
  const options = { maxBuffer: 1 << 24, env: passedEnvironment(process.env) };
  return (await promisify(execFile)(python, ['-c', program], options)).stdout;
}

/** The version of an interpreter that is recent enough and has the packages. */
export async function checkPython(python: string): Promise<string> {
  const probe = `
import sys, importlib.util
modules = ${JSON.stringify(MODULES)}
print(sys.version.split()[0], *[name for name in modules if importlib.util.find_spec(name) is None])`;
  let out: string;
  try {
    out = (await runPython(python, probe)).trim();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw pythonMissing(python, code === 'ENOENT' ? 'there is no such program' : String(code ?? error));
  }
  const [version = '', ...missing] = out.split(' ');
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < 3 || (major === 3 && minor < 11)) throw pythonMissing(python, `it is Python ${version}`);
  if (missing.length > 0) throw pythonMissing(python, `it lacks ${missing.join(', ')}`);
  return version;
}

/** That of the evaluation tools: $SRLM_EVALS_PYTHON, else the environment that `srlm eval --install` made. */
export function evalsPythonPath(): string {
  const named = process.env.SRLM_EVALS_PYTHON;
  if (named) return named;
  const places = [resolve('.srlm/evals/bin/python'), join(packageRoot, '.srlm/evals/bin/python')];
  return places.find((place) => existsSync(place)) ?? places[0]!;
}

/** The version of an installed package. Throws evals.missing. */
export async function evalToolVersion(python: string, name: string): Promise<string> {
  const probe = `import importlib.metadata; print(importlib.metadata.version(${JSON.stringify(name)}))`;
  return (await runPython(python, probe).catch(() => '')).trim() || Promise.reject(evalsMissing(name, python));
}

/**
 * Makes an environment (python/set-up.mjs is plain JavaScript because it also runs before anything is built). `lock`: the
 * list of its packages in python/, without .txt.
 */
export async function setUpPython(
  folder: string,
  say: (line: string) => void,
  lock: 'requirements' | 'requirements-evals' = 'requirements',
): Promise<string> {
  const program = await import(pathToFileURL(pythonProgram('set-up.mjs')).href);
  try {
    return await program.setUpPython(folder, say, lock);
  } catch (error) {
    if (!(error instanceof program.SetUpError)) throw error;
    const { reason, hint } = error as { reason: string; hint: string };
    throw pythonSetUpFailed(reason, hint);
  }
}
