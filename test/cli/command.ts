/** Runs the built command line as a user would, in a folder of its own. */
import { type ChildProcess, execFile, fork } from 'node:child_process';
import { once } from 'node:events';
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
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...args], { cwd, env: environment(env) }, (error, stdout, stderr) => {
      resolve({ code: error ? ((error.code as unknown as number) ?? null) : 0, stdout, stderr });
    });
  });
}

/** Runs one command after the other in one process (many.mjs), which costs a tenth. */
export class Commands {
  private readonly child: ChildProcess;
  private readonly ended: Promise<never>;

  constructor(cwd: string, env: Record<string, string> = {}) {
    this.child = fork(join(import.meta.dirname, 'many.mjs'), { cwd, env: environment(env), execArgv: [] });
    this.ended = once(this.child, 'exit').then(() => {
      throw new Error('the process of the commands has ended');
    });
    this.ended.catch(() => {});
  }

  async run(...args: string[]): Promise<Ran> {
    const answer = once(this.child, 'message');
    this.child.send(args);
    const [ran] = await Promise.race([answer, this.ended]);
    return ran as Ran;
  }

  close(): void {
    this.child.kill('SIGKILL');
  }
}

// Without Python a client leaves it to the worker to try a model out, which takes seconds and refuses a made-up one.
function environment(more: Record<string, string>): NodeJS.ProcessEnv {
  return { ...process.env, SRLM_PYTHON: '/no/such/python', TEMPORAL_ADDRESS: NO_TEMPORAL, NO_COLOR: '1', ...more };
}
