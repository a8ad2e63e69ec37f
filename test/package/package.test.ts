/** The package as a user gets it: packed, installed in an empty folder, used by examples/own-worker. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { packageRoot } from '../../processes/python.js';
import { temporalAddress } from '../support/harness.js';

const run = promisify(execFile);
const MAX_PACKED_BYTES = 2_000_000;

let folder = '';
let tarball = '';
let teacher: Server;
let requests = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'srlm-package-'));
  // The build is set-up's work; packing must not write what other tests are running.
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', folder];
  const { stdout } = await run('npm', pack, { cwd: packageRoot });
  tarball = join(folder, JSON.parse(stdout)[0].filename);
  const own = (path: string) => !/node_modules|dist|\.srlm/.test(relative(packageRoot, path));
  await cp(join(packageRoot, 'examples/own-worker'), folder, { recursive: true, filter: own });
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', tarball], { cwd: folder });
  await run('npm', ['run', 'build'], { cwd: folder });

  teacher = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    requests++;
    const message = { role: 'assistant', content: 'Because it is lighter.' };
    const choices = Array.from({ length: JSON.parse(body).n }, (_, index) => ({
      index,
      message,
      finish_reason: 'stop',
    }));
    response.end(JSON.stringify({ choices }));
  });
  await new Promise<void>((resolve) => teacher.listen(0, '127.0.0.1', resolve));
}, 240_000);

afterAll(async () => {
  teacher?.close();
  await rm(folder, { recursive: true, force: true });
});

it('runs in a worker of the user, whose own workflow starts srlmSample and an activity of its own', async () => {
  const env = {
    ...process.env,
    TEMPORAL_ADDRESS: await temporalAddress(),
    TEACHER_URL: `http://127.0.0.1:${(teacher.address() as AddressInfo).port}/v1`,
  };
  const worker = spawn(process.execPath, ['dist/worker.js'], { cwd: folder, env });
  let log = '';
  for (const stream of [worker.stdout, worker.stderr]) stream.on('data', (text) => (log += text));
  try {
    const { stdout } = await run(process.execPath, ['dist/client.js'], { cwd: folder, env, timeout: 90_000 }).catch(
      (error) => {
        throw new Error(`${error}; the worker:\n${log.slice(-3000)}`);
      },
    );
    expect(JSON.parse(stdout)).toEqual({ texts: 4, shareFinished: 1 });
    expect(requests).toBe(2);
  } finally {
    await end(worker);
  }
}, 120_000);

it('has types for what it exports', async () => {
  const consumer = `
    import { type DeploymentInput, SrlmClient } from 'srlm';
    import type { RunResult } from 'srlm/contracts';
    import { srlmRun } from 'srlm/workflows';
    export const best = async (id: string): Promise<number> => (await (await SrlmClient.connect()).result(id)).best;
    export const run: (...args: Parameters<typeof srlmRun>) => Promise<RunResult> = srlmRun;
    // @ts-expect-error: a name, not a number
    export const wrong: DeploymentInput = { taskQueue: 1 };
  `;
  await writeFile(join(folder, 'consumer.ts'), consumer);
  const options = [
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--moduleResolution',
    'nodenext',
    '--target',
    'es2022',
  ];
  const tsc = run(
    join(folder, 'node_modules/.bin/tsc'),
    [...options, '--skipLibCheck', '--ignoreConfig', 'consumer.ts'],
    { cwd: folder },
  );
  await expect(tsc.catch((error) => error.stdout)).resolves.toMatchObject({ stdout: '' });
});

it('has workflows that can be bundled again, and a bundle without modules of Node', async () => {
  // Throws when a workflow, or what it imports, needs Node.
  await bundleWorkflowCode({ workflowsPath: join(folder, 'dist/workflows.js'), logger: new DefaultLogger('WARN') });
  const bundle = await readFile(join(folder, 'node_modules/srlm/dist/workflow-bundle.js'), 'utf8');
  const code = bundle.slice(0, bundle.lastIndexOf('//# sourceMappingURL'));
  expect(code).not.toMatch(/\brequire\(|["']node:/);
  // Nor does it contain the path where it was built.
  const map = Buffer.from(bundle.slice(bundle.lastIndexOf('base64,') + 7), 'base64').toString('utf8');
  expect(map).not.toContain(packageRoot);
});

it('puts srlm on the path, and is small', async () => {
  const { stdout } = await run(join(folder, 'node_modules/.bin/srlm'), ['--help'], { cwd: folder });
  expect(stdout).toContain('Usage: srlm [options] [command]');
  expect((await stat(tarball)).size).toBeLessThan(MAX_PACKED_BYTES);
  expect(await readFile(join(folder, 'node_modules/srlm/LICENSE'), 'utf8')).toContain('Apache License');
});

it('has a bill of materials of its npm and Python packages, which names neither this machine nor a time', async () => {
  const text = await readFile(join(folder, 'node_modules/srlm/dist/sbom.cdx.json'), 'utf8');
  const bom = JSON.parse(text);
  const { dependencies, version } = JSON.parse(await readFile(join(packageRoot, 'package.json'), 'utf8'));
  expect(bom).toMatchObject({ bomFormat: 'CycloneDX', metadata: { component: { name: 'srlm', version } } });
  const purls: string[] = bom.components.map(({ purl }: { purl: string }) => purl);
  for (const name of Object.keys(dependencies)) {
    expect(purls.filter((purl) => purl.startsWith(`pkg:npm/${name.replace('@', '%40')}@`))).not.toEqual([]);
  }
  const lock = await readFile(join(folder, 'node_modules/srlm/python/requirements.txt'), 'utf8');
  const locked = [...lock.matchAll(/^([a-z0-9._-]+)==([^\s;]+)/gm)].map(([, name, pin]) => `pkg:pypi/${name}@${pin}`);
  expect(purls.filter((purl) => purl.startsWith('pkg:pypi/'))).toEqual(locked.sort());
  expect(bom.components.filter(({ licenses }: { licenses?: unknown[] }) => !licenses?.length)).toEqual([]);
  expect(purls.filter((purl) => /vitest|biome/.test(purl))).toEqual([]);
  expect(text).not.toMatch(/https?:|file:|serialNumber|timestamp/);
  expect(text).not.toContain(packageRoot);
});

it('says how to report a vulnerability, and has hashes for every Python package', async () => {
  expect(await readFile(join(folder, 'node_modules/srlm/SECURITY.md'), 'utf8')).toContain('Report a vulnerability');
  const lock = await readFile(join(folder, 'node_modules/srlm/python/requirements.txt'), 'utf8');
  const entries = lock.split(/^(?=[a-z])/m).filter((entry) => !entry.startsWith('#'));
  expect(entries.filter((entry) => !/--hash=sha256:[0-9a-f]{64}/.test(entry))).toEqual([]);
  expect(lock).not.toMatch(/https?:|--index-url|--find-links/);
});

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}
