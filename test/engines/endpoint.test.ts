/** EndpointEngine: what it sends to which address, by the `openai` package. */
import { getEventListeners } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { EndpointEngine as Config } from '../../contracts/deployment.js';
import type { SampleRequest } from '../../engines/client.js';
import { addressOf, azureOf } from '../../engines/endpoint/address.js';
import { EndpointEngine } from '../../engines/endpoint/engine.js';
import { dispatcherFor } from '../../engines/endpoint/transport.js';

const KEY = 'sk-0123456789abcdef';
const YES = JSON.stringify({ choices: [{ message: { content: 'yes' }, finish_reason: 'stop' }] });
const request: SampleRequest = {
  messages: [{ role: 'user', content: 'Is it?' }],
  ...{ n: 1, seed: 5, temperature: 0, topP: 1, topK: 0, maxTokens: 8, stop: [], requestId: 'one' },
};

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
  for (const name of ['OPENAI_ORG_ID', 'OPENAI_ADMIN_KEY', 'OPENAI_BASE_URL']) delete process.env[name];
});

async function listening(status = 200, reply = YES) {
  const requests: { incoming: IncomingMessage; body: Record<string, unknown> }[] = [];
  const server = createServer(async (incoming, response) => {
    let text = '';
    for await (const part of incoming) text += part;
    requests.push({ incoming, body: JSON.parse(text) });
    response.writeHead(status, { connection: 'close' }).end(reply);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

function ask(settings: object, signal = new AbortController().signal) {
  process.env.STUB_KEY = `${KEY}\n`;
  const config = Config.parse({ kind: 'endpoint', model: 'm', apiKeyEnv: 'STUB_KEY', ...settings });
  return new EndpointEngine('stub', config).withClient(null, false, signal, (client) => client.sample(request, signal));
}

describe('a request to an endpoint', () => {
  it('has the key, the headers and the fields of the config, and nothing of the environment', async () => {
    Object.assign(process.env, {
      OPENAI_ORG_ID: 'org-x',
      OPENAI_ADMIN_KEY: 'sk-admin',
      OPENAI_BASE_URL: 'http://127.0.0.1:1',
    });
    const { url, requests } = await listening();
    const settings = { headers: { 'X-Team': 'blue' }, extraBody: { reasoning_effort: 'low', temperature: 1 } };
    expect(await ask({ baseUrl: `  ${url}/v1//\n`, ...settings })).toMatchObject([{ text: 'yes' }]);
    const { incoming, body } = requests[0]!;
    expect([incoming.method, incoming.url]).toEqual(['POST', '/v1/chat/completions']);
    expect(incoming.headers).toMatchObject({ authorization: `Bearer ${KEY}`, 'x-team': 'blue', 'x-request-id': 'one' });
    expect(incoming.headers).not.toHaveProperty('openai-organization');
    expect(body).toMatchObject({ model: 'm', max_tokens: 8, reasoning_effort: 'low', temperature: 1 });
  });

  it('goes to the deployment of an Azure resource, with its header for the key', async () => {
    const { url, requests } = await listening();
    await ask({ baseUrl: url, azure: { apiVersion: '2024-10-21' } });
    const { incoming } = requests[0]!;
    expect(incoming.url).toBe('/openai/deployments/m/chat/completions?api-version=2024-10-21');
    expect(incoming.headers).toMatchObject({ 'api-key': KEY });
    expect(incoming.headers).not.toHaveProperty('authorization');
  });

  it('names the address that refused it, without query and key', async () => {
    const { url } = await listening(404);
    await expect(ask({ baseUrl: `${url}/v1/chat/completions` })).rejects.toThrow(
      `Engine "stub" at ${url}/v1/chat/completions refused the request (404: ${YES}). Check baseUrl (of most`,
    );
  });

  it('leaves no listener on the signal of its step', async () => {
    const { url } = await listening();
    const { signal } = new AbortController();
    await ask({ baseUrl: url }, signal);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });
});

describe('a trial', () => {
  const engineOf = (settings: object) => {
    process.env.STUB_KEY = KEY;
    return new EndpointEngine(
      'stub',
      Config.parse({ kind: 'endpoint', model: 'm', apiKeyEnv: 'STUB_KEY', ...settings }),
    );
  };
  /** Refuses these fields by name, ignores `n`, and reports no usage. */
  async function strict(names: string[]) {
    let requests = 0;
    const server = createServer(async (incoming, response) => {
      let text = '';
      for await (const part of incoming) text += part;
      requests++;
      const name = names.find((one) => one in JSON.parse(text));
      const message = `Unsupported parameter: '${name}'`;
      response.writeHead(name ? 400 : 200, { connection: 'close' });
      response.end(name ? JSON.stringify({ error: { message } }) : YES);
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests: () => requests };
  }

  it('says what an endpoint takes, with a few requests', async () => {
    const { baseUrl, requests } = await strict(['top_k', 'max_tokens']);
    const trial = await engineOf({ baseUrl }).tryOut();
    expect(trial).toEqual({
      ok: true,
      hint: '',
      text: 'takes seed; does not take n (n: false), top_k (topK: false); It does not take max_tokens: requests have max_completion_tokens (maxTokensField: max_completion_tokens); It reports no usage: tokens are estimated',
      remarks: [
        'It does not take n (n: false).',
        'It does not take top_k (topK: false).',
        'It does not take max_tokens: requests have max_completion_tokens (maxTokensField: max_completion_tokens).',
        'It reports no usage: tokens are estimated.',
      ],
    });
    expect(requests()).toBeLessThanOrEqual(12);
  });

  it('does not try what the config says already', async () => {
    const { baseUrl, requests } = await strict([]);
    const trial = await engineOf({ baseUrl, n: false, seed: false, topK: false }).tryOut();
    expect(trial).toMatchObject({ ok: true, remarks: ['It reports no usage: tokens are estimated.'] });
    expect(requests()).toBe(1);
  });

  it('says why an endpoint does not answer', async () => {
    const trial = await engineOf({ baseUrl: 'http://127.0.0.1:1' }).tryOut();
    expect(trial).toMatchObject({
      ok: false,
      text: 'Engine "stub" at http://127.0.0.1:1/chat/completions does not answer (ECONNREFUSED).',
    });
  });

  it('says that no text comes', async () => {
    const { url } = await listening(200, '{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}');
    expect(await engineOf({ baseUrl: `${url}/v1` }).tryOut()).toMatchObject({
      ok: false,
      text: `Engine "stub" at ${url}/v1/chat/completions sent no text in reply to a tiny request: the endpoint sent no text.`,
      hint: 'Look at the endpoint.',
    });
  });

  it('says what to do', async () => {
    const { url } = await listening(402);
    expect(await engineOf({ baseUrl: `${url}/v1` }).tryOut()).toMatchObject({
      ok: false,
      hint: 'The money or the quota of its account is used up: see to that.',
    });
  });

  it('is not made where the key is elsewhere', async () => {
    const engine = engineOf({ baseUrl: 'http://127.0.0.1:1' });
    delete process.env.STUB_KEY;
    expect(await engine.tryOut()).toBeNull();
  });
});

describe('addresses', () => {
  it.each([
    ['http://a/v1', 'http://a/v1'],
    ['http://a/v1///', 'http://a/v1'],
    [' http://a/v1/\n', 'http://a/v1'],
    ['http://a/v1/chat/completions/', 'http://a/v1'],
    ['http://a/v1/completions', 'http://a/v1'],
    ['http://a/', 'http://a'],
  ])('%j', (given, expected) => {
    expect(addressOf(given)).toBe(expected);
  });

  it.each([
    ['https://r.openai.azure.com', '2024-10-21'],
    ['https://r.cognitiveservices.azure.com/openai', '2024-10-21'],
    ['https://r.openai.azure.com/openai/v1', undefined],
    ['https://openai.azure.com.evil.example', undefined],
    ['https://api.openai.com/v1', undefined],
  ])('of Azure: %s', (url, version) => {
    expect(azureOf(url, undefined)?.apiVersion).toBe(version);
  });

  it('use the proxy of the environment, but not for this host', () => {
    process.env.https_proxy = 'http://127.0.0.1:9';
    try {
      expect(dispatcherFor('https://api.example/v1').constructor.name).toBe('EnvHttpProxyAgent');
      for (const here of ['http://localhost:8000/v1', 'http://127.0.0.2/v1', 'http://[::1]:1/v1'])
        expect(dispatcherFor(here).constructor.name).toBe('Agent');
    } finally {
      delete process.env.https_proxy;
    }
  });
});

describe('the identity of an endpoint', () => {
  const identity = (settings: object) =>
    new EndpointEngine(
      'stub',
      Config.parse({ kind: 'endpoint', baseUrl: 'http://a/v1', model: 'm', ...settings }),
    ).identity();

  it('is what it was before there were other fields', () => {
    expect(identity({ revision: 'r', n: false, headers: { a: 'b' } })).toBe('http://a/v1 m r');
  });

  it('holds the fields that change texts, in any order', () => {
    expect(identity({ extraBody: { b: 1, a: 2 } })).toBe('http://a/v1 m  {"a":2,"b":1}');
    expect(identity({ extraBody: { a: 2, b: 1 } })).toBe(identity({ extraBody: { b: 1, a: 2 } }));
  });
});
