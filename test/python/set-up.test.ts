/** python/set-up.mjs against a Python that only writes down what it is asked: which pip commands, and what they say. */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { packageRoot } from '../../processes/python.js';

const { setUpPython, SetUpError } = await import(pathToFileURL(join(packageRoot, 'python/set-up.mjs')).href);
const lock = join(packageRoot, 'python/requirements.txt');
const torch = /^torch==(\S+)/m.exec(await readFile(lock, 'utf8'))![1]!;

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'srlm-set-up-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it('installs the lock with --require-hashes and runs no code of a package', async () => {
  await fakePython({ offers: `${torch}, 1.0.0` });
  await setUpPython(folder, () => {});
  const [install, ...more] = await installs();
  expect(more).toEqual([]);
  expect(install).toContain(`--require-hashes --only-binary :all: --requirement ${lock}`);
});

it('takes a build of torch that pip is configured for, and everything else with hashes', async () => {
  await fakePython({ offers: `99.0.0, ${torch}+cpu, ${torch}` });
  const said: string[] = [];
  await setUpPython(folder, (line: string) => said.push(line));
  const [rest, build] = await installs();
  expect(build).toMatch(new RegExp(`${torch.replaceAll('.', '\\.')}\\+cpu$`));
  expect(rest).toMatch(/--require-hashes .*--no-deps$/);
  const file = /--requirement (\S+)/.exec(rest!)![1]!;
  const names = (text: string) => [...text.matchAll(/^([a-z0-9-]+)==/gm)].map((match) => match[1]!);
  const kept = names(await readFile(file, 'utf8'));
  const left = names(await readFile(lock, 'utf8')).filter((name) => !kept.includes(name));
  expect(left.filter((name) => !/^(nvidia|cuda)-/.test(name))).toEqual(['torch', 'triton']);
  expect(said.at(-1)).toContain(`torch ${torch}+cpu comes from your pip configuration`);
});

it('stops with one sentence when a file is not the one in the lock, and is not complete then', async () => {
  const report = [
    'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the versions ...',
    '    idna==3.20 from file:///elsewhere/idna-3.20-py3-none-any.whl (from -r requirements.txt (line 1)):',
    `        Expected sha256 ${'0'.repeat(64)}`,
    `             Got        ${'1'.repeat(64)}`,
  ];
  await fakePython({ offers: torch, fails: report.join('\n') });
  const error = await setUpPython(folder, () => {}).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(SetUpError);
  expect(error.reason).toBe(
    'pip received a file of idna==3.20 that is not the one in python/requirements.txt: its SHA-256 differs.',
  );
  await expect(readFile(join(folder, 'srlm-requirements.sha256'))).rejects.toThrow('ENOENT');
});

it('installs the evaluation tools from their own lock, complete without what would have to be built', async () => {
  await fakePython({ offers: `99.0.0+cpu` });
  await setUpPython(folder, () => {}, 'requirements-evals');
  const evals = join(packageRoot, 'python/requirements-evals.txt');
  expect(await installs()).toEqual([
    expect.stringContaining(`--require-hashes --only-binary :all: --requirement ${evals} --no-deps`),
  ]);
});

/** A `python` that runs nothing: it appends its arguments to a file, and answers the version and what torch there is. */
async function fakePython({ offers, fails = '' }: { offers: string | undefined; fails?: string }): Promise<void> {
  await mkdir(join(folder, 'bin'));
  const script = `#!/bin/sh
case "$*" in
  "-c "*) echo 3.12.0 ;;
  *"index versions"*) echo "Available versions: ${offers}" ;;
  *) echo "$*" >> '${folder}/installs'; cat '${folder}/answer'; test ! -s '${folder}/answer' ;;
esac
`;
  await writeFile(join(folder, 'answer'), fails);
  await writeFile(join(folder, 'bin/python'), script);
  await chmod(join(folder, 'bin/python'), 0o755);
}

async function installs(): Promise<string[]> {
  return (await readFile(join(folder, 'installs'), 'utf8')).trim().split('\n');
}
