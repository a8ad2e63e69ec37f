/**
 * What becomes of tiny models of common families: refused before a run with one sentence (python/probe.py), or taken
 * through the steps of a round (zoo.py). Used by zoo.test.ts.
 */
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { packageRoot, pythonProgram } from '../../processes/python.js';

export interface Family {
  name: string;
  tokenizer: string;
  template: string;
}
export interface Outcome {
  name: string;
  /** The sentence that refuses it before a run; null: it is not refused. */
  refused: string | null;
  warnings: string[];
  takesSystem: boolean;
  /** 'ok', or what is wrong with a step of the round. */
  round: string;
}

const PROGRAM = join(packageRoot, 'test/zoo/zoo.py');

/** One process imports what the probe needs, and a child of it tries out each folder. */
const PROBES = `
import json, os, sys
sys.path.insert(0, sys.argv[1])
import probe
for path in sys.argv[2:]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1)
        sys.argv[1:] = [path]
        probe.main()
        os._exit(0)
    os.close(write)
    lines = [json.loads(line) for line in os.fdopen(read) if line.startswith("{")]
    os.waitpid(child, 0)
    report = next((line for line in lines if "warnings" in line), {"warnings": [], "takesSystem": False})
    print(json.dumps({"refused": lines[-1].get("problem"), **report}), flush=True)`;

/** Without what the libraries print besides. */
const run = (python: string, args: readonly string[]): string =>
  execFileSync(python, args, {
    encoding: 'utf8',
    maxBuffer: 2 ** 24,
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, OMP_NUM_THREADS: '1' },
  });
const lines = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

export const families = (python: string): Family[] => lines(run(python, [PROGRAM, 'list']))[0];

export function outcomes(python: string, folder: string, names: readonly string[]): Outcome[] {
  const rounds = lines(run(python, [PROGRAM, 'try', folder, ...names]));
  const folders = rounds.map((one) => one.folder);
  const args = ['-c', PROBES, dirname(pythonProgram('probe.py')), ...folders];
  const probed = lines(run(python, args));
  return rounds.map(({ name, outcome }, i) => ({ name, ...probed[i], round: outcome }));
}
