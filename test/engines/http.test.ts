/** postJson against a real server on the loopback interface. */
import { getEventListeners } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { EngineClient } from '../../engine/client.js';
import { postJson } from '../../engine/http.js';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function serve(listener: RequestListener): Promise<URL> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/chat/completions`);
}

/** Answers the nth request with the nth of these, the last one for ever. */
function inTurn(...answers: { status: number; headers?: Record<string, string>; body: string }[]) {
  const seen: number[] = [];
  const listener: RequestListener = (_request, response) => {
    const { status, headers = {}, body } = answers[Math.min(seen.length, answers.length - 1)]!;
    seen.push(Date.now());
    response.writeHead(status, headers).end(body);
  };
  return { seen, listener };
}

const PATIENT = { retries: 2, timeoutMs: 10_000 };
const never = new AbortController().signal;
const post = (url: URL, patience = PATIENT, signal = never) => postJson(url, { a: 1 }, {}, patience, signal);

describe('postJson', () => {
  it('waits as long as the server asks, then tries again', async () => {
    const { seen, listener } = inTurn(
      { status: 429, headers: { 'retry-after': '0.2' }, body: '' },
      { status: 200, body: '{"b":2}' },
    );
    expect(await post(await serve(listener))).toEqual({ b: 2 });
    expect(seen[1]! - seen[0]!).toBeGreaterThanOrEqual(190);
  });

  it('gives the error of the last answer when it is out of tries', async () => {
    const body = JSON.stringify({ error: { message: 'busy', code: 'overloaded', type: 'server_error' } });
    const { seen, listener } = inTurn({ status: 503, headers: { 'retry-after': '0' }, body });
    await expect(post(await serve(listener))).rejects.toMatchObject({
      status: 503,
      message: 'busy',
      code: 'overloaded',
      type: 'server_error',
    });
    expect(seen).toHaveLength(3);
  });

  it('does not try again what the server refuses', async () => {
    const { seen, listener } = inTurn({ status: 401, body: '<html>no</html>' });
    await expect(post(await serve(listener))).rejects.toMatchObject({
      status: 401,
      message: '<html>no</html>',
      code: null,
    });
    expect(seen).toHaveLength(1);
  });

  it('takes half an answer for none, and tries again', async () => {
    let requests = 0;
    const url = await serve((_request, response) => {
      if (++requests > 1) return void response.end('{"b":2}');
      response.writeHead(200, { 'content-length': '100' });
      response.write('{"b":');
      setTimeout(() => response.destroy(), 20);
    });
    expect(await post(url)).toEqual({ b: 2 });
  });

  it('says by its code why no connection came about', async () => {
    const url = await serve(() => {});
    servers.splice(0)[0]!.close();
    await expect(post(url, { retries: 0, timeoutMs: 0 })).rejects.toThrow('ECONNREFUSED');
  });

  it('ends at once when the signal is aborted, in a request or between two', async () => {
    for (const listener of [() => {}, inTurn({ status: 503, headers: { 'retry-after': '30' }, body: '' }).listener]) {
      const stop = new AbortController();
      const posted = post(await serve(listener), PATIENT, stop.signal);
      setTimeout(() => stop.abort(new Error('stopped')), 100);
      await expect(posted).rejects.toThrow('stopped');
    }
  });

  it('leaves no listener on the signal', async () => {
    const { signal } = new AbortController();
    const { listener } = inTurn({ status: 200, body: '{}' });
    const url = await serve(listener);
    for (let i = 0; i < 5; i++) await post(url, PATIENT, signal);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });
});

describe('EngineClient', () => {
  it('asks a hosted endpoint again that took the connection and said nothing', async () => {
    let requests = 0;
    const url = await serve((_request, response) => {
      if (++requests > 1) response.end(JSON.stringify({ choices: [{ message: { content: 'yes' } }] }));
    });
    const client = new EngineClient({
      name: 'stub',
      baseUrl: new URL('..', url).href.replace(/\/$/, ''),
      apiKey: 'none',
      model: 'm',
      concurrency: 1,
      seed: false,
      topK: false,
      builtin: false,
      timeoutSeconds: 0.5,
    });
    const drawn = { n: 1, seed: 0, temperature: 0, topP: 1, topK: 0, maxTokens: 8, stop: [] };
    const texts = await client.chat({ ...drawn, messages: [], requestId: 'one' }, never);
    expect(texts.map(({ text }) => text)).toEqual(['yes']);
    expect(requests).toBe(2);
  });

  it('sends a row whose id no header could hold', async () => {
    const ids: unknown[] = [];
    const url = await serve((request, response) => {
      ids.push(request.headers['x-request-id']);
      response.end(JSON.stringify({ choices: [{ message: { content: 'yes' }, finish_reason: 'stop' }] }));
    });
    const endpoint = {
      name: 'stub',
      baseUrl: new URL('..', url).href.replace(/\/$/, ''),
      apiKey: 'none',
      model: 'm',
      concurrency: 1,
    };
    const client = new EngineClient({ ...endpoint, seed: false, topK: false, builtin: false });
    const drawn = { n: 1, seed: 0, temperature: 0, topP: 1, topK: 0, maxTokens: 8, stop: [] };
    const messages = [{ role: 'user' as const, content: 'שלום 🙂' }];
    await client.chat({ ...drawn, messages, requestId: 'prompt:0:שלום\n🙂' }, never);
    expect(ids).toEqual(['prompt:0:???????']);
  });
});
