/** No web page reads or changes anything in the embedded Temporal: the requests of a page, sent without a browser. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { processesWith } from '../../processes/detached.js';
import { CLOSED_PORTS } from '../../worker/closed-ports.js';
import { type Embedded, startEmbedded, temporalBinary } from '../../worker/embedded.js';
import { python } from '../support/python.js';
import { freePorts } from '../support/temporal-server.js';
import { ACTIVITY, activityPath, ask, EVIL, isOpenToBrowsers, portsOf, READS } from './page.js';

let folder = '';
let server: Embedded;
let uiPort = 0;
/** All that listens: the server itself, and what `srlm up` puts in front of it. */
let ports: number[] = [];

const isLinux = process.platform === 'linux';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'srlm-test-hostile-'));
  const [port, ui] = (await freePorts(2)) as [number, number];
  uiPort = ui;
  server = await startEmbedded({ folder, port, uiPort, temporal: temporalBinary({ python }) });
  const [pid] = await processesWith(join(folder, 'temporal.db'));
  ports = isLinux ? [...new Set([...portsOf(pid!), uiPort])] : [uiPort];
}, 60_000);

afterAll(async () => {
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const fromPage = (port: number): Record<string, string>[] => [
  // A page of another site; no preflight is asked for.
  {
    host: `127.0.0.1:${port}`,
    origin: `https://${EVIL}`,
    'content-type': 'text/plain',
    'sec-fetch-site': 'cross-site',
  },
  // A page of another program of this machine, in a browser that says nothing more.
  { host: `localhost:${port}`, origin: 'http://localhost:3000', 'content-type': 'text/plain' },
  // A frame without an origin.
  { host: `127.0.0.1:${port}`, origin: 'null', 'content-type': 'text/plain' },
  // Rebinding: to the browser the page is of the same origin as what it asks.
  { host: `${EVIL}:${port}`, origin: `http://${EVIL}:${port}`, 'sec-fetch-site': 'same-origin' },
  { host: `${EVIL}:${port}` },
];

describe('the embedded Temporal', () => {
  it.skipIf(!isLinux)('has listeners that these tests find', () => {
    // gRPC of the frontend and of three inner services, HTTP API, metrics, UI, and the guard of the UI.
    expect(ports).toHaveLength(8);
  });

  it('answers no request of a page', async () => {
    const answered: string[] = [];
    for (const port of ports) {
      if (!(await isOpenToBrowsers(port))) continue;
      for (const headers of fromPage(port)) {
        const own = { ...headers, cookie: '_csrf=own', 'x-csrf-token': 'own' };
        const json = { ...own, 'content-type': 'application/json' };
        const preflight = { ...headers, 'access-control-request-method': 'POST' };
        const activity = activityPath(`raw-${port}`);
        const nexus = '/namespaces/default/task-queues/q/nexus-services/a/b';
        const all: [string, string, Record<string, string>, string?][] = [
          ...READS.map((path): [string, string, Record<string, string>] => ['GET', path, headers]),
          ['OPTIONS', activity, preflight],
          ['POST', activity, own, ACTIVITY],
          ['POST', activity, json, ACTIVITY],
          ['POST', nexus, own, '{}'],
        ];
        for (const [method, path, sent, body] of all) {
          const { status } = await ask(port, path, { method, headers: sent, ...(body ? { body } : {}) });
          if (status !== 0 && status !== 403) answered.push(`${port} ${method} ${path} ${headers.host}: ${status}`);
        }
      }
    }
    expect(answered).toEqual([]);
    expect(await activities()).toBe(0);
  }, 60_000);

  it.skipIf(!isLinux)('has no HTTP API, also for a program that opens any port', async () => {
    const statuses = new Set<number>();
    for (const port of ports.filter((port) => port !== uiPort)) {
      const { status } = await ask(port, '/api/v1/namespaces/default/workflows', { headers: { host: 'localhost' } });
      statuses.add(status);
    }
    // gRPC, HTTP API, metrics; 200 is the UI behind the guard.
    expect([...statuses].sort()).toEqual([0, 200, 403, 404]);
  });
});

it('a port that counts as closed is one that Node, too, refuses to open', async () => {
  for (const port of CLOSED_PORTS) expect(await isOpenToBrowsers(port), String(port)).toBe(false);
});

describe('the UI', () => {
  const host = () => `127.0.0.1:${uiPort}`;

  it('opens by its address, by localhost, and by a link of another site', async () => {
    expect(server.uiUrl).toBe(`http://127.0.0.1:${uiPort}`);
    const link = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
    for (const headers of [{ host: host() }, { host: `localhost:${uiPort}` }, { host: host(), ...link }]) {
      const { status, body } = await ask(uiPort, '/', { headers });
      expect(status).toBe(200);
      expect(body).toContain('<html');
    }
    const framed = { host: host(), ...link, 'sec-fetch-dest': 'iframe' };
    expect((await ask(uiPort, '/', { headers: framed })).status).toBe(403);
  });

  it('reads and changes what its own pages ask', async () => {
    const own = { host: host(), 'sec-fetch-site': 'same-origin' };
    const read = await ask(uiPort, '/api/v1/namespaces', { headers: own });
    expect(JSON.parse(read.body).namespaces).toHaveLength(2);
    const cookie = read.cookies.at(-1)!;
    const headers = { ...own, origin: `http://${host()}`, cookie, 'x-csrf-token': cookie.replace('_csrf=', '') };
    const { status } = await ask(uiPort, activityPath('own'), { method: 'POST', headers, body: ACTIVITY });
    expect(status).toBe(200);
    expect(await activities()).toBe(1);
  });
});

async function activities(): Promise<number> {
  const connection = await Connection.connect({ address: server.address });
  try {
    const { executions } = await connection.workflowService.listActivityExecutions({ namespace: 'default' });
    return executions.length;
  } finally {
    await connection.close();
  }
}
