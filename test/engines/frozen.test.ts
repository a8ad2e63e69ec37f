/** A model server that freezes: what becomes of it and of its requests. The server is a script that does nothing else. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, it, vi } from 'vitest';
import { Deployment } from '../../contracts/deployment.js';
import { engineStalled } from '../../contracts/errors.js';
import { ServerWatch } from '../../engines/builtin/watch.js';
import { EngineHost } from '../../engines/index.js';
import { isRunning } from '../../processes/detached.js';

const work = mkdtempSync(join(tmpdir(), 'srlm-test-frozen-'));
const python = join(work, 'python');
const program = join(work, 'server.mjs');

/** Loads at once; freezes when it is asked for words, until there is a file `well`. */
writeFileSync(
  program,
  `import { createServer } from 'node:http';
import { existsSync, writeFileSync } from 'node:fs';
const folder = process.argv[process.argv.indexOf('--state-dir') + 1];
const words = { choices: [{ message: { content: 'four' }, finish_reason: 'stop' }] };
const server = createServer((request, response) => {
  if (request.url !== '/v1/chat/completions') response.end(JSON.stringify({ working: true, progress: 'none' }));
  else if (existsSync('${work}/well')) response.end(JSON.stringify(words));
  else process.kill(process.pid, 'SIGSTOP');
});
server.listen(0, '127.0.0.1', () => writeFileSync(folder + '/server.json',
  JSON.stringify({ pid: process.pid, port: server.address().port, host: '127.0.0.1' })));
`,
);
writeFileSync(
  python,
  `#!/bin/sh\n[ "$1" = -c ] && echo 3.12.0 && exit\nshift; exec '${process.execPath}' '${program}' "$@"\n`,
  { mode: 0o755 },
);

const deployment = Deployment.parse({
  ...{ workRoot: work, python, stallMinutes: 0.03 },
  engines: { local: { kind: 'builtin' } },
});
const store = { jobs: { root: work }, models: { local: async () => work } };
const engine = new EngineHost(deployment, store as never).engine('local');
const model = { sha256: 'a'.repeat(64), bytes: 1, path: null };
const never = new AbortController().signal;
const asked = {
  ...{
    messages: [{ role: 'user' as const, content: 'Two and two?' }],
    n: 1,
    seed: 1,
    temperature: 1,
    topP: 1,
    topK: 0,
  },
  ...{ maxTokens: 8, stop: [], requestId: 'one' },
};

it('looks at a server while somebody works with it, and waits for one that makes progress', async () => {
  let looks = 0;
  const givesUp: number[] = [];
  const watch = new ServerWatch(
    40,
    async () => (looks++ % 2 === 0 ? { progress: String(looks) } : 'at rest'),
    () => {
      givesUp.push(looks);
      return engineStalled('local', 1);
    },
  );
  const wait = (count: number) => vi.waitUntil(() => looks >= count, { timeout: 30_000 });
  await Promise.all([watch.during(() => wait(10)), watch.during(() => wait(20))]);
  const until = looks;
  expect(givesUp).toEqual([]);
  await sleep(50);
  expect(looks).toBeLessThanOrEqual(until + 1);
});

afterAll(async () => {
  for (const server of engine.servers) await server.stop();
  rmSync(work, { recursive: true, force: true });
});

it('a frozen model server is ended with its requests, and the next attempt starts another', async () => {
  let quietMs = 0;
  const sampling = engine.withClient(model, false, never, async (client) => {
    const sampled = [client.sample(asked, never), client.sample(asked, never)];
    for (const one of sampled) one.catch(() => {});
    while (quietMs < 300) {
      await sleep(20);
      quietMs = Math.max(quietMs, engine.quietMs);
    }
    const ends = await Promise.allSettled(sampled);
    throw (ends.find(({ status }) => status === 'rejected') as PromiseRejectedResult).reason;
  });
  await expect(sampling).rejects.toMatchObject({
    retry: true,
    attempts: 5,
    message:
      'The model server of engine "local" made no progress for 0.03 min and was ended. It is started again. If it was only slow, set a larger stallMinutes in temporal.config.ts. [engine.stalled]',
  });
  const folder = join(work, 'servers/local');
  const { pid } = JSON.parse(readFileSync(join(folder, 'server.json'), 'utf8'));

  writeFileSync(join(work, 'well'), '');
  const answered = await engine.withClient(model, false, never, (client) => client.sample(asked, never));
  expect(answered.map(({ text }) => text)).toEqual(['four']);
  expect(await isRunning(pid, folder)).toBe(false);
  expect(engine.quietMs).toBe(0);
});
