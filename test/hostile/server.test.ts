/** The model server against whoever else can reach its port, or has damaged its files; and against a template that hangs. */
import { spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BuiltinEngine, EngineConfig } from '../../contracts/deployment.js';
import { ModelServer } from '../../engines/builtin/server.js';
import { isRunning } from '../../processes/detached.js';
import { pythonProgram } from '../../processes/python.js';
import { folderDigest } from '../../storage/model-folder.js';
import { python, tinyModel } from '../support/python.js';

const folder = mkdtempSync(join(tmpdir(), 'srlm-test-guard-'));
const state = join(folder, 'state');
const TOKEN = 'a'.repeat(48);
const engine = EngineConfig.parse({ kind: 'builtin', device: 'cpu', threads: 1 }) as BuiltinEngine;
const supervisor = () =>
  new ModelServer({
    name: 'local',
    engine,
    deterministic: false,
    folder: state,
    python: () => python,
    modelRoots: [tinyModel()],
    stallMinutes: 15,
  });
const pidOf = () => JSON.parse(readFileSync(join(state, 'server.json'), 'utf8')).pid as number;
const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);

afterAll(async () => {
  await supervisor().stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Plain HTTP: `fetch` does not let its caller choose Host. */
const ask = (port: number, method: string, path: string, headers: Record<string, string>, body = '') =>
  new Promise<{ status: number; message: string }>((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, method, path, headers, agent: false }, async (reply) => {
      let text = '';
      for await (const part of reply) text += part;
      resolve({ status: reply.statusCode!, message: JSON.parse(text).error?.message ?? text });
    });
    sent.once('error', reject);
    sent.end(body);
  });

it.each([
  ['an empty token', ''],
  ['a short token', 'abc'],
])(
  'a server with %s does not start',
  (_, token) => {
    const args = [pythonProgram('server.py'), '--state-dir', join(folder, 'refused'), '--model-root', folder];
    const ended = spawnSync(python, args, { encoding: 'utf8', env: { ...process.env, SRLM_ENGINE_TOKEN: token } });
    expect(ended.stderr).toContain(
      'SRLM_ENGINE_TOKEN must be a secret of at least 32 characters; without one, any program and any web page could use the server.',
    );
    expect(ended.status).toBe(2);
    expect(existsSync(join(folder, 'refused'))).toBe(false);
  },
  60_000,
);

describe('a server', () => {
  let port = 0;
  let token = '';
  beforeAll(async () => {
    // As a release before left it, open to everybody; a crash has emptied its token. Its log is on a disk that is full.
    mkdirSync(state, { mode: 0o755 });
    writeFileSync(join(state, 'token'), '');
    if (existsSync('/dev/full')) symlinkSync('/dev/full', join(state, 'log.txt'));
    const address = await supervisor().ensure();
    port = Number(new URL(address.baseUrl).port);
    token = address.token;
  }, 120_000);

  it("has a new token where a crash has emptied the old one, and files that are nobody else's business", () => {
    expect(token).toMatch(/^[0-9a-f]{48}$/);
    expect(readFileSync(join(state, 'token'), 'utf8')).toBe(token);
    expect([mode(state), mode(join(state, 'token'))]).toEqual(['700', '600']);
  });

  const FORBIDDEN_ORIGIN = "The request has an Origin: it is a browser's.";
  const FORBIDDEN_HOST = 'The Host of the request is not 127.0.0.1:PORT.';
  const NO_TOKEN = 'The bearer token is missing or wrong.';
  const AT_REST = '{"working":false,"progress":"0 0 0"}';
  const good = 'Bearer TOKEN';

  it.each<[string, string, Record<string, string>, number, string]>([
    ['GET', '/health', { authorization: good }, 200, AT_REST],
    ['GET', '/health', { authorization: good, host: 'localhost:PORT' }, 200, AT_REST],
    ['GET', '/health', {}, 401, NO_TOKEN],
    ['POST', '/engine/unload', {}, 401, NO_TOKEN],
    ['POST', '/engine/unload', { authorization: 'Bearer ' }, 401, NO_TOKEN],
    ['POST', '/engine/unload', { authorization: 'Bearer ä' }, 401, NO_TOKEN],
    ['GET', '/nowhere', {}, 401, NO_TOKEN],
    ['GET', '/health', { authorization: good, origin: 'https://evil.example' }, 403, FORBIDDEN_ORIGIN],
    ['POST', '/engine/unload', { authorization: good, origin: 'null' }, 403, FORBIDDEN_ORIGIN],
    ['POST', '/engine/unload', { authorization: good, origin: 'http://127.0.0.1:PORT' }, 403, FORBIDDEN_ORIGIN],
    ['GET', '/health', { authorization: good, host: 'evil.example:PORT' }, 403, FORBIDDEN_HOST],
    ['GET', '/health', { authorization: good, host: '127.0.0.1' }, 403, FORBIDDEN_HOST],
    ['GET', '/health', { authorization: good, host: '127.0.0.1:1' }, 403, FORBIDDEN_HOST],
    ['POST', '/engine/load', { authorization: good, host: '0.0.0.0:PORT' }, 403, FORBIDDEN_HOST],
  ])('answers %s %s %j with %i', async (method, path, headers, status, message) => {
    const filled = (text: string) => text.replace('PORT', String(port)).replace('TOKEN', token);
    const sent = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, filled(value)]));
    expect(await ask(port, method, path, sent)).toEqual({ status, message: filled(message) });
  });

  it.each([
    ['emptied', ''],
    ['replaced by another token', 'f'.repeat(48)],
  ])(
    'is ended, and another one started, when its token is %s',
    async (_, damaged) => {
      const before = pidOf();
      writeFileSync(join(state, 'token'), damaged);
      const address = await supervisor().ensure();
      expect(address.token).toMatch(/^[0-9a-f]{48}$/);
      expect(address.token).not.toBe(token);
      expect(pidOf()).not.toBe(before);
      expect(await isRunning(before, state)).toBe(false);
      const headers = { authorization: `Bearer ${address.token}` };
      expect((await ask(Number(new URL(address.baseUrl).port), 'GET', '/health', headers)).status).toBe(200);
      token = address.token;
    },
    120_000,
  );
});

it('a template that hangs at a text that nobody tried stops that request, not /health; large files are started again', async () => {
  const model = join(folder, 'models/hangs');
  cpSync(join(tinyModel(), 'tiny'), model, { recursive: true });
  const loop = (name: string, body: string) => `{% for ${name} in range(99999) %}${body}{% endfor %}`;
  const template = readFileSync(join(model, 'chat_template.jinja'), 'utf8');
  const hang = `{% if messages[0].content == 'hang' %}${loop('a', loop('b', loop('c', '')))}{% endif %}`;
  writeFileSync(join(model, 'chat_template.jinja'), hang + template);
  const own = join(folder, 'own');
  mkdirSync(own);
  for (const name of ['requests.jsonl', 'log.txt']) writeFileSync(join(own, name), `${name} of old\n`.repeat(100));
  const script =
    'import sys; sys.path.insert(0, sys.argv.pop(1)); import logs, server; server.TEXT_SECONDS, logs.FILE_BYTES = 5, 1000; sys.exit(server.main())';
  const args = ['-c', script, dirname(pythonProgram('server.py')), '--state-dir', own];
  const log = openSync(join(own, 'log.txt'), 'a');
  const child = spawn(python, [...args, '--model-root', join(folder, 'models'), '--device', 'cpu', '--threads', '1'], {
    stdio: ['ignore', log, log],
    env: { ...process.env, SRLM_ENGINE_TOKEN: TOKEN },
  });
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  while (!existsSync(join(own, 'server.json')) && child.exitCode === null) await sleep(100);
  const { port } = JSON.parse(readFileSync(join(own, 'server.json'), 'utf8'));
  const post = (path: string, body: object) =>
    ask(port, 'POST', path, { authorization: `Bearer ${TOKEN}` }, JSON.stringify(body));
  const sha256 = await folderDigest(model);
  expect((await post('/engine/load', { path: model, sha256 })).status).toBe(200);
  const prompt = (content: string) => ({ messages: [{ role: 'user', content }] });
  expect((await post('/tokenize', prompt('Hello'))).status).toBe(200);

  let isAnswered = false;
  const stuck = post('/v1/chat/completions', { ...prompt('hang'), model: `srlm-${sha256}` }).finally(() => {
    isAnswered = true;
  });
  await sleep(500);
  expect((await ask(port, 'GET', '/health', { authorization: `Bearer ${TOKEN}` })).status).toBe(200);
  expect(isAnswered).toBe(false);
  expect(await stuck).toEqual({
    status: 503,
    message:
      "The model's chat template or tokenizer did not end in 5 s; the server ends, because nothing else ends them.",
  });
  expect(await exited).toBe(4);
  for (const name of ['requests.jsonl', 'log.txt'])
    expect(readFileSync(join(own, `${name}.1`), 'utf8')).toContain(`${name} of old`);
  expect(readFileSync(join(own, 'log.txt'), 'utf8')).not.toContain('of old');
}, 120_000);
