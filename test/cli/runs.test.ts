/**
 * A sample run from the command line, with a real Temporal server, worker processes and an endpoint that speaks
 * OpenAI's API: what comes out, what a parked run looks like, and the exit codes. The endpoint repeats its key wherever
 * it can, and counts no tokens.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { packageRoot } from '../../processes/python.js';
import { temporalAddress } from '../support/harness.js';
import { python } from '../support/python.js';
import { srlm } from './command.js';

let folder: string;
let endpoint: Server;
let worker: ChildProcess;
let up = true;
/** The status of its errors. */
let refusal = 401;
let environment: Record<string, string>;
const KEY = 'sk-test/0123456789+abcdef';
/** Whatever commands and the worker have written. */
const written: string[] = [];
async function run(...args: string[]) {
  const ran = await srlm(folder, args, environment);
  written.push(ran.stdout, ran.stderr);
  return ran;
}

beforeAll(async () => {
  environment = { TEMPORAL_ADDRESS: await temporalAddress(), SRLM_PYTHON: python };
  folder = mkdtempSync(join(tmpdir(), 'srlm-test-cli-'));
  endpoint = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { messages, n, seed } = JSON.parse(Buffer.concat(parts).toString());
      const { authorization = '' } = request.headers;
      const key = authorization.replace('Bearer ', '');
      const choices = Array.from({ length: n }, (_, i) => ({
        message: { content: `${messages[0].content} ${up ? i : seed} ${key}`, role: key },
        finish_reason: key,
      }));
      const status = up ? 200 : refusal;
      response.writeHead(status, { 'content-type': 'application/json', 'x-key': key, 'retry-after': '0' });
      const error = { message: `no, ${authorization}`, code: key, type: key };
      response.end(JSON.stringify(up ? { id: key, model: key, choices } : { error, key }));
    });
  });
  await new Promise<void>((resolve) => endpoint.listen(0, '127.0.0.1', resolve));
  const { port } = endpoint.address() as { port: number };
  const config = {
    taskQueue: folder.slice(folder.lastIndexOf('/') + 1),
    engines: {
      teacher: {
        ...{ kind: 'endpoint', baseUrl: `http://127.0.0.1:${port}/v1`, model: 'stub', apiKeyEnv: 'TEACHER_KEY' },
        price: { inputPerMillion: 1, outputPerMillion: 1 },
      },
    },
  };
  writeFileSync(join(folder, 'temporal.config.json'), JSON.stringify(config));
  writeFileSync(
    join(folder, 'teach.yaml'),
    'engine: teacher\ndata: {path: asked.jsonl}\nsampling: {k: 2, chunkSize: 2}\n',
  );
  const texts = ['Say hi', 'مرحبا <b>&amp;</b>', '🙂\tand a tab'];
  writeFileSync(
    join(folder, 'asked.jsonl'),
    texts.map((instruction) => `${JSON.stringify({ instruction })}\n`).join(''),
  );
  const main = join(packageRoot, 'dist', 'client', 'cli', 'main.js');
  worker = spawn(process.execPath, [main, 'worker', '--role', 'all'], {
    cwd: folder,
    env: { ...process.env, ...environment, TEACHER_KEY: KEY },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [worker.stdout!, worker.stderr!]) stream.on('data', (text) => written.push(String(text)));
  await new Promise<void>((resolve, reject) => {
    worker.stdout!.on('data', (text: Buffer) => text.toString().startsWith('Worker ') && resolve());
    worker.once('exit', (code) => reject(new Error(`the worker ended with ${code}`)));
  });
});

afterAll(async () => {
  const gone = new Promise((resolve) => worker?.once('exit', resolve));
  if (worker?.kill('SIGKILL')) await gone;
  endpoint?.close();
  rmSync(folder, { recursive: true, force: true });
});

it('sample --out writes each text, or with --plain each prompt with its texts, once the run is done', async () => {
  const out = () =>
    readFileSync(join(folder, 'out.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
  const ran = await run('sample', 'teach.yaml', '--id', 'cli-teach', '--out', 'out.jsonl', '--json');
  expect(JSON.parse(ran.stdout)).toEqual({ runId: 'cli-teach', state: 'done', out: 'out.jsonl', rows: 6 });
  expect(ran.code).toBe(0);
  const asked = ['Say hi', 'مرحبا <b>&amp;</b>', '🙂\tand a tab'];
  const text = (instruction: string, k: number) => `${instruction} ${k} [the key]`;
  const id = expect.stringMatching(/^r-[0-9a-f]{16}$/);
  expect(out()).toEqual(
    asked.flatMap((instruction) =>
      [0, 1].map((k) => ({
        id,
        k,
        text: text(instruction, k),
        finish: 'other',
        tokens: null,
        seed: expect.any(Number),
      })),
    ),
  );
  const plain = await run('sample', 'teach.yaml', '--id', 'cli-plain', '--out', 'out.jsonl', '--plain');
  expect(plain.stderr).toContain('out.jsonl: 3 prompts; 3 of 3 rows have texts');
  expect(out()).toEqual(
    asked.map((instruction) => ({ id, instruction, texts: [text(instruction, 0), text(instruction, 1)] })),
  );
});

it('a run that parks ends watch with 3, waits, and continues after retry', async () => {
  up = false;
  const parked = await run('sample', 'teach.yaml', '--id', 'cli-parked', '--set', 'seed=1', '--out', 'parked.jsonl');
  expect(
    parked.stderr
      .replace(/127\.0\.0\.1:\d+/, 'THERE')
      .trimEnd()
      .split('\n')
      .slice(-5),
  ).toEqual([
    'sample  parked after 1 attempt: engine.refused',
    'Engine "teacher" at http://THERE/v1/chat/completions refused the request (401: no, Bearer [the key]). Set the variable that apiKeyEnv names to a valid key, start the worker again, then `srlm retry`. [engine.refused]',
    'Fix the cause, then: srlm retry cli-parked',
    'Or end the run: srlm abort cli-parked',
    'parked.jsonl is not written. When the run is done, the same command with another --id writes it; nothing is sampled twice.',
  ]);
  expect({ stdout: parked.stdout, code: parked.code }).toEqual({ stdout: 'cli-parked\n', code: 3 });
  expect(existsSync(join(folder, 'parked.jsonl'))).toBe(false);
  expect((await run('status', 'cli-parked', '--json')).code).toBe(3);

  up = true;
  const retried = await run('retry', 'cli-parked', '--why', 'the key is right now');
  expect(retried.stdout).toBe('cli-parked: sample is tried again.\n');
  expect((await run('watch', 'cli-parked')).code).toBe(0);
  const again = await run('retry', 'cli-parked');
  expect(again.code).toBe(2);
  expect(again.stderr).toMatch(
    /^Run "cli-parked" is not parked; already resolved by an earlier answer \(retry at .*: the key is right now\)\. See `srlm status cli-parked`\. \[run\.not-parked\]\n$/,
  );
});

it('abort ends a parked run, and status of it fails with its reason', async () => {
  up = false;
  refusal = 400;
  await run('sample', 'teach.yaml', '--id', 'cli-aborted', '--set', 'seed=2', '--watch');
  const aborted = await run('abort', 'cli-aborted', '--why', 'enough');
  expect(aborted.stdout).toBe('cli-aborted ended (aborted). Everything it made is kept.\n');
  const status = await run('status', 'cli-aborted', '--json');
  expect(status.code).toBe(1);
  expect(JSON.parse(status.stdout).failure).toMatch(/^Aborted at sample by \S+: enough\. All artifacts are kept\./);
  expect((await run('list')).stdout).toMatch(/^cli-aborted +sample +aborted /m);
});

it.each([
  [
    'an id that a running run has',
    ['sample', 'teach.yaml', '--id', 'cli-twice', '--set', 'seed=3'],
    'A run "cli-twice" exists already. Follow it with `srlm watch cli-twice`, or choose another --id. Nothing was started. [run.exists]',
  ],
  ['an unknown run', ['status', 'nobody'], 'There is no run "nobody". See `srlm list`. [run.unknown]'],
  [
    'a question to a sample run',
    ['ask', 'cli-teach', 'Why?'],
    'Run "cli-teach" is a sample run, which trains none. See `srlm status cli-teach`. [run.no-model]',
  ],
])('refuses %s with exit code 2', async (_, args, reason) => {
  up = false;
  refusal = 500;
  if (args.includes('cli-twice')) await run(...args);
  const { stderr, code } = await run(...args);
  expect({ stderr, code }).toEqual({ stderr: `${reason}\n`, code: 2 });
});

it('the key of an endpoint that repeats it is nowhere: not in histories, the store, a log or what a command writes', async () => {
  await run('audit', 'export', 'cli-parked', '--out', 'exported');
  const { stdout } = await run('status', 'cli-teach', '--json');
  // Three prompts and six texts, which the endpoint does not count.
  const { usage } = JSON.parse(stdout);
  expect(usage.tokens).toBeGreaterThan(6);
  expect(usage.money).toBeGreaterThan(usage.tokens / 1_000_000);

  const connection = await Connection.connect({ address: environment.TEMPORAL_ADDRESS! });
  const { workflow } = new Client({ connection });
  const histories: string[] = [];
  for (const id of ['cli-teach', 'cli-parked', 'cli-aborted', 'cli-twice']) {
    const handle = workflow.getHandle(id);
    histories.push(...stringsOf(await handle.fetchHistory()), ...stringsOf((await handle.describe()).raw));
  }
  await connection.close();
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'));

  // What is not found below was there to be found.
  for (const status of [400, 401])
    expect(histories.join('\n')).toMatch(new RegExp(`${status}:? no, Bearer \\[the key\\]`));
  expect(files.filter((text) => text.includes('[the key]'))).not.toEqual([]);
  const found = [...histories, ...files, ...written].filter((text) => spellings.some((key) => text.includes(key)));
  expect(found).toEqual([]);
});

/** As it is, and wherever it may be in what is exported in base64. */
const spellings = [
  KEY,
  ...[0, 1, 2].map((before) =>
    Buffer.from(`${'x'.repeat(before)}${KEY}`)
      .toString('base64')
      .slice(4, -4),
  ),
];

/** All strings of a message of Temporal, and its payloads as text. */
function stringsOf(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (value instanceof Uint8Array) return [Buffer.from(value).toString('latin1')];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(stringsOf) : [];
}
