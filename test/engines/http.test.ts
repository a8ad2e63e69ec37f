/** postJson against a real server on the loopback interface. */
import { getEventListeners } from 'node:events';
import type { RequestListener } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { postJson } from '../../engines/http.js';
import { closeServers, serve } from './serve.js';

afterEach(closeServers);

/** Replies to the nth request with the nth of these; the last one is repeated. */
function inTurn(...replies: { status: number; headers?: Record<string, string>; body: string }[]) {
  const seen: number[] = [];
  const listener: RequestListener = (_request, response) => {
    const { status, headers = {}, body } = replies[Math.min(seen.length, replies.length - 1)]!;
    seen.push(Date.now());
    response.writeHead(status, headers).end(body);
  };
  return { seen, listener };
}

const RETRY = { retries: 2, timeoutMs: 10_000 };
const never = new AbortController().signal;
const post = (url: URL, retry = RETRY, signal = never) => postJson(url, { body: { a: 1 }, headers: {} }, retry, signal);

describe('postJson', () => {
  it('waits as long as the server asks, then tries again', async () => {
    const { seen, listener } = inTurn(
      { status: 429, headers: { 'retry-after': '0.2' }, body: '' },
      { status: 200, body: '{"b":2}' },
    );
    expect(await post(await serve(listener))).toEqual({ b: 2 });
    expect(seen[1]! - seen[0]!).toBeGreaterThanOrEqual(190);
  });

  it.each<[string, Record<string, string>, number | undefined]>([
    ['milliseconds', { 'retry-after-ms': '90000', 'retry-after': '1' }, 90_000],
    [
      'a limit that is reached',
      {
        'x-ratelimit-reset-requests': '2m0s',
        'x-ratelimit-remaining-requests': '0',
        'x-ratelimit-reset-tokens': '6m0.5s',
        'x-ratelimit-remaining-tokens': '10',
      },
      120_000,
    ],
    [
      'the longest of those reached',
      {
        'x-ratelimit-reset-requests': '2m0s',
        'x-ratelimit-remaining-requests': '0',
        'x-ratelimit-reset-tokens': '1h1.5s',
        'x-ratelimit-remaining-tokens': '0',
      },
      3_600_000,
    ],
    ['the shortest of the others', { 'x-ratelimit-reset-requests': '120', 'x-ratelimit-reset-tokens': '90s' }, 90_000],
    ['a time since 1970', { 'x-ratelimit-reset': String(Date.UTC(2020, 1, 1) + 120_000) }, 120_000],
    ['one in seconds', { 'ratelimit-reset': String(Date.UTC(2020, 1, 1) / 1000 + 120) }, 120_000],
    ['minutes in place of seconds', { 'retry-after': '1m30s' }, 90_000],
    ['a time since 1970 in its place', { 'retry-after': String(Date.UTC(2020, 1, 1) / 1000 + 120) }, 120_000],
    ['a date of ISO in its place', { 'retry-after': '2020-02-01T00:02:00Z' }, 120_000],
    ['two', { 'retry-after': '90, 120' }, 90_000],
    ['a short one', { 'x-ratelimit-reset': '20ms' }, undefined],
    ['words', { 'x-ratelimit-reset': 'soon' }, undefined],
  ])('reads the wait that a server asks for: %s', async (_name, headers, waitMs) => {
    const { listener } = inTurn({
      status: 429,
      headers: { date: new Date(Date.UTC(2020, 1, 1)).toUTCString(), ...headers },
      body: '',
    });
    const found = await post(await serve(listener), { retries: 0, timeoutMs: 0 }).catch((error: unknown) => error);
    expect(found).toHaveProperty('waitMs', waitMs);
  });

  it.each([
    ['Please try again in 10m22.08s. Need more?', 622_080],
    ['Quota exceeded.\nPlease retry in 97.5s.', 97_500],
    ['Please retry after 86 seconds.', 86_000],
    ['Limit of 50 a day exceeded. Please wait 800 seconds before retrying.', 800_000],
    ['Try again in a while.', undefined],
    ['Wait for it.', undefined],
  ])('reads the wait in a message: %s', async (message, waitMs) => {
    const { listener } = inTurn({ status: 429, body: JSON.stringify({ error: { message } }) });
    const found = await post(await serve(listener), { retries: 0, timeoutMs: 0 }).catch((error: unknown) => error);
    expect(found).toHaveProperty('waitMs', waitMs);
  });

  it('takes a date that the server asks it to wait for by the clock of the server', async () => {
    const at = (ms: number) => new Date(ms).toUTCString();
    const there = Date.UTC(2020, 1, 1);
    const headers = { date: at(there), 'retry-after': at(there + 90_000) };
    const { listener } = inTurn({ status: 503, headers, body: '' });
    await expect(post(await serve(listener), { retries: 0, timeoutMs: 0 })).rejects.toMatchObject({ waitMs: 90_000 });
  });

  it('throws the error of the last reply when no tries are left', async () => {
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

  it('does not repeat a request that the server refuses', async () => {
    const { seen, listener } = inTurn({ status: 401, body: '<html>no</html>' });
    await expect(post(await serve(listener))).rejects.toMatchObject({
      status: 401,
      message: '<html>no</html>',
      code: null,
    });
    expect(seen).toHaveLength(1);
  });

  it('tries again after half a reply', async () => {
    let requests = 0;
    const url = await serve((_request, response) => {
      if (++requests > 1) return void response.end('{"b":2}');
      response.writeHead(200, { 'content-length': '100' });
      response.write('{"b":');
      setTimeout(() => response.destroy(), 20);
    });
    expect(await post(url)).toEqual({ b: 2 });
  });

  it('refuses a reply that is too large, once and with one sentence', async () => {
    let requests = 0;
    const url = await serve((_request, response) => {
      requests++;
      const part = Buffer.alloc(2 ** 20, ' ');
      const send = () => {
        while (!response.destroyed && response.write(part));
        if (!response.destroyed) response.once('drain', send);
      };
      send();
    });
    const refused = { status: 200, message: 'its reply is larger than 64 MiB' };
    await expect(post(url)).rejects.toMatchObject(refused);
    expect(requests).toBe(1);
  });

  it('names the code of the reason why there is no connection', async () => {
    const url = await serve(() => {});
    closeServers();
    await expect(post(url, { retries: 0, timeoutMs: 0 })).rejects.toThrow('ECONNREFUSED');
  });

  it('ends at once when the signal is aborted, during a request or between two', async () => {
    for (const listener of [() => {}, inTurn({ status: 503, headers: { 'retry-after': '30' }, body: '' }).listener]) {
      const stop = new AbortController();
      const posted = post(await serve(listener), RETRY, stop.signal);
      setTimeout(() => stop.abort(new Error('stopped')), 100);
      await expect(posted).rejects.toThrow('stopped');
    }
  });

  it('leaves no listener on the signal', async () => {
    const { signal } = new AbortController();
    const { listener } = inTurn({ status: 200, body: '{}' });
    const url = await serve(listener);
    for (let i = 0; i < 5; i++) await post(url, RETRY, signal);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });
});
