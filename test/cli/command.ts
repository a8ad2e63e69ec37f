/** Runs the built command line as a user would, in a folder of its own. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../processes/python.js';

/** Nothing listens there: what is reported before Temporal is needed is reported without it. */
export const NO_TEMPORAL = '127.0.0.1:1';

export interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

export function srlm(cwd: string, args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  const main = join(packageRoot, 'dist', 'client', 'cli', 'main.js');
  // Without Python a client leaves it to the worker to try a model out, which takes seconds and refuses a made-up one.
  const environment = {
    ...process.env,
    SRLM_PYTHON: '/no/such/python',
    TEMPORAL_ADDRESS: NO_TEMPORAL,
    NO_COLOR: '1',
    ...env,
  };
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...args], { cwd, env: environment }, (error, stdout, stderr) => {
      resolve({ code: error ? ((error.code as unknown as number) ?? null) : 0, stdout, stderr });
    });
  });
}
