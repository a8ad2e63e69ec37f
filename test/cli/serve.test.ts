/** srlm serve with a real server: it says how it is asked, answers, refuses a taken port, and leaves nothing behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { packageRoot } from '../../processes/python.js';
import { python, tinyModel } from '../support/python.js';
import { freePorts } from '../support/temporal-server.js';
import { srlm } from './command.js';

let lab = '';
const running: ChildProcess[] = [];

beforeAll(() => {
  lab = mkdtempSync(join(tmpdir(), 'srlm-serve-'));
  const config = {
    ...{ artifactRoot: join(lab, 'store'), workRoot: join(lab, 'work'), modelRoots: [tinyModel()], python },
    engines: { local: { kind: 'builtin', device: 'cpu', threads: 1 } },
  };
  writeFileSync(join(lab, 'temporal.config.ts'), `export default ${JSON.stringify(config)};`);
});
afterAll(() => {
  for (const child of running) child.kill('SIGKILL');
  rmSync(lab, { recursive: true, force: true });
});

it('serves a model under the digest of its weights until a signal, and then leaves nothing', async () => {
  const [port] = await freePorts(1);
  const main = join(packageRoot, 'dist/client/cli/main.js');
  const child = spawn(process.execPath, [main, 'serve', 'tiny', '--port', String(port), '--json'], { cwd: lab });
  running.push(child);
  const [said] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string];
  const { baseUrl, apiKey, model, sha256 } = JSON.parse(said) as Record<string, string>;
  expect(baseUrl).toBe(`http://127.0.0.1:${port}/v1`);
  expect(model).toBe(`srlm-${sha256}`);
  const ask = (headers: Record<string, string>) =>
    fetch(`${baseUrl}/completions`, {
      ...{ method: 'POST', headers },
      body: JSON.stringify({ model, prompt: 'Two', max_tokens: 2 }),
    });
  expect(await (await ask({ authorization: `Bearer ${apiKey}` })).json()).toMatchObject({
    model,
    choices: [{ index: 0 }],
  });
  expect((await ask({})).status).toBe(401);
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(readdirSync(join(lab, 'work'))).toEqual([]);
  await expect(ask({})).rejects.toThrow('fetch failed');
}, 120_000);

it('names the option when the port is taken, and a model has no rounds', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  const taken = await srlm(lab, ['serve', 'tiny', '--port', String(port)]);
  other.close();
  expect(taken).toMatchObject({ code: 2, stdout: '' });
  expect(taken.stderr).toContain(`Port ${port} is used by another program. Stop it, or choose another with --port.`);
  expect(await srlm(lab, ['serve', 'tiny', '--round', '1'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--round: tiny is a model, which has no rounds.'),
  });
}, 120_000);
