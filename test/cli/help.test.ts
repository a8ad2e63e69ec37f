/** What the list of commands costs: it is the first thing that anybody asks for. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { packageRoot } from '../../processes/python.js';

const main = join(packageRoot, 'dist/client/cli/main.js');

/** Runs a command, and returns its output and the packages that it has loaded. */
async function packagesOf(...words: string[]): Promise<{ stdout: string; packages: Set<string> }> {
  const program = `
    process.argv = [process.argv[0], ${JSON.stringify(main)}, ...${JSON.stringify(words)}];
    process.on('exit', () => process.stderr.write(JSON.stringify(Object.keys(require.cache))));
    require(process.argv[1]);`;
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['-e', program]);
  const files = JSON.parse(stderr) as string[];
  return {
    stdout,
    packages: new Set(files.flatMap((file) => /node_modules\/((?:@\w+\/)?[\w-]+)/.exec(file)?.[1] ?? [])),
  };
}

it('shows the list of commands without loading what they need', async () => {
  const { stdout, packages } = await packagesOf('--help');
  for (const term of ['up [options]', 'watch <run>', 'set [options] <run> <field=value...>', 'doctor [options]'])
    expect(stdout).toContain(term);
  expect([...packages]).toEqual(['commander']);
});
