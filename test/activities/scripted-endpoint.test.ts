/**
 * An endpoint that misbehaves in every way that is known, a different one for each of 2,000 rows, against the real
 * activities: each row has texts or reasons, what is counted is what the script has sent, and no row is asked about more
 * often than its answers call for.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { srlmAssemble, srlmShard } from '../../activities/sharded.js';
import { resolveDeployment } from '../../config/load.js';
import type { TextCounts } from '../../contracts/counts.js';
import type { ObjectRef } from '../../contracts/refs.js';
import { Candidate } from '../../contracts/rows.js';
import { SampleSpec, splitSampleSpec } from '../../contracts/spec.js';
import type { Assembled, ShardOutput, StepDone } from '../../contracts/steps.js';
import { TOO_LONG } from '../../engines/client.js';
import { random } from '../../method/random.js';
import { Site } from '../../worker/site.js';

const ROWS = 2000;
const CHUNK = 500;
const K = 2;
const MAX_TOKENS = 64;

/** One answer: to the nth request about a row. */
interface Answer {
  status?: number;
  headers?: Record<string, string>;
  body?: unknown;
  raw?: string | Buffer;
  /** The connection breaks. */
  breaks?: boolean;
}

/** What comes of a row: the K texts' fields, and the requests that it takes. */
interface Kind {
  answer(times: number, maxTokens: number): Answer;
  comesOf: { text: string; finish: string; reason: string | null };
  requests: number;
}

const choice = (content: unknown, finish_reason: unknown = 'stop', more = {}) => ({
  message: { content, ...more },
  finish_reason,
});
const both = (one: unknown): Answer => ({
  body: { choices: [one, one], usage: { prompt_tokens: 9, completion_tokens: 4 } },
});
const yes = both(choice('Yes.'));
const refusal = (status: number, error: object, headers = {}): Answer => ({ status, body: { error }, headers });
const text = { text: 'Yes.', finish: 'stop', reason: null };
const without = (finish: string, reason: string | null) => ({ text: '', finish, reason });
const event = (delta: object, finish_reason: string | null = null) =>
  [0, 1].map((index) => `data: ${JSON.stringify({ choices: [{ index, delta, finish_reason }] })}\n\n`).join('');
const always = (answer: Answer) => () => answer;
const first =
  (answer: Answer, count = 1) =>
  (times: number) =>
    times <= count ? answer : yes;

const KINDS: Kind[] = [
  { answer: always(yes), comesOf: text, requests: 1 },
  {
    answer: always(
      both(
        choice([
          { type: 'text', text: 'Ye' },
          { type: 'text', text: 's.' },
        ]),
      ),
    ),
    comesOf: text,
    requests: 1,
  },
  { answer: always(both(choice('Yes.', 'stop', { reasoning: 'Hm.' }))), comesOf: text, requests: 1 },
  {
    answer: always({
      raw: `${event({ content: 'Ye' })}${event({ content: 's.' })}${event({}, 'stop')}data: [DONE]\n\n`,
    }),
    comesOf: text,
    requests: 1,
  },
  {
    answer: always({ raw: gzipSync(JSON.stringify(yes.body)), headers: { 'content-encoding': 'gzip' } }),
    comesOf: text,
    requests: 1,
  },
  {
    answer: always({
      body: { choices: [choice('Yes.'), choice('Yes.')], usage: { prompt_tokens: -1, completion_tokens: 'x' } },
    }),
    comesOf: text,
    requests: 1,
  },
  {
    answer: always(both(choice('Yes', 'length'))),
    comesOf: { text: 'Yes', finish: 'length', reason: null },
    requests: 1,
  },
  {
    answer: always(both(choice(null, 'length', { reasoning_content: 'Hm' }))),
    comesOf: without('length', 'the reasoning used up the tokens'),
    requests: 1,
  },
  {
    answer: always(both(choice('Ye', 'content_filter'))),
    comesOf: { text: 'Ye', finish: 'filtered', reason: 'content_filter' },
    requests: 1,
  },
  {
    answer: always(refusal(400, { message: 'no', code: 'content_filter' })),
    comesOf: without('filtered', 'content_filter'),
    requests: 1,
  },
  {
    answer: always(both(choice(null, 'stop', { refusal: 'I cannot.' }))),
    comesOf: without('refused', 'refusal: I cannot.'),
    requests: 1,
  },
  {
    answer: always(refusal(422, { message: 'The prompt is too long: 70 tokens.' })),
    comesOf: without('refused', TOO_LONG),
    requests: 1,
  },
  { answer: always({ status: 413, raw: '<html>' }), comesOf: without('refused', TOO_LONG), requests: 1 },
  {
    answer: (_, most) =>
      most > 40
        ? refusal(400, {
            message: 'max_tokens 64 does not fit: the context length is 60 and the prompt has 20 tokens.',
          })
        : yes,
    comesOf: text,
    requests: 2,
  },
  {
    answer: always(refusal(400, { message: 'I do not like it' })),
    comesOf: without('refused', '400: I do not like it'),
    requests: 1,
  },
  { answer: always({ body: { choices: [] } }), comesOf: without('other', 'the endpoint sent no choices'), requests: 3 },
  { answer: always(both(choice(''))), comesOf: without('other', 'the endpoint sent no text'), requests: 3 },
  {
    answer: always({ raw: '<html>Blocked' }),
    comesOf: without('other', 'the endpoint sent an HTML page'),
    requests: 3,
  },
  { answer: first({ raw: '<html>Wait' }), comesOf: text, requests: 2 },
  { answer: first(both(choice(null))), comesOf: text, requests: 2 },
  { answer: first(refusal(429, { message: 'slow down' }, { 'retry-after-ms': '1' }), 2), comesOf: text, requests: 3 },
  { answer: first(refusal(503, { message: 'busy' }, { 'retry-after': '0' })), comesOf: text, requests: 2 },
  {
    answer: first({ body: { error: { message: 'busy', code: 502 } }, headers: { 'retry-after': '0' } }),
    comesOf: text,
    requests: 2,
  },
  { answer: first({ breaks: true }), comesOf: text, requests: 2 },
];

const draw = random(7);
const kinds = Array.from({ length: ROWS }, () => KINDS[Math.floor(draw() * KINDS.length)]!);
const requests = new Array<number>(ROWS).fill(0);
/** The tiny question by which a client finds out whether others are answered. */
let probes = 0;

let folder: string;
let server: Server;
let site: Site;
let step: ObjectRef;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'srlm-test-scripted-'));
  server = createServer(async (request, response) => {
    let asked = '';
    for await (const part of request) asked += part;
    const { messages, max_tokens: most } = JSON.parse(asked);
    const row = /^row (\d+)$/.exec(messages.at(-1).content)?.[1];
    if (row === undefined) probes++;
    play(response, row === undefined ? yes : kinds[Number(row)]!.answer(++requests[Number(row)]!, most));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  site = Site.of(resolveDeployment({ engines: { teacher: { kind: 'endpoint', baseUrl, model: 'm' } } }, folder));
  step = await stored();
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

function play(response: ServerResponse, { status = 200, headers = {}, body, raw, breaks }: Answer): void {
  if (breaks) return void response.destroy();
  response.writeHead(status, headers).end(raw ?? JSON.stringify(body));
}

async function stored(): Promise<ObjectRef> {
  const { objects, datasets } = site.deps.store;
  const spec = SampleSpec.parse({
    ...{ engine: 'teacher', data: { path: 'rows.jsonl' } },
    sampling: { k: K, maxTokens: MAX_TOKENS },
  });
  const { settings, texts } = splitSampleSpec(spec);
  const ids = Array.from({ length: ROWS }, (_, i) => ({ id: `${i}`, instruction: `row ${i}` }));
  const chunks = Array.from({ length: ROWS / CHUNK }, (_, i) => ids.slice(i * CHUNK, (i + 1) * CHUNK));
  const data = await datasets.put(await Promise.all(chunks.map((rows) => objects.putRows(rows))));
  const { chunkSize: _, maxFailedShare: __, ...sampling } = settings.sampling;
  return objects.putJson({
    ...{ step: 'sample', purpose: 'prompt', engine: 'teacher', model: null, enrichFrom: 'original' },
    ...{ data, texts: await objects.putJson(texts), sampling, seed: 0, round: 0, deterministic: false },
  });
}

function run<Out>(activity: (input: never) => Promise<unknown>, input: object): Promise<Out> {
  const info = { workflowExecution: { workflowId: 'run', runId: 'one' } };
  const environment = new MockActivityEnvironment(info, { logger: new DefaultLogger('ERROR') });
  return environment.run(activity as never, input as never) as Promise<Out>;
}

/** What the script has sent, counted as a step counts. */
function scripted(): Partial<TextCounts> {
  const one = kinds.map(({ comesOf }) => comesOf);
  const count = (isCounted: (row: Kind['comesOf']) => boolean) => K * one.filter(isCounted).length;
  const isEmpty = ({ text }: Kind['comesOf']) => text === '';
  return {
    rows: ROWS,
    asked: K * ROWS,
    withText: one.filter((row) => !isEmpty(row)).length,
    texts: count((row) => !isEmpty(row)),
    cut: count(({ finish }) => finish === 'length'),
    filtered: count(({ finish }) => finish === 'filtered'),
    refused: count(({ finish }) => finish === 'refused'),
    empty: count(({ finish }) => finish === 'other'),
    suspect: count(({ finish }) => finish === 'other'),
  };
}

it('gives each row a text or a reason, and counts what the script has sent', async () => {
  const shards = Array.from({ length: ROWS / CHUNK }, (_, i) => ({
    step,
    from: i,
    to: i + 1,
    share: null,
    countedUntil: 0,
  }));
  const done = await Promise.all(shards.map((shard) => run<ShardOutput>(srlmShard(site.deps), shard)));
  expect(done.every(({ complete }) => complete)).toBe(true);
  const { output } = await run<StepDone<Assembled>>(srlmAssemble(site.deps), { step });
  expect(output.counts).toMatchObject(scripted());

  const { store } = site.deps;
  const candidates: Candidate[] = [];
  for await (const candidate of store.datasets.rows(output.dataset, Candidate)) candidates.push(candidate);
  expect(candidates).toHaveLength(K * ROWS);
  const wrong = candidates.filter(({ id, text, finish, reason }) => {
    const expected = kinds[Number(id)]!.comesOf;
    return text !== expected.text || finish !== expected.finish || reason !== expected.reason;
  });
  expect(wrong).toEqual([]);
  const oftener = requests.flatMap((count, row) => (count === kinds[row]!.requests ? [] : [{ row, count }]));
  expect(oftener).toEqual([]);
  expect(probes).toBeLessThan(ROWS / 100);
});
