/** The packed package in a user's folder (consumer.ts), from CommonJS and from ES modules, and beside a second SDK. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, readdir, readFile, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LOWEST_SDK } from '../../config/sdk.js';
import { packageRoot } from '../../processes/python.js';
import { temporalAddress } from '../support/harness.js';
import { type Consumer, compilePrograms, copySdk, installedSdk, openConsumer, ownPackage, run } from './consumer.js';

/** Most of it is the bundle of the workflows, with its source map. */
const MAX_PACKED_BYTES = 2_500_000;

let consumer: Consumer;
let compilerSays = '';
let teacher: Server;
let requests = 0;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  consumer = await openConsumer();
  compilerSays = await compilePrograms(consumer);
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
  env = {
    ...process.env,
    TEMPORAL_ADDRESS: await temporalAddress(),
    TEACHER_URL: `http://127.0.0.1:${(teacher.address() as AddressInfo).port}/v1`,
  };
}, 300_000);

afterAll(async () => {
  teacher?.close();
  await consumer?.close();
});

it('has types for CommonJS and ES modules, in which no file but the SDK’s own has an error', () => {
  const errors = compilerSays.split('\n').filter((line) => /: error TS/.test(line));
  expect(errors.filter((line) => !/^[^:]*node_modules\/@temporalio\//.test(line))).toEqual([]);
});

it('has types that import no ES module, because those of a CommonJS package cannot', async () => {
  const dist = consumer.installed('srlm/dist');
  const files = (await readdir(dist, { recursive: true })).filter((name) => name.endsWith('.d.ts'));
  const texts = await Promise.all(files.map((name) => readFile(join(dist, name), 'utf8')));
  for (const name of Object.keys((await ownPackage()).dependencies)) {
    const { type, exports } = JSON.parse(await readFile(consumer.installed(`${name}/package.json`), 'utf8'));
    const isEsmOnly = type === 'module' && !JSON.stringify(exports).includes('"require"');
    if (isEsmOnly) expect(files.filter((_, i) => texts[i]!.includes(`'${name}'`))).toEqual([]);
  }
});

it('runs in a worker of an ES module, whose own workflow starts srlmSample and an activity of its own', async () => {
  const cwd = join(consumer.folder, 'esm');
  const worker = spawn(process.execPath, ['worker.js'], { cwd, env });
  let log = '';
  for (const stream of [worker.stdout, worker.stderr]) stream.on('data', (text) => (log += text));
  requests = 0;
  try {
    const { stdout } = await run(process.execPath, ['client.js'], { cwd, env, timeout: 90_000 }).catch((error) => {
      throw new Error(`${error}; the worker:\n${log.slice(-3000)}`);
    });
    expect(JSON.parse(stdout)).toEqual({ texts: 4, shareFinished: 1 });
    expect(requests).toBe(2);
  } finally {
    await end(worker);
  }
}, 120_000);

it('runs in a CommonJS program, and exports the same names to both kinds of modules', async () => {
  const { stdout } = await run(process.execPath, ['main.js'], { cwd: join(consumer.folder, 'commonjs'), env });
  const { names, queues, result, refused } = JSON.parse(stdout);
  // temporal.config.ts, in a folder of each kind.
  expect(queues).toEqual(['packaging-cli', 'packaging-cli']);
  expect(result).toEqual({ texts: 4, shareFinished: 1 });
  expect(refused).toBe('spec.invalid');
  expect(Object.keys(names)).toEqual(['.', './workflows', './contracts', './encryption']);
  for (const { required, notImported } of Object.values<{ required: number; notImported: string[] }>(names)) {
    expect(required).toBeGreaterThan(0);
    expect(notImported).toEqual([]);
  }
}, 120_000);

it('refuses client, connection, worker and workflows of a second copy of the SDK, and names both copies', async () => {
  const folder = join(consumer.folder, 'second');
  await cp(join(import.meta.dirname, 'second'), folder, { recursive: true });
  await copySdk(consumer, folder, '1.17.9');
  const { stdout } = await run(process.execPath, ['main.mjs'], { cwd: folder, env });
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const { version } = JSON.parse(await readFile(consumer.installed('@temporalio/worker/package.json'), 'utf8'));
  const root = installedSdk ? consumer.folder : packageRoot;
  const sentence = (name: string) =>
    `There are two copies of ${name}: your code uses 1.17.9 (${folder}/node_modules/${name}), and srlm uses ` +
    `${version} (${root}/node_modules/${name}). Install one version for both; \`npm ls ${name}\` shows which ` +
    'package asks for which. [temporal.sdk]';
  expect(lines).toEqual([
    { name: 'client', message: sentence('@temporalio/client') },
    { name: 'connection', message: sentence('@temporalio/worker') },
    { name: 'workflowsPath', message: sentence('@temporalio/workflow') },
    { name: 'worker', message: sentence('@temporalio/worker') },
  ]);
});

it('states the lowest version of the SDK as it checks it', async () => {
  const { peerDependencies } = await ownPackage();
  expect([...new Set(Object.values(peerDependencies))]).toEqual([`^${LOWEST_SDK}`]);
});

it('has a bundle without modules of Node, and without the path where it was built', async () => {
  const bundle = await readFile(consumer.installed('srlm/dist/workflow-bundle.js'), 'utf8');
  const code = bundle.slice(0, bundle.lastIndexOf('//# sourceMappingURL'));
  expect(code).not.toMatch(/\brequire\(|["']node:/);
  const map = Buffer.from(bundle.slice(bundle.lastIndexOf('base64,') + 7), 'base64').toString('utf8');
  expect(map).not.toContain(packageRoot);
});

/** With the SDK of this checkout, test/cli does it. */
it.runIf(installedSdk)(
  'works, samples, reports and exports as a command line with that SDK',
  async () => {
    const cwd = join(consumer.folder, 'cli');
    await cp(join(import.meta.dirname, 'cli'), cwd, { recursive: true });
    const bin = join(consumer.folder, 'node_modules/.bin/srlm');
    const srlm = async (...words: string[]) =>
      JSON.parse((await run(bin, [...words, '--json'], { cwd, env, timeout: 60_000 })).stdout);
    const worker = spawn(bin, ['worker'], { cwd, env });
    let log = '';
    for (const stream of [worker.stdout, worker.stderr]) stream.on('data', (text) => (log += text));
    const id = `sample-${Date.now()}`;
    try {
      await srlm('sample', 'sample.yaml', '--id', id, '--out', 'texts.jsonl').catch((error) => {
        throw new Error(`${error.stdout}${error.stderr}; the worker:\n${log.slice(-3000)}`);
      });
      const texts = (await readFile(join(cwd, 'texts.jsonl'), 'utf8')).trim().split('\n');
      expect(texts.map((line) => JSON.parse(line).texts.length)).toEqual([2, 2]);
      expect(await srlm('status', id)).toMatchObject({ state: 'done' });
      expect((await srlm('list')).map((one: { runId: string }) => one.runId)).toContain(id);
      expect(JSON.stringify(await srlm('history', id))).toContain('sample');
      await srlm('audit', 'export', id, '--out', 'exported');
      expect(await readdir(join(cwd, 'exported'))).not.toEqual([]);
    } finally {
      await end(worker);
    }
  },
  180_000,
);

it('puts srlm on the path, and is small', async () => {
  const { bin } = await ownPackage();
  const { stdout } = await run(consumer.installed(`srlm/${bin.srlm}`), ['--help'], { cwd: consumer.folder });
  expect(stdout).toContain('Usage: srlm [options] [command]');
  expect((await stat(consumer.tarball)).size).toBeLessThan(MAX_PACKED_BYTES);
  expect(await readFile(consumer.installed('srlm/LICENSE'), 'utf8')).toContain('Apache License');
});

it('has a bill of materials of its npm and Python packages, which names neither this machine nor a time', async () => {
  const text = await readFile(consumer.installed('srlm/dist/sbom.cdx.json'), 'utf8');
  const bom = JSON.parse(text);
  const { dependencies, peerDependencies, version } = await ownPackage();
  expect(bom).toMatchObject({ bomFormat: 'CycloneDX', metadata: { component: { name: 'srlm', version } } });
  const purls: string[] = bom.components.map(({ purl }: { purl: string }) => purl);
  for (const name of Object.keys({ ...dependencies, ...peerDependencies })) {
    expect(purls.filter((purl) => purl.startsWith(`pkg:npm/${name.replace('@', '%40')}@`))).not.toEqual([]);
  }
  const lock = await readFile(consumer.installed('srlm/python/requirements.txt'), 'utf8');
  const locked = [...lock.matchAll(/^([a-z0-9._-]+)==([^\s;]+)/gm)].map(([, name, pin]) => `pkg:pypi/${name}@${pin}`);
  expect(purls.filter((purl) => purl.startsWith('pkg:pypi/'))).toEqual(locked.sort());
  expect(bom.components.filter(({ licenses }: { licenses?: unknown[] }) => !licenses?.length)).toEqual([]);
  expect(purls.filter((purl) => /vitest|biome/.test(purl))).toEqual([]);
  expect(text).not.toMatch(/https?:|file:|serialNumber|timestamp/);
  expect(text).not.toContain(packageRoot);
});

it('says how to report a vulnerability, and has hashes for every Python package', async () => {
  expect(await readFile(consumer.installed('srlm/SECURITY.md'), 'utf8')).toContain('Report a vulnerability');
  const lock = await readFile(consumer.installed('srlm/python/requirements.txt'), 'utf8');
  const entries = lock.split(/^(?=[a-z])/m).filter((entry) => !entry.startsWith('#'));
  expect(entries.filter((entry) => !/--hash=sha256:[0-9a-f]{64}/.test(entry))).toEqual([]);
  expect(lock).not.toMatch(/https?:|--index-url|--find-links/);
});

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}
