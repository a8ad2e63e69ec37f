/** `srlm codec-server`: what Temporal's UI and CLI ask of it, and what no other page gets. */
import { randomBytes } from 'node:crypto';
import { request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { defaultPayloadConverter } from '@temporalio/common';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { payloadToJson } from '../../audit/payload-json.js';
import { serveCodecs } from '../../client/cli/codec-server.js';
import { encryption } from '../../encryption/index.js';

const UI = 'http://127.0.0.1:8233';
const plain = payloadToJson(defaultPayloadConverter.toPayload('a secret')!);
const damaged = { ...plain, metadata: { encoding: Buffer.from('binary/encrypted').toString('base64') } };

let server: Server;
let port: number;
beforeAll(async () => {
  vi.stubEnv('SRLM_KEY', randomBytes(32).toString('hex'));
  server = await serveCodecs(encryption({ keys: ['SRLM_KEY'] }).payloadCodecs!, 0, [UI]);
  ({ port } = server.address() as AddressInfo);
});
afterAll(() => {
  server.close();
  vi.unstubAllEnvs();
});

interface Asked {
  path?: string;
  method?: string;
  headers?: Record<string, string>;
  body?: string;
}

/** By raw HTTP: `fetch` sets no Host and no Origin. */
function ask({ path = '/decode', method = 'POST', headers = {}, body = '' }: Asked) {
  return new Promise<{ status: number; text: string; headers: Record<string, unknown> }>((resolve, reject) => {
    const asking = request({ host: '127.0.0.1', port, path, method, headers }, (response) => {
      let text = '';
      response.on('data', (part) => {
        text += part;
      });
      response.on('end', () => resolve({ status: response.statusCode!, text, headers: response.headers }));
    });
    asking.on('error', reject);
    asking.end(method === 'POST' ? body : '');
  });
}

const json = (payloads: unknown) => JSON.stringify({ payloads });
const encoded = async () => JSON.parse((await ask({ path: '/encode', body: json([plain]) })).text).payloads[0];

it('encodes, and decodes one by one: what cannot be decoded comes back as it is', async () => {
  const secret = await encoded();
  expect(JSON.stringify(secret)).not.toContain(plain.data);
  const { status, text } = await ask({ path: '/default/decode', body: json([secret, damaged, plain]) });
  expect([status, JSON.parse(text)]).toEqual([200, { payloads: [plain, damaged, plain] }]);
});

it('answers the pages of the given origin, also to the question that a browser asks first', async () => {
  const headers = {
    origin: UI,
    'access-control-request-headers': 'content-type,x-namespace',
    'access-control-request-private-network': 'true',
  };
  const first = await ask({ method: 'OPTIONS', headers });
  expect(first).toMatchObject({
    status: 204,
    headers: {
      'access-control-allow-origin': UI,
      'access-control-allow-headers': 'content-type, x-namespace, authorization',
      'access-control-allow-private-network': 'true',
    },
  });
  const then = await ask({ headers: { origin: UI, 'sec-fetch-site': 'same-site' }, body: json([await encoded()]) });
  expect(then).toMatchObject({ status: 200, headers: { 'access-control-allow-origin': UI } });
  expect(JSON.parse(then.text).payloads).toEqual([plain]);
});

it.each([
  ['a page of another origin', { origin: 'http://evil.example' }],
  ['a page of another port of this machine', { origin: 'http://127.0.0.1:8080' }],
  ['a page without an origin of its own', { origin: 'null' }],
  ['a page that reaches it by another name', { host: 'evil.example', origin: UI }],
  ['an image or a form of a page', { 'sec-fetch-site': 'cross-site' }],
])('refuses %s', async (_, headers) => {
  const body = json([await encoded()]);
  for (const method of ['POST', 'OPTIONS']) {
    const answer = await ask({ method, headers, body });
    expect([answer.status, answer.text]).toEqual([403, 'This page may not ask here; see --web-origin.\n']);
    expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
  }
});

it.each([
  ['no JSON', { body: 'x' }, 400],
  ['no payloads', { body: '{}' }, 400],
  ['data that are not base64', { body: json([{ data: '%' }]) }, 400],
  ['a body above the limit', { body: 'x'.repeat((16 << 20) + 1) }, 413],
  ['another path', { path: '/', body: json([]) }, 404],
  ['GET', { method: 'GET' }, 405],
])('refuses %s', async (_, asked, status) => {
  expect((await ask(asked)).status).toBe(status);
});
