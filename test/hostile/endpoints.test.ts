/**
 * What an endpoint may answer, byte by byte, and what comes of it: texts, or one sentence that names the endpoint. With
 * test/engines/http.test.ts and client.test.ts, which hold what is usual.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import pLimit from 'p-limit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Problem } from '../../contracts/errors.js';
import { BuiltinClient } from '../../engines/builtin/client.js';
import { ChatClient, type Completion, PLAIN, type SampleRequest } from '../../engines/client.js';
import { Dialect } from '../../engines/dialect.js';
import { EndpointEngine } from '../../engines/endpoint/engine.js';
import { ConnectionError, reasonOf } from '../../engines/http.js';

const KEY = 'sk-0123456789abcdef/+"';
type Reply = string | Buffer | ((socket: Socket) => void);

const servers: Server[] = [];
const sockets = new Set<Socket>();
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
});

/** Answers every request with these bytes, and closes. */
async function answering(reply: Reply): Promise<{ url: string; requests: string[] }> {
  const requests: string[] = [];
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    let text = '';
    socket.on('data', (part) => {
      text += part.toString('latin1');
      const [head, body] = text.split('\r\n\r\n');
      const isTls = text.startsWith('\x16');
      if (!isTls && (body === undefined || body.length < Number(/content-length: (\d+)/i.exec(head!)?.[1] ?? 0)))
        return;
      requests.push(text);
      text = '';
      if (typeof reply === 'function') reply(socket);
      else socket.end(reply);
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as { port: number }).port}`, requests };
}

const http = (status: number | string, body: string | Buffer, headers: readonly string[] = []): Buffer =>
  Buffer.concat([
    Buffer.from(
      [`HTTP/1.1 ${status} x`, ...headers, `content-length: ${Buffer.byteLength(body)}`, '', ''].join('\r\n'),
    ),
    Buffer.from(body),
  ]);
const json = (value: unknown, status = 200): Buffer => http(status, JSON.stringify(value));
const choice = (content: unknown, more = {}) => ({ message: { content }, finish_reason: 'stop', ...more });
const YES = JSON.stringify({ choices: [choice('yes')] });
/** After these bytes, the same piece again and again. */
const drip =
  (first: string, piece: string): Reply =>
  (socket) => {
    socket.write(first);
    const timer = setInterval(() => socket.write(piece), 10);
    socket.once('close', () => clearInterval(timer));
  };
const flood =
  (first: string): Reply =>
  (socket) => {
    socket.write(first);
    const send = () => {
      while (!socket.destroyed && socket.write('x'.repeat(65_536)));
      if (!socket.destroyed) socket.once('drain', send);
    };
    send();
  };
const OK = 'HTTP/1.1 200 x\r\n';
const CHUNKED = `${OK}transfer-encoding: chunked\r\n\r\n`;

const request: SampleRequest = {
  messages: [{ role: 'user', content: 'Is it?' }],
  ...{ n: 1, seed: 5, temperature: 0, topP: 1, topK: 0, maxTokens: 8, stop: [], requestId: 'one' },
};

async function ask(reply: Reply, { timeoutMs = 30_000, n = 1 } = {}): Promise<Completion[] | Problem> {
  const { url } = await answering(reply);
  const retry = { retries: 0, timeoutMs };
  const options = { name: 'stub', baseUrl: `${url}/v1`, apiKey: KEY, model: 'm', limit: pLimit(1) };
  const client = new ChatClient({ ...options, dialect: new Dialect({ ...PLAIN, seed: false, topK: false }), retry });
  return client.sample({ ...request, n }, new AbortController().signal).catch((error) => error);
}

// --- the table -------------------------------------------------------------------------------------------------------
const again = (reason: string) =>
  `Engine "stub" does not answer (${reason}). It is tried again; see its log or \`srlm doctor\`. [engine.unreachable]`;
const NEXT: Record<string, string> = {
  401: 'Set the variable that apiKeyEnv names to a valid key, start the worker again',
  402: 'The money or the quota of its account is used up: see to that',
  403: 'Check the key, what its account may use, and what is between the endpoint and this machine',
  404: 'Check baseUrl (of most endpoints it ends in /v1) and model in temporal.config.ts, start the worker again',
};
const parks = (reason: string) =>
  `Engine "stub" refused the request (${reason}). ${NEXT[reason.slice(0, 3)] ?? 'Fix the cause'}, then \`srlm retry\`. [engine.refused]`;
const gives = (text: string, finish = 'stop', tokens: number | null = null, reason: string | null = null) => [
  { text, finish, reason, tokens, seed: null },
];
/** `begins`: the reply. */
const other = (what: string, begins = '') =>
  `Engine "stub" sent ${what} in place of an answer of OpenAI's chat API${begins ? `; it begins: ${begins}` : ''}. Check baseUrl in temporal.config.ts, and what is between it and this machine; then \`srlm retry\`. [engine.not-understood]`;
const EMPTY = other('an empty reply');
const NOT_HTTP = again('what answers there does not speak HTTP');
const CUT = again('its reply ended before it was complete');
const LATE = again('its reply was not complete in time');
const REDIRECTS = 'it redirects to another address, to which no key is sent; set baseUrl to the one that answers';
const base64 = (text: string, encoding: 'base64' | 'base64url' = 'base64') => Buffer.from(text).toString(encoding);

const CASES: [string, Reply, unknown][] = [
  // Not what was asked for.
  [
    'a page',
    http(200, '<html><body>Sign in</body></html>', ['content-type: text/html']),
    other('an HTML page', '<html><body>Sign in</body></html>'),
  ],
  [
    'events',
    http(200, 'data: {"choices":[]}\n\ndata: [DONE]\n\n', ['content-type: text/event-stream']),
    gives('', 'other', null, 'the endpoint sent no choices'),
  ],
  [
    'a text in events',
    http(
      200,
      `: hello\n\ndata: ${JSON.stringify({ choices: [{ delta: { role: 'assistant' } }] })}\n\n${['y', 'es'].map((content) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\r\n\r\n`).join('')}data: ${JSON.stringify({ choices: [{ delta: {}, finish_reason: 'stop' }] })}\n\ndata: ${JSON.stringify({ choices: [], usage: { completion_tokens: 2 } })}\n\ndata: [DONE]\n\n`,
      ['content-type: text/event-stream'],
    ),
    gives('yes', 'stop', 2),
  ],
  [
    'an error in events',
    http(200, 'data: {"error":{"message":"no"}}\n\n', ['content-type: text/event-stream']),
    parks('200: no'),
  ],
  [
    'events that are cut off',
    http(200, 'data: {"choices":[{"del', ['content-type: text/event-stream']),
    other('a stream of events that is broken or cut off', 'data: {"choices":[{"del'),
  ],
  ['a mark of the order of bytes', http(200, `\ufeff${YES}`), gives('yes')],
  ['JSON that counts as text', http(200, YES, ['content-type: image/png']), gives('yes')],
  ['nothing', http(200, ''), EMPTY],
  ['blanks', http(200, ' \r\n\t'), EMPTY],
  ['no content', `HTTP/1.1 204 x\r\n\r\n`, EMPTY],
  ['half of the JSON', http(200, YES.slice(0, 30)), other('JSON that is broken or cut off', YES.slice(0, 30))],
  ['JSON and more', http(200, `${YES}${YES}`), other('JSON that is broken or cut off', `${YES}${YES}`.slice(0, 120))],
  [
    'UTF-16',
    http(200, Buffer.from(YES, 'utf16le')),
    expect.stringContaining('sent bytes that are no text in place of'),
  ],
  ['NaN', http(200, YES.replace('"yes"', 'NaN')), other('JSON that is broken or cut off', YES.replace('"yes"', 'NaN'))],
  [
    'a raw control character',
    http(200, YES.replace('yes', 'y\u0001s')),
    other('JSON that is broken or cut off', YES.replace('yes', 'y s')),
  ],
  ['gzip that nobody asked for', http(200, gzipSync(YES), ['content-encoding: gzip']), gives('yes')],
  ['gzip that is not named', http(200, gzipSync(YES)), gives('yes')],
  ['brotli', http(200, brotliCompressSync(YES), ['content-encoding: br']), gives('yes')],
  [
    'a gzip bomb',
    http(200, gzipSync(Buffer.alloc(2 ** 27)), ['content-encoding: gzip']),
    expect.stringContaining('sent compressed bytes that cannot be read in place of'),
  ],
  ['plain text that is called gzip', http(200, YES, ['content-encoding: gzip']), gives('yes')],
  // Replies of another shape.
  ['null', http(200, 'null'), other('JSON of another form', 'null')],
  ['a string', json('yes'), other('JSON of another form', '"yes"')],
  ['an error', json({ error: { message: 'no' } }), parks('200: no')],
  ['choices that are text', json({ choices: KEY }), other('JSON without choices', '{"choices":"[the key]"}')],
  ['an empty choice', json({ choices: [{}] }), other('a choice without a message', '{"choices":[{}]}')],
  ['null for a choice', json({ choices: [null] }), other('a choice of another form', '{"choices":[null]}')],
  [
    'parts for a text',
    json({ choices: [choice([{ type: 'text' }])] }),
    gives('', 'other', null, 'the endpoint sent no text'),
  ],
  ['a reason that is a number', json({ choices: [choice('yes', { finish_reason: 5 })] }), gives('yes', 'other')],
  ['no choice', json({ choices: [] }), gives('', 'other', null, 'the endpoint sent no choices')],
  ['a choice too many', json({ choices: [choice('a'), choice('b')] }), gives('a')],
  [
    'choices by the hundred thousand',
    http(200, `{"choices":[${'{},'.repeat(100_000)}{}]}`),
    other('a choice without a message', `{"choices":[${'{},'.repeat(40)}`.slice(0, 120)),
  ],
  ['lists in lists', http(200, '['.repeat(50_000)), other('JSON that is broken or cut off', '['.repeat(120))],
  [
    'lists in lists, closed',
    http(200, `{"choices":${'['.repeat(50_000)}${']'.repeat(50_000)}}`),
    other('a choice of another form'),
  ],
  ['a text that is null', json({ choices: [choice(null)] }), gives('', 'other', null, 'the endpoint sent no text')],
  ['another index', json({ choices: [choice('yes', { index: 7 })] }), gives('yes')],
  ['an unknown reason', json({ choices: [choice('yes', { finish_reason: KEY })] }), gives('yes', 'other')],
  ['more tokens than fit', json({ choices: [choice('yes', { completion_tokens: 9e15 })] }), gives('yes', 'stop', 8)],
  ['tokens below none', json({ choices: [choice('yes', { completion_tokens: -1 })] }), gives('yes')],
  ['infinite tokens', http(200, YES.replace('"stop"', '"stop","completion_tokens":1e999')), gives('yes')],
  ['keys twice', http(200, YES.replace('{"choices"', '{"choices":[],"choices"')), gives('yes')],
  ['__proto__', http(200, YES.replace('{"choices"', '{"__proto__":{"usage":7},"choices"')), gives('yes')],
  ['constructor', http(200, YES.replace('{"choices"', '{"constructor":null,"toString":1,"choices"')), gives('yes')],
  // Texts.
  ['bytes that are no UTF-8', http(200, Buffer.from(YES.replace('yes', 'a\xffz'), 'latin1')), gives('a\ufffdz')],
  ['half of a surrogate pair', http(200, YES.replace('yes', 'a\\ud800z\\udc00')), gives('a\ufffdz\ufffd')],
  ['both halves', http(200, YES.replace('yes', '\\ud83d\\ude42')), gives('🙂')],
  ['NUL', http(200, YES.replace('yes', 'a\\u0000z')), gives('a\0z')],
  ['a terminal command', json({ choices: [choice('\u001b[2J')] }), gives('\u001b[2J')],
  // Too much of it.
  ['blanks without end', flood(`${OK}\r\n`), parks('200: its reply is larger than 2 MiB')],
  ['a long header', http(200, YES, [`a: ${'x'.repeat(100_000)}`]), again('the headers of its reply are too large')],
  [
    'many headers',
    http(
      200,
      YES,
      Array.from({ length: 3000 }, (_, i) => `x-${i}: 1234`),
    ),
    again('the headers of its reply are too large'),
  ],
  ['an error without end', flood('HTTP/1.1 500 x\r\n\r\n'), again(`500 ${'x'.repeat(300)}`)],
  ['a long error', json({ error: { message: 'x'.repeat(50_000) } }, 403), parks(`403: ${'x'.repeat(300)}`)],
  // Half of the length that it is not too long for: its pattern would take seconds.
  [
    'an error that is slow to read',
    http(400, 'maximum'.repeat(9000)),
    parks(`400: ${'maximum'.repeat(50).slice(0, 300)}`),
  ],
  // HTTP that is none.
  ['another protocol', 'SSH-2.0-OpenSSH_9.6\r\n', NOT_HTTP],
  ['no head', YES, NOT_HTTP],
  ['status 000', http('000', YES), NOT_HTTP],
  ['status 1000', http(1000, YES), NOT_HTTP],
  ['status 999', http(999, 'x'), again('999 x')],
  ['a control character in a header', http(200, YES, ['a: \u0001']), NOT_HTTP],
  ['a chunk of 2^72 bytes', `${CHUNKED}ffffffffffffffffff\r\n `, NOT_HTTP],
  ['a chunk without a length', `${CHUNKED}x\r\n`, NOT_HTTP],
  ['100 without end', drip('', 'HTTP/1.1 100 x\r\n\r\n'), CUT],
  ['103, then a reply', `HTTP/1.1 103 x\r\nlink: </>\r\n\r\n${http(200, YES)}`, gives('yes')],
  ['101', 'HTTP/1.1 101 x\r\nupgrade: a\r\nconnection: upgrade\r\n\r\n', CUT],
  ['a length of 10^20', `${OK}content-length: 99999999999999999999\r\n\r\n${YES}`, CUT],
  ['two lengths', `${OK}content-length: 5\r\ncontent-length: 6\r\n\r\n${YES}`, CUT],
  [
    'a length that is too small',
    `${OK}content-length: 5\r\n\r\n${YES}`,
    other('JSON that is broken or cut off', YES.slice(0, 5)),
  ],
  ['a length and chunks', `${OK}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`, CUT],
  ['the end at once', (socket) => socket.destroy(), CUT],
  ['a reset', (socket) => socket.resetAndDestroy(), again('ECONNRESET')],
  ['the end in an error', `HTTP/1.1 401 x\r\ncontent-length: 100\r\n\r\nno`, CUT],
  // To elsewhere.
  ['file:', http(301, '', ['location: file:///etc/passwd']), parks(`301: ${REDIRECTS}`)],
  [
    'a cloud',
    http(302, '', ['location: http://u:p@169.254.169.254/latest/meta-data?q']),
    parks(`302: ${REDIRECTS.replace('another address', 'http://169.254.169.254/latest/meta-data')}`),
  ],
  [
    'with a page',
    http(301, '<html>Moved', ['location: /']),
    parks(`301: ${REDIRECTS.replace('another address', '/')}`),
  ],
  ['another site', http(307, '', ['location: //evil.example/v1']), parks(`307: ${REDIRECTS}`)],
  [
    'itself',
    http(308, '', ['location: /v1/chat/completions?q']),
    parks(`308: ${REDIRECTS.replace('another address', '/v1/chat/completions')}`),
  ],
  ['not modified', `HTTP/1.1 304 x\r\n\r\n`, parks(`304: ${REDIRECTS}`)],
  // Errors.
  ['401 and nothing', http(401, ''), parks('401: without a reason')],
  ['503 and nothing', http(503, ''), again('503 without a reason')],
  ['lines', http(404, '<p>\r\n\r\nNo\u001b[2J\tway\u2028</p>\u202e'), parks('404: <p> No [2J way </p>')],
  ['500 and bytes', http(500, Buffer.from([0, 1, 0xff, 0xfe, 0x61])), again('500 \ufffd\ufffda')],
  ['an error that is null', json({ error: null }, 402), parks('402: {"error":null}')],
  ['null for an error', http(402, 'null'), parks('402: null')],
  ['a message that is a number', json({ error: { message: 5 } }, 422), parks('422: {"error":{"message":5}}')],
  ['a detail', json({ detail: [{ msg: 'n' }] }, 422), parks('422: n')],
  ['an error in lists', http(400, `{"error":${'['.repeat(9000)}`), parks(`400: {"error":${'['.repeat(291)}`)],
  // What only the built-in server may say: a run acts on it.
  ['batch_halved', json({ error: { message: 'no', type: 'batch_halved' } }, 400), parks('400: no')],
  ['out_of_memory', json({ error: { message: 'no', type: 'out_of_memory' } }, 500), again('500 no')],
  ['wrong_model', json({ error: { message: 'no', type: 'wrong_model' } }, 404), parks('404: no')],
  // The key.
  ['the key as a reply', http(200, KEY), other('a text that is no JSON', '[the key]')],
  ['the key in broken JSON', http(200, `{"a": ${KEY}`), other('JSON that is broken or cut off', '{"a": [the key]')],
  [
    'the key in broken JSON, escaped',
    http(200, `{"a": "${KEY.replace('-', '\\u002d').replace('"', '\\"')}"`),
    other('JSON that is broken or cut off', '{"a": "[the key]"'),
  ],
  [
    'the key in a page, escaped',
    http(200, `<html>${KEY.replace('-', '&#45;').replace('"', '&#x22;')}`),
    other('an HTML page', '<html>[the key]'),
  ],
  ['the key as a protocol', `${KEY}\r\n`, NOT_HTTP],
  ['the key in its head', `HTTP/1.1 401 ${KEY}\r\nwww-authenticate: ${KEY}\r\n\r\n`, parks('401: without a reason')],
  ['the key in an address', http(401, `?k=${encodeURIComponent(KEY)}`), parks('401: ?k=[the key]')],
  [
    'the key in JSON in text',
    http(401, `It is ${JSON.stringify(KEY)}, is it?`),
    parks('401: It is "[the key]", is it?'),
  ],
  [
    'the key, escaped',
    http(401, `{"d":"${KEY.slice(0, 19).replace('-', '\\u002d')}\\u002f+\\""}`),
    parks('401: {"d":"[the key]"}'),
  ],
  [
    'the key, escaped in a text',
    http(200, YES.replace('yes', `${KEY.slice(0, 19).replace('-', '\\u002d')}\\/\\u002b\\"`)),
    gives('[the key]'),
  ],
  ['the key in base64', http(401, base64(KEY)), parks('401: [the key]g==')],
  ['the key as PHP escapes it', http(401, JSON.stringify(KEY).replace('/', '\\/')), parks('401: "[the key]"')],
  ['the key in small letters of an address', http(401, encodeURIComponent(KEY).toLowerCase()), parks('401: [the key]')],
  [
    'the key in base64 in a text',
    json({ choices: [choice(base64(`Bearer ${KEY}.`))] }),
    gives('QmVhcmVyIH[the key]Iu'),
  ],
  ['the key in base64 for addresses', http(401, base64(`a:${KEY}`, 'base64url')), parks('401: YTp[the key]')],
];

const LATE_CASES: [string, Reply][] = [
  ['nothing', () => {}],
  ['no end of the head', (socket) => socket.write(`${OK}a: b`)],
  ['a header now and then', drip(OK, 'a: b\r\n')],
  ['provisional responses without end', drip('', 'HTTP/1.1 103 x\r\n\r\n')],
  ['a chunk and nothing more', (socket) => socket.write(`${CHUNKED}1\r\n \r\n`)],
  ['chunks without end', drip(CHUNKED, '1\r\n \r\n')],
  ['one chunk with a name without end', drip(`${CHUNKED}1;`, 'a'.repeat(100))],
];

/** All at the same time: some of them are silent for as long as the client waits. */
const outcomes = new Map<string, unknown>();
beforeAll(async () => {
  const all = [
    ...CASES.map(([name, reply]) => [name, reply, {}] as const),
    ...LATE_CASES.map(([name, reply]) => [`late: ${name}`, reply, { timeoutMs: 100 }] as const),
  ];
  await Promise.all(
    all.map(async ([name, reply, options]) => {
      const found = await ask(reply, options);
      outcomes.set(name, found instanceof Error ? found.message : found);
    }),
  );
});

describe('an endpoint that answers', () => {
  it.each(CASES)('%s', (name, _reply, expected) => {
    expect(outcomes.get(name)).toEqual(expected);
  });

  it.each(LATE_CASES)('late: %s', (name) => {
    expect(outcomes.get(`late: ${name}`)).toBe(LATE);
  });

  it('any status is one sentence', async () => {
    const statuses = Array.from({ length: 43 }, (_, i) => 300 + 7 * i);
    const found = await Promise.all(statuses.map((status) => ask(http(status, 'a\nb'))));
    const wrong = found.filter(
      (one) => !(one instanceof Error && /^Engine "stub" [^\n]+ \[engine\.(refused|unreachable)\]$/.test(one.message)),
    );
    expect(wrong).toEqual([]);
  });

  it('several choices in another order: the order of the reply counts', async () => {
    const reply = json({ choices: [choice('b', { index: 1 }), choice('a', { index: 0 })] });
    expect(await ask(reply, { n: 2 })).toMatchObject([{ text: 'b' }, { text: 'a' }]);
  });
});

describe('a wait that an endpoint asks for', () => {
  // undefined: the step's own delay.
  it.each([
    ['0', undefined],
    ['59', undefined],
    ['61', 61_000],
    ['1e9', 3_600_000],
    ['9'.repeat(400), 3_600_000],
    ['Wed, 21 Oct 2099 07:28:00 GMT', 3_600_000],
    ['Wed, 21 Oct 2015 07:28:00 GMT', undefined],
    ['-1', undefined],
    ['NaN', undefined],
    ['Infinity', undefined],
    ['0x10', undefined],
    ['soon', undefined],
    ['', undefined],
    ['600\r\nretry-after: 601', undefined],
  ])('%j', async (after, waitMs) => {
    expect(await ask(http(429, 'slow', [`retry-after: ${after}`]))).toMatchObject({ retry: true, waitMs });
  });
});

describe('log-probabilities', () => {
  const asked = { messages: [], prefixes_K: ['a', 'b'], suffix: 'y', requestId: 'one' };
  const pair = (index: number, token_logprobs: unknown[] = [null, -1]) => ({ index, logprobs: { token_logprobs } });

  async function logprobs(choices: unknown) {
    const { url } = await answering((socket) => socket.end(http(200, replies.shift()!)));
    const replies = [
      '{"tokens":[],"max_model_len":9}',
      '{"tokens":[[1],[2],[3]],"max_model_len":9}',
      JSON.stringify({ choices }),
    ];
    const limit = pLimit(1);
    return new BuiltinClient('stub', { baseUrl: url, token: KEY }, 'a', limit)
      .logprobs(asked, new AbortController().signal)
      .then(
        ({ nats_KT }) => nats_KT.map((nats_T) => nats_T?.[0] ?? null),
        ({ message }) => message,
      );
  }

  it.each([
    ['in another order', [pair(1, [null, -2]), pair(0)], [-1, -2]],
    ['above zero', [pair(0, [null, 3]), pair(1)], [0, -1]],
    ['one missing', [pair(0)], parks('200: it does not give each of 2 log-probabilities once')],
    ['one twice', [pair(0), pair(0)], parks('200: it does not give each of 2 log-probabilities once')],
    ['one too many', [pair(0), pair(1), pair(1)], parks('200: it does not give each of 2 log-probabilities once')],
    ['of no prompt', [pair(0), pair(7)], parks('200: it gives no log-probabilities of the prompt')],
    ['too short', [pair(0, [null]), pair(1)], parks('200: it gives no log-probabilities of the prompt')],
    ['null', [pair(0, [null, null]), pair(1)], parks('200: it gives no log-probabilities of the prompt')],
    [
      'text',
      [pair(0, [null, '-1']), pair(1)],
      other(
        'JSON of another form (choices: 0: logprobs: token_logprobs: 1: Invalid input: expected number, received string)',
      ),
    ],
  ])('%s', async (_name, choices, expected) => {
    expect(await logprobs(choices)).toEqual(expected);
  });
});

describe('srlm doctor', () => {
  const check = async (baseUrl: string, key = KEY) => {
    process.env.STUB_KEY = key;
    const config = { kind: 'endpoint', baseUrl, model: 'm', apiKeyEnv: 'STUB_KEY', concurrency: 1 } as const;
    return new EndpointEngine('stub', { ...config, ...PLAIN, revision: '', timeoutSeconds: 1 }).check();
  };
  const fix = 'Start it, or fix baseUrl in temporal.config.ts.';

  it('sends the key to no other address', async () => {
    const elsewhere = await answering(http(200, YES));
    const { url } = await answering(http(302, '', [`location: ${elsewhere.url}/v1/models`]));
    expect(await check(url)).toEqual({ ok: false, text: `${url} redirects to another address (302)`, hint: fix });
    expect(elsewhere.requests).toEqual([]);
  });

  it('waits for no body', async () => {
    const { url } = await answering(flood(`${OK}\r\n`));
    expect(await check(url)).toMatchObject({ ok: true, text: `${url} answers` });
  });

  it('says what speaks no HTTP', async () => {
    const { url } = await answering(`${KEY}\r\n`);
    const text = `${url} does not answer (what answers there does not speak HTTP)`;
    expect(await check(url)).toEqual({ ok: false, text, hint: fix });
  });

  it('says what speaks no TLS', async () => {
    const { url } = await answering(http(200, YES));
    const secure = url.replace('http', 'https');
    const text = `${secure} does not answer (it does not speak TLS as expected; baseUrl may have to begin with http://)`;
    expect(await check(secure)).toEqual({ ok: false, text, hint: fix });
  });

  it('shows no key that cannot be sent', async () => {
    const hint = 'Set it to the key alone.';
    for (const key of [`${KEY}\nX: y`, `${KEY} `.repeat(2), `${KEY}\u2019`])
      expect(await check('http://127.0.0.1:1', key)).toEqual({
        ok: false,
        text: 'STUB_KEY holds spaces, line breaks or other characters that no key has',
        hint,
      });
  });

  it('takes a key with a line break at its end', async () => {
    const { url, requests } = await answering(http(200, YES));
    expect(await check(url, `${KEY}\n`)).toMatchObject({ ok: true });
    expect(requests[0]).toContain(`authorization: Bearer ${KEY}\r\n`);
  });
});

describe('a certificate', () => {
  it.each([
    ['CERT_HAS_EXPIRED', 'its TLS certificate has expired; renew it'],
    [
      'DEPTH_ZERO_SELF_SIGNED_CERT',
      "no authority known here has signed its TLS certificate; if it is your own, set NODE_EXTRA_CA_CERTS to that authority's file",
    ],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'its TLS certificate is for another host; set baseUrl to the name that it has'],
  ])('%s', (code, reason) => {
    const cause = Object.assign(new Error(`secret ${KEY}`), { code });
    expect(reasonOf(new ConnectionError('fetch failed', { cause }))).toBe(reason);
  });
});
