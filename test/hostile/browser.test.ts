/**
 * The same in a real Chromium: a page of another site reads and changes nothing in the embedded Temporal, its UI or the
 * model server, and the UI works. Where there is no Chromium (Debian: apt-get install chromium) these are skipped;
 * listeners.test.ts sends such requests without a browser.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import pLimit from 'p-limit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BuiltinEngine, EngineConfig } from '../../contracts/deployment.js';
import { BuiltinClient } from '../../engines/builtin/client.js';
import { ModelServer } from '../../engines/builtin/server.js';
import { processesWith } from '../../processes/detached.js';
import { folderDigest } from '../../storage/model-folder.js';
import { CLOSED_PORTS } from '../../worker/closed-ports.js';
import { type Embedded, startEmbedded, temporalBinary } from '../../worker/embedded.js';
import { python, tinyModel } from '../support/python.js';
import { freePorts } from '../support/temporal-server.js';
import { ACTIVITY, activityPath, chromium, EVIL, open, portsOf, READS } from './page.js';

const program = chromium();
const isPossible = program !== null && process.platform === 'linux';
if (!isPossible) console.warn('Skipped: test/hostile/browser.test.ts needs Linux and a Chromium on the PATH.');

let folder = '';
let temporal: Embedded;
let uiPort = 0;
const ports: number[] = [];

describe.skipIf(!isPossible)('a page of another site', () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'srlm-test-browser-'));
    const [port, ui] = (await freePorts(2)) as [number, number];
    uiPort = ui;
    temporal = await startEmbedded({ folder, port, uiPort, temporal: temporalBinary({ python }) });
    const [pid] = await processesWith(join(folder, 'temporal.db'));
    ports.push(...new Set([...portsOf(pid!), uiPort]));
  }, 60_000);

  afterAll(async () => {
    await temporal?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it('reads and changes nothing in the embedded Temporal', async () => {
    const urls = ports.flatMap((port) => [`http://127.0.0.1:${port}`, `http://${EVIL}:${port}`]);
    const read = await visit(`
      for (const url of ${JSON.stringify(urls)}) {
        for (const path of ${JSON.stringify(READS)}) await tryTo(url + path);
        const id = 'page-' + url.replace(/\\W/g, '-');
        const path = ${JSON.stringify(activityPath(''))} + id;
        await tryTo(url + path, { method: 'POST', mode: 'no-cors', body: ${JSON.stringify(ACTIVITY)} });
        await tryTo(url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: ${JSON.stringify(ACTIVITY)} });
      }`);
    expect(read).toEqual([]);
    expect(await activities()).toBe(0);
  }, 120_000);

  it('sees nothing of it either under its own name, as after rebinding', async () => {
    for (const url of ports.map((port) => `http://${EVIL}:${port}`)) {
      const [api, metrics] = await Promise.all(
        ['/api/v1/namespaces', '/metrics'].map((path) => open(program!, url + path)),
      );
      const read = { url, api: api!.includes('namespaceInfo'), metrics: metrics!.includes('HELP') };
      expect(read).toEqual({ url, api: false, metrics: false });
    }
  }, 180_000);

  it('is not the UI, which works', async () => {
    const connection = await Connection.connect({ address: temporal.address });
    await connection.workflowService.startWorkflowExecution({
      ...{ namespace: 'default', workflowId: 'seen-in-the-ui', requestId: 'one' },
      ...{ workflowType: { name: 'none' }, taskQueue: { name: 'hostile' } },
    });
    await connection.close();
    const shown = await open(program!, temporal.uiUrl, '--virtual-time-budget=20000');
    expect(shown.includes('seen-in-the-ui')).toBe(true);
  }, 90_000);
});

describe.skipIf(!isPossible)('a page, whatever listens there and invites it,', () => {
  it('reaches none of the ports that are said to be closed', async () => {
    const inviting = () =>
      createServer((_, response) => response.writeHead(200, { 'access-control-allow-origin': '*' }).end('open'));
    const servers: Server[] = [];
    const listen = async (port: number) => {
      const server = inviting();
      await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
      servers.push(server);
      return (server.address() as AddressInfo).port;
    };
    try {
      const common = await listen(0);
      // One that is in use just now, or needs root, is left out; so is 1, where other tests expect nobody.
      for (const port of CLOSED_PORTS) if (port !== 1) await listen(port).catch(() => {});
      const tries = [common, ...CLOSED_PORTS].map(
        (port) => `await tryTo('http://127.0.0.1:${port}', { credentials: 'omit' });`,
      );
      expect(await visit(tries.join('\n'))).toEqual([[`http://127.0.0.1:${common}`, 200, 'open']]);
    } finally {
      for (const server of servers) server.close();
    }
  }, 60_000);
});

describe.skipIf(!isPossible)('a page of another site and the model server', () => {
  it('cannot read its health or unload its model', async () => {
    const models = tinyModel();
    const home = await mkdtemp(join(tmpdir(), 'srlm-test-browser-server-'));
    const engine = EngineConfig.parse({ kind: 'builtin', device: 'cpu', threads: 1 }) as BuiltinEngine;
    const settings = {
      name: 'local',
      engine,
      deterministic: false,
      folder: home,
      python: () => python,
      stallMinutes: 15,
    };
    const server = new ModelServer({ ...settings, modelRoots: [models] });
    try {
      const address = await server.ensure();
      const { baseUrl } = address;
      const sha256 = await folderDigest(join(models, 'tiny'));
      await server.load(join(models, 'tiny'), sha256);

      const read = await visit(`
        await tryTo('${baseUrl}/health');
        for (const path of ['/engine/unload', '/tokenize']) {
          await tryTo('${baseUrl}' + path, { method: 'POST', mode: 'no-cors', body: '{}' });
          await tryTo('${baseUrl}' + path, { method: 'POST', headers: { authorization: 'Bearer ' }, body: '{}' });
        }`);
      expect(read).toEqual([]);
      // Without its model it would answer with engine.wrong-weights.
      const client = new BuiltinClient('local', address, sha256, pLimit(1));
      const asked = { messages: [{ role: 'user' as const, content: 'Still there?' }], requestId: 'one', stop: [] };
      const drawn = { ...asked, seed: 1, temperature: 1, topP: 1, topK: 0, maxTokens: 2, n: 1 };
      expect(await client.sample(drawn, new AbortController().signal)).toHaveLength(1);
    } finally {
      await server.stop();
      await rm(home, { recursive: true, force: true });
    }
  }, 180_000);
});

/** Runs the script in a page of another site. Returns what it could read: address, status and the text's beginning. */
async function visit(script: string): Promise<unknown[]> {
  const page = `<!doctype html><img src="/done"><script type="module">
    const read = [];
    async function tryTo(url, options = {}) {
      try {
        const answer = await fetch(url, { signal: AbortSignal.timeout(3000), credentials: 'include', ...options });
        if (answer.type !== 'opaque') read.push([url, answer.status, (await answer.text()).slice(0, 80)]);
      } catch {}
    }
    ${script}
    await fetch('/report', { method: 'POST', body: JSON.stringify(read) });
  </script>`;
  let reported: unknown[] | null = null;
  // The page has loaded, for the browser, when its picture is there: once its script has reported.
  let load = () => {};
  const server: Server = createServer(async (request, response) => {
    if (request.url === '/done') load = () => response.end();
    else if (request.url === '/report') {
      let text = '';
      for await (const part of request) text += part;
      reported = JSON.parse(text);
      response.end();
      load();
    } else response.writeHead(200, { 'content-type': 'text/html' }).end(page);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await open(program!, `http://${EVIL}:${(server.address() as AddressInfo).port}/`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
  if (!reported) throw new Error('The page did not report.');
  return reported;
}

async function activities(): Promise<number> {
  const connection = await Connection.connect({ address: temporal.address });
  try {
    const { executions } = await connection.workflowService.listActivityExecutions({ namespace: 'default' });
    return executions.length;
  } finally {
    await connection.close();
  }
}
