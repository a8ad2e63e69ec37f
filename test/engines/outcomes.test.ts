/** What becomes of each kind of answer: a text, the reason why a row has none, or an error; and after how many requests. */
import pLimit from 'p-limit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChatClient, PLAIN, type SampleRequest, TOO_LONG } from '../../engines/client.js';
import { Dialect, type DialectSettings } from '../../engines/dialect.js';
import { baseUrlOf, closeServers, serve } from './serve.js';

type Body = Record<string, unknown> & { messages: { content: string }[]; n?: number };
type Answer = { status?: number; body: unknown; headers?: Record<string, string>; after?: Promise<void> };
/** By the row that is asked about, and how often it was. */
type Script = (body: Body, times: number) => Answer;

const never = new AbortController().signal;
let script: Script;
let bodies: Body[] = [];
let url: URL;
beforeAll(async () => {
  url = await serve(async (request, response) => {
    let text = '';
    for await (const part of request) text += part;
    const body = JSON.parse(text) as Body;
    bodies.push(body);
    const {
      status = 200,
      body: answer,
      headers,
      after,
    } = script(body, bodies.filter((one) => asks(one) === asks(body)).length);
    await after;
    response.writeHead(status, headers);
    response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  });
});
afterAll(closeServers);

const asks = ({ messages }: Body) => messages.at(-1)!.content;
const ODD = 'odd';
const choice = (content: unknown, finish_reason: unknown = 'stop', more = {}) => ({
  message: { content, ...more },
  finish_reason,
});
const yes = ({ n = 1 }: Body) => ({ body: { choices: Array.from({ length: n }, () => choice('yes')) } });
const error = (status: number, message: string, more = {}) => ({ status, body: { error: { message, ...more } } });
const request = (content: string, more: Partial<SampleRequest> = {}): SampleRequest => ({
  messages: [{ role: 'user', content }],
  ...{ n: 1, seed: 5, temperature: 0.7, topP: 1, topK: 3, maxTokens: 64, stop: [], requestId: content },
  ...more,
});

function opened(
  played: Script,
  {
    settings = {},
    concurrency = 8,
    timeoutMs = 5000,
  }: { settings?: Partial<DialectSettings>; concurrency?: number; timeoutMs?: number } = {},
) {
  script = played;
  bodies = [];
  const said: string[] = [];
  const client = new ChatClient({
    ...{ name: 'stub', baseUrl: baseUrlOf(url), address: 'http://there', apiKey: 'none', model: 'm' },
    limit: pLimit(concurrency),
    dialect: new Dialect({ ...PLAIN, ...settings }, (what) => said.push(what)),
    retry: { retries: 4, timeoutMs, pauseMs: 1 },
  });
  const ask = (content: string, more: Partial<SampleRequest> = {}) =>
    client.sample(request(content, more), never).then(
      (found) => found.map(({ text, finish, reason }) => [text, finish, reason]),
      ({ message }) => message as string,
    );
  return { ask, said };
}

describe('one row', () => {
  // The other rows are answered; n is 2.
  it.each<[string, (times: number) => Answer, [string, string, string | null][], number]>([
    [
      'a filter',
      () => error(400, 'no', { code: 'content_filter' }),
      [
        ['', 'filtered', 'content_filter'],
        ['', 'filtered', 'content_filter'],
      ],
      1,
    ],
    [
      'a filter at the end',
      () => ({ body: { choices: [choice('ye', 'content_filter'), choice('yes')] } }),
      [
        ['ye', 'filtered', 'content_filter'],
        ['yes', 'stop', null],
      ],
      1,
    ],
    [
      'a refusal',
      () => ({
        body: {
          choices: [
            choice(null, 'stop', { refusal: "I'm sorry, but I cannot help anybody with a request of this kind." }),
            choice('yes'),
          ],
        },
      }),
      [
        ['', 'refused', "refusal: I'm sorry, but I cannot help anybody"],
        ['yes', 'stop', null],
      ],
      1,
    ],
    [
      'a prompt that is too long',
      () => error(422, 'Input is too long for requested model.'),
      [
        ['', 'refused', TOO_LONG],
        ['', 'refused', TOO_LONG],
      ],
      1,
    ],
    [
      'a body that is too large',
      () => ({ status: 413, body: '<html>' }),
      [
        ['', 'refused', TOO_LONG],
        ['', 'refused', TOO_LONG],
      ],
      1,
    ],
    [
      'no choices',
      () => ({ body: { choices: [] } }),
      [
        ['', 'other', 'the endpoint sent no choices'],
        ['', 'other', 'the endpoint sent no choices'],
      ],
      3,
    ],
    [
      'no text',
      () => ({ body: { choices: [choice(''), choice(null)] } }),
      [
        ['', 'other', 'the endpoint sent no text'],
        ['', 'other', 'the endpoint sent no text'],
      ],
      3,
    ],
    [
      'no text, once',
      (times) => ({ body: { choices: [choice(times === 1 ? '' : 'yes'), choice(null)] } }),
      [
        ['yes', 'stop', null],
        ['', 'other', 'the endpoint sent no text'],
      ],
      2,
    ],
    [
      'reasoning until the end',
      () => ({ body: { choices: [choice(null, 'length', { reasoning_content: 'Hm' }), choice('', 'length')] } }),
      [
        ['', 'length', 'the reasoning used up the tokens'],
        ['', 'length', 'no text came before maxTokens'],
      ],
      1,
    ],
    [
      'a call',
      () => ({ body: { choices: [choice(null, 'tool_calls', { tool_calls: [{}] }), choice('yes')] } }),
      [
        ['', 'other', 'the endpoint sent a tool call, no text'],
        ['yes', 'stop', null],
      ],
      1,
    ],
    [
      'ends with other names',
      () => ({ body: { choices: [choice('a', 'eos_token'), choice('b', 'MAX_TOKENS')] } }),
      [
        ['a', 'stop', null],
        ['b', 'length', null],
      ],
      1,
    ],
    [
      'a page',
      () => ({ body: '<html>Blocked' }),
      [
        ['', 'other', 'the endpoint sent an HTML page'],
        ['', 'other', 'the endpoint sent an HTML page'],
      ],
      3,
    ],
    [
      'a page, twice',
      (times) => (times < 3 ? { body: '<html>' } : yes({ n: 2 } as Body)),
      [
        ['yes', 'stop', null],
        ['yes', 'stop', null],
      ],
      3,
    ],
    [
      'a refusal that nobody knows',
      () => error(400, 'I do not like it'),
      [
        ['', 'refused', '400: I do not like it'],
        ['', 'refused', '400: I do not like it'],
      ],
      1,
    ],
    [
      'an error in a reply',
      () => ({ body: { error: { message: 'Oops' } } }),
      [
        ['', 'other', 'an error: Oops'],
        ['', 'other', 'an error: Oops'],
      ],
      3,
    ],
    [
      'a busy provider in a reply',
      (times) => (times < 3 ? { body: { error: { message: 'busy', code: 502 } } } : yes({ n: 2 } as Body)),
      [
        ['yes', 'stop', null],
        ['yes', 'stop', null],
      ],
      3,
    ],
    [
      'a filter in a reply',
      () => ({ body: { choices: [], error: { message: 'no', code: 'content_filter' } } }),
      [
        ['', 'filtered', 'content_filter'],
        ['', 'filtered', 'content_filter'],
      ],
      1,
    ],
    [
      'a text that is broken off',
      () => ({
        body: {
          choices: [choice('hal', 'error'), { ...choice('hal'), error: { message: 'Connection lost', code: 502 } }],
        },
      }),
      [
        ['', 'other', 'the endpoint broke off: error'],
        ['', 'other', 'the endpoint broke off: Connection lost'],
      ],
      3,
    ],
    [
      'a text that is broken off, once',
      (times) => (times === 1 ? { body: { choices: [choice('hal', 'abort')] } } : yes({ n: 2 } as Body)),
      [
        ['yes', 'stop', null],
        ['yes', 'stop', null],
      ],
      2,
    ],
    [
      'a stream that is cut off',
      () => ({ body: 'data: {"choices":[{"index":0,"delta":{"content":"hal"}}]}\n\n' }),
      [
        ['', 'other', 'the endpoint sent a stream of events that is broken or cut off'],
        ['', 'other', 'the endpoint sent a stream of events that is broken or cut off'],
      ],
      3,
    ],
    [
      'a stream with an error in the middle',
      () => ({
        body: 'data: {"choices":[{"index":0,"delta":{"content":"hal"}}]}\n\ndata: {"error":{"message":"lost"},"choices":[]}\n\n',
      }),
      [
        ['', 'other', 'an error: lost'],
        ['', 'other', 'an error: lost'],
      ],
      3,
    ],
    [
      'a stream of parts',
      () => ({
        body: [0, 1]
          .map((index) => ({ index, delta: { content: [{ type: 'text', text: 'ye' }] }, finish_reason: null }))
          .flatMap((one) => [one, { ...one, delta: { content: 's' }, finish_reason: 'stop' }])
          .map((one) => `data: ${JSON.stringify({ choices: [one] })}\n\n`)
          .join(''),
      }),
      [
        ['yes', 'stop', null],
        ['yes', 'stop', null],
      ],
      1,
    ],
    [
      'an error beside an empty text',
      () => ({ body: { choices: [choice('')], error: { message: 'Oops' } } }),
      [
        ['', 'other', 'an error: Oops'],
        ['', 'other', 'an error: Oops'],
      ],
      3,
    ],
    [
      'a failure, whenever it is asked',
      () => error(500, 'crashed'),
      [
        ['', 'other', 'an error: 500 crashed'],
        ['', 'other', 'an error: 500 crashed'],
      ],
      10,
    ],
    [
      'a failure that has passed when others are answered',
      (times) => (times <= 5 ? error(502, 'away') : yes({ n: 2 } as Body)),
      [
        ['yes', 'stop', null],
        ['yes', 'stop', null],
      ],
      6,
    ],
    [
      'as many texts as it likes',
      () => ({ body: { choices: [choice('a'), choice('b'), choice('c')] } }),
      [
        ['a', 'stop', null],
        ['b', 'stop', null],
      ],
      1,
    ],
  ])('%s', async (_name, odd, expected, requests) => {
    const { ask } = opened((body, times) => (asks(body) === ODD ? odd(times) : yes(body)));
    expect(await ask(ODD, { n: 2 })).toEqual(expected);
    expect(bodies.filter((body) => asks(body) === ODD)).toHaveLength(requests);
  });
});

describe('all rows', () => {
  it.each<[string, Answer, string, number]>([
    [
      'a page',
      { body: '<html>Sign in' },
      'Engine "stub" at http://there sent an HTML page in place of an answer of OpenAI\'s chat API; it begins: <html>Sign in. Check baseUrl in temporal.config.ts, and what is between it and this machine; then `srlm retry`. [engine.not-understood]',
      4,
    ],
    [
      'a refusal',
      error(400, 'I do not like it'),
      'Engine "stub" at http://there refused the request (400: I do not like it). Fix the cause, then `srlm retry`. [engine.refused]',
      2,
    ],
    [
      'a key',
      error(401, 'no'),
      'Engine "stub" at http://there refused the request (401: no). Set the variable that apiKeyEnv names to a valid key, start the worker again, then `srlm retry`. [engine.refused]',
      1,
    ],
    [
      'a quota',
      error(429, 'no', { code: 'insufficient_quota' }),
      'Engine "stub" at http://there refused the request (429: no). The money or the quota of its account is used up: see to that, then `srlm retry`. [engine.refused]',
      1,
    ],
    [
      'money, with the status of anything',
      error(400, 'Your credit balance is too low to access the API.'),
      'Engine "stub" at http://there refused the request (400: Your credit balance is too low to access the API.). The money or the quota of its account is used up: see to that, then `srlm retry`. [engine.refused]',
      1,
    ],
    [
      'an address',
      error(404, 'Not Found'),
      'Engine "stub" at http://there refused the request (404: Not Found). Check baseUrl (of most endpoints it ends in /v1) and model in temporal.config.ts, start the worker again, then `srlm retry`. [engine.refused]',
      1,
    ],
    [
      'a failure',
      error(503, 'no'),
      'Engine "stub" at http://there does not answer (503 no). It is tried again; see its log or `srlm doctor`. [engine.unreachable]',
      5,
    ],
    [
      'maxTokens',
      error(400, 'max_tokens 64 does not fit: the maximum context length is 48 and the prompt has 20 tokens.'),
      'Engine "stub" at http://there refused the request (400: max_tokens 64 does not fit: the maximum context length is 48 and the prompt has 20 tokens.). sampling.maxTokens does not fit the context of its model: lower it, then `srlm retry`. [engine.refused]',
      2,
    ],
  ])('%s', async (_name, answer, message, requests) => {
    const { ask } = opened(() => answer);
    expect(await ask(ODD)).toBe(message);
    expect(bodies).toHaveLength(requests);
    // The rows that wait would get the same, and are not sent.
    expect(await ask('another')).toBe(message);
    expect(bodies).toHaveLength(answer.status === 503 ? 2 * requests : requests);
  });
});

describe('what an endpoint takes is found out once', () => {
  const cases: [string, string, Script, string, object][] = [
    [
      'top_p',
      '`top_p` must be > 0.0 and < 1.0',
      yes,
      'It does not take top_p: requests are sent without it.',
      { temperature: 0.7 },
    ],
    [
      'max_tokens',
      "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
      yes,
      'It does not take max_tokens: requests have max_completion_tokens (maxTokensField: max_completion_tokens).',
      { max_completion_tokens: 64 },
    ],
    [
      'seed',
      "property 'seed' is unsupported",
      yes,
      'It does not take seed: requests are sent without it (seed: false).',
      { n: 2 },
    ],
    [
      'top_k',
      'Unrecognized request argument supplied: top_k',
      yes,
      'It does not take top_k: requests are sent without it (topK: false).',
      { seed: 5 },
    ],
    [
      'n',
      "'n' : number must be at most 1",
      yes,
      'It does not take n: requests are sent without it (n: false).',
      { seed: 5 },
    ],
    [
      'temperature',
      "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported.",
      yes,
      'It does not take temperature: requests are sent without it.',
      { seed: 5 },
    ],
  ];
  it.each(cases)('%s', async (name, message, play, line, left) => {
    const { ask, said } = opened((body) => (name in body ? error(400, message) : play(body, 1)));
    const found = await Promise.all(['a', 'b', 'c'].map((row) => ask(row, { n: 2 })));
    expect(found).toEqual(Array(3).fill(Array(2).fill(['yes', 'stop', null])));
    expect(said).toEqual([line]);
    expect(bodies.at(-1)).not.toHaveProperty(name);
    const before = bodies.length;
    await ask('d', { n: 2 });
    expect(bodies.slice(before).every((body) => !(name in body))).toBe(true);
    expect(bodies[before]).toMatchObject(left);
  });

  it.each([
    'This model only support stream mode, please enable the stream parameter to access the model.',
    'Requests with max_tokens > 4096 must have stream=true',
    'parameter.enable_thinking must be set to false for non-streaming calls',
  ])('that it streams alone: %s', async (message) => {
    const event = { choices: [{ index: 0, delta: { content: 'yes' }, finish_reason: 'stop' }] };
    const { ask, said } = opened((body) =>
      body.stream ? { body: `data: ${JSON.stringify(event)}\n\ndata: [DONE]\n\n` } : error(400, message),
    );
    expect(await ask('a')).toEqual([['yes', 'stop', null]]);
    await ask('b');
    expect(bodies.map(({ stream }) => stream)).toEqual([undefined, true, true]);
    expect(said).toEqual(['It answers with event streams alone: requests ask for them.']);
  });

  it('the most that it writes', async () => {
    const { ask } = opened((body) =>
      (body.max_tokens as number) > 16
        ? error(400, 'max_tokens is too large: 64. This model supports at most 16 completion tokens.')
        : yes(body),
    );
    await ask('a');
    await ask('b');
    expect(bodies.map(({ max_tokens }) => max_tokens)).toEqual([64, 16, 16]);
  });

  it('the room that one prompt leaves, for that prompt alone', async () => {
    const { ask } = opened((body) =>
      asks(body) === ODD && (body.max_tokens as number) > 28
        ? error(400, 'max_tokens 64 does not fit: the maximum context length is 48 and the prompt has 20 tokens.')
        : yes(body),
    );
    expect(await ask(ODD)).toEqual([['yes', 'stop', null]]);
    await ask('b');
    expect(bodies.map(({ max_tokens }) => max_tokens)).toEqual([64, 28, 64]);
  });

  it('does not touch what the user has set by hand', async () => {
    const message = 'Unrecognized request argument supplied: top_k';
    const { ask } = opened(() => error(400, message), { settings: { extraBody: { top_k: 5 } } });
    expect(await ask('a')).toContain(message);
    expect(bodies[0]).toMatchObject({ top_k: 5 });
  });
});

it('asks for each text with a seed of its own where n is not to be sent', async () => {
  const { ask } = opened(yes, { settings: { n: false } });
  await ask('a', { n: 3 });
  expect(bodies.map(({ n, seed }) => [n, seed])).toEqual([
    [undefined, 5],
    [undefined, 6],
    [undefined, 7],
  ]);
});

it('takes no answer to an earlier request for a sign that others are answered', async () => {
  let answer = () => {};
  const isAnswered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  // The first row is asked about while the key is valid, and answered when it no longer is.
  const { ask } = opened((body) =>
    asks(body) === 'early' ? { ...yes(body), after: isAnswered } : error(403, 'expired'),
  );
  const early = ask('early');
  const late = ask('late');
  setTimeout(answer, 2);
  expect(await early).toEqual([['yes', 'stop', null]]);
  expect(await late).toContain('(403: expired)');
});

it('gives up a row that gets no reply in time while others get one, and does not ask again', async () => {
  const { ask } = opened(
    (body) =>
      asks(body) === ODD ? { ...yes(body), after: new Promise((resolve) => setTimeout(resolve, 1000)) } : yes(body),
    { timeoutMs: 100 },
  );
  const reason = 'the endpoint did not answer: its reply was not complete in time';
  expect(await ask(ODD)).toEqual([['', 'other', reason]]);
  expect(bodies.filter((body) => asks(body) === ODD)).toHaveLength(5);
});

it('waits for its turn as long as a busy endpoint answers others', async () => {
  const { ask } = opened((body, times) => (asks(body) === ODD && times <= 12 ? error(429, 'slow down') : yes(body)));
  let isWaiting = true;
  const odd = ask(ODD).finally(() => {
    isWaiting = false;
  });
  for (let i = 0; isWaiting; i++) await ask(`row ${i}`);
  expect(await odd).toEqual([['yes', 'stop', null]]);
});

it('asks whether others are answered before the rows that wait', async () => {
  const { ask } = opened(() => error(403, 'no'), { concurrency: 4 });
  await Promise.all(Array.from({ length: 100 }, (_, i) => ask(`row ${i}`)));
  expect(bodies.length).toBeLessThan(50);
});

it('stops asking for the rows that wait, once the endpoint has refused all', async () => {
  const { ask } = opened(() => error(401, 'no'), { concurrency: 4 });
  await Promise.all(Array.from({ length: 100 }, (_, i) => ask(`row ${i}`)));
  expect(bodies.length).toBeLessThanOrEqual(8);
});
