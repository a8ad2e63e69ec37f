/**
 * Catalysts from an endpoint that refuses, cuts, limits the rate and breaks the form, as a script says of each row: the
 * activities in the order in which the workflow asks for them, with a store on the disk and a worker that is lost twice.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Deps } from '../../activities/activity.js';
import { srlmDrawCatalysts, srlmPickCatalysts } from '../../activities/catalysts.js';
import { srlmIngest } from '../../activities/ingest.js';
import { srlmAssemble, srlmOpenStep, srlmShard } from '../../activities/sharded.js';
import { checkCatalystFile, mustFix } from '../../client/catalyst-check.js';
import { checkCatalysts } from '../../client/catalysts.js';
import { resolveDeployment } from '../../config/load.js';
import { CatalystSpec, type DrawOutput, type Picked, requestsOf } from '../../contracts/catalysts.js';
import type { Deployment } from '../../contracts/deployment.js';
import type { DatasetRef } from '../../contracts/refs.js';
import { Catalyst, RejectedReply } from '../../contracts/rows.js';
import type { StepDone } from '../../contracts/steps.js';
import { nextWave } from '../../method/catalysts/waves.js';
import { hash32 } from '../../method/random.js';
import { Site } from '../../worker/site.js';

const ROWS = 60;
const COUNT = 30;
/** By row: what the endpoint does when it is asked with the first seed; with another one, it answers well. */
/** Nobody answers whether the run is paused. */
const client = {
  withAbortSignal: (_: AbortSignal, work: () => unknown) => work(),
  withDeadline: () => Promise.reject(new Error('away')),
} as unknown as Client;
const KINDS = ['good', 'good', 'good', 'busy', 'filtered', 'cut', 'unformed', 'pasted'] as const;
const kindOf = (row: number) => KINDS[row % KINDS.length]!;

let folder: string;
let server: Server;
let deployment: Deployment;
/** Requests by row and seed. */
const asked = new Map<string, number>();
let answered = 0;
/** The endpoint is silent once it has answered so many. */
let stopsAfter = Number.POSITIVE_INFINITY;
let onStop: () => void = () => {};

const own = (name: string) => Array.from({ length: 30 }, (_, i) => hash32(`${name} ${i}`).toString(36)).join(' ');

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'srlm-test-catalysts-'));
  const firstSeed = new Map<number, number>();
  server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    const { messages, seed } = JSON.parse(body);
    const found = /Question: Row (\d+)/.exec(messages.at(-1).content);
    const row = Number(found?.[1] ?? -1);
    // The tiny question by which a client finds out whether others are answered.
    if (!found)
      return response.end(JSON.stringify({ choices: [{ message: { content: 'Yes.' }, finish_reason: 'stop' }] }));
    if (answered >= stopsAfter) return onStop();
    answered++;
    if (!firstSeed.has(row)) firstSeed.set(row, seed);
    const times = (asked.get(`${row} ${seed}`) ?? 0) + 1;
    asked.set(`${row} ${seed}`, times);
    const send = (status: number, value: object, headers = {}) =>
      response.writeHead(status, headers).end(JSON.stringify(value));
    const say = (content: string, finish = 'stop') =>
      send(200, {
        choices: [{ message: { content }, finish_reason: finish }],
        usage: { prompt_tokens: 9, completion_tokens: 9 },
      });
    const kind = firstSeed.get(row) === seed ? kindOf(row) : 'good';
    if (kind === 'busy' && times === 1) return send(429, { error: { message: 'wait' } }, { 'retry-after-ms': '1' });
    if (kind === 'filtered') return send(400, { error: { message: 'no', code: 'content_filter' } });
    if (kind === 'cut') return say('Skills: det', 'length');
    if (kind === 'unformed') return say(`I cannot say more than ${own(`${row}`)}`);
    const text = kind === 'pasted' ? `It is answer${row}x, clearly.` : own(`${row} ${seed}`);
    const skills = /where they fit, ([\w-]+) and ([\w-]+)/.exec(messages.at(-1).content)!;
    return say(`Skills: ${skills[1]}, ${skills[2]}\nReasoning:\n${text}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  const price = { inputPerMillion: 1, outputPerMillion: 2 };
  const teacher = { kind: 'endpoint' as const, baseUrl, model: 'm', concurrency: 4, price };
  deployment = resolveDeployment({ engines: { teacher } }, folder);
  const lines = Array.from({ length: ROWS }, (_, i) =>
    JSON.stringify({
      id: `${i}`,
      instruction: `Row ${i} is of ${own(`q${i}`)}?`,
      rationale: 'Look.',
      answer: `answer${i}x`,
    }),
  );
  writeFileSync(join(folder, 'data.jsonl'), lines.join('\n'));
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** As one worker after another does it: nothing is kept between two activities but the store. */
async function run<In, Out>(
  make: (deps: Deps) => (input: In) => Promise<Out>,
  input: unknown,
  stop?: (environment: MockActivityEnvironment) => void,
): Promise<Out> {
  const info = { workflowExecution: { workflowId: 'run', runId: 'one' } };
  const environment = new MockActivityEnvironment(info, { logger: new DefaultLogger('ERROR'), client });
  stop?.(environment);
  return environment.run(make(Site.of(deployment).deps) as never, input as never) as Promise<Out>;
}

it('become a set that is accepted; a worker that is lost costs the chunk in its hands, and nothing is asked again', async () => {
  const data = { path: 'data.jsonl' };
  const sampling = { chunkSize: 4, maxTokens: 200 };
  const spec = CatalystSpec.parse({ engine: 'teacher', count: COUNT, tries: 2, maxRequests: 90, data, sampling });
  const { input, estimate } = await checkCatalysts(spec, deployment, folder, 'run');
  expect(asked.size).toBe(0);
  expect(estimate.likely).toMatchObject({ requests: 36, completionTokens: 36 * 120 });
  expect(estimate.most).toMatchObject({ requests: 90, completionTokens: 90 * 200 });
  expect(estimate.most.money).toBeCloseTo((estimate.most.promptTokens + 2 * 90 * 200) / 1e6, 10);

  const { texts, settings } = input;
  const { chunkSize, maxFailedShare: _, ...drawn } = settings.sampling;
  const file = { kind: 'examples', source: 'data', texts, file: input.data, limit: null, chunkSize };
  const { output: ingested } = await run(srlmIngest, file);
  const whole = async (): Promise<{ picked: Picked; end: string }> => {
    let picked: Picked | null = null;
    let from = 0;
    let noneLeft = false;
    for (let waves = 0; ; waves++) {
      const before: Picked | null = picked;
      const so = { waves, counts: before?.counts ?? null, again: before?.again?.rows ?? 0, noneLeft };
      const next = nextWave(so, { count: COUNT, maxRequests: requestsOf(spec) });
      if (next.end !== null) return { picked: before!, end: next.end };
      const draw: object = {
        data: ingested.dataset,
        again: before?.again ?? null,
        againRows: next.again,
        rows: next.rows,
        from,
      };
      const { output }: StepDone<DrawOutput> = await run(srlmDrawCatalysts, { ...draw, chunkSize, seed: 0 });
      from += output.drawn;
      noneLeft ||= output.drawn < next.rows;
      const replies = await sampled(output.dataset, waves + 1);
      const pick: object = { wave: waves + 1, asked: output.dataset, replies, before, texts, count: COUNT, tries: 2 };
      picked = (await run(srlmPickCatalysts, { ...pick, maxSkillShare: 0.5 })).output;
    }
  };
  const sampled = async (dataset: DatasetRef, round: number): Promise<DatasetRef> => {
    const step = {
      ...{ step: 'sample', purpose: 'catalyst', engine: 'teacher', model: null, data: dataset, texts, round },
      ...{ enrichFrom: 'original', sampling: { ...drawn, k: 1 }, seed: 0, deterministic: false },
    };
    const opened = await run(srlmOpenStep, step);
    if (opened.done) return opened.done.output.dataset;
    const range = { step: opened.step, from: 0, to: opened.chunks, share: null, countedUntil: 0 };
    // In the first wave the worker is lost twice, in the middle of a chunk.
    for (const after of round === 1 ? [10, 21] : []) {
      stopsAfter = after;
      const attempt = run(srlmShard, range, (environment) => {
        onStop = () => environment.cancel('CANCELLED');
      });
      await expect(attempt).rejects.toThrow();
    }
    stopsAfter = Number.POSITIVE_INFINITY;
    await run(srlmShard, range);
    return (await run(srlmAssemble, { step: opened.step })).output.dataset;
  };

  const { picked, end } = await whole();
  expect(end).toBe('count');
  const { counts } = picked;
  expect(counts.kept).toBe(COUNT);
  const oftener = [...asked].filter(([key, times]) => times > (kindOf(Number(key.split(' ')[0])) === 'busy' ? 2 : 1));
  // Two chunks were in hand; without the records of chunks it would be all that the two workers had asked.
  expect(oftener.length).toBeLessThanOrEqual(2 * chunkSize);
  expect(counts.asked).toBe(asked.size);

  const { datasets } = Site.of(deployment).deps.store;
  const catalysts: Catalyst[] = [];
  for await (const row of datasets.rows(picked.catalysts, Catalyst)) catalysts.push(row);
  const why = new Map<string, number>();
  for await (const row of datasets.rows(picked.rejected, RejectedReply)) why.set(row.why, (why.get(row.why) ?? 0) + 1);
  for (const cause of ['filtered', 'cut', 'no-skills-line', 'answer-given-away'])
    expect(why.get(cause)).toBeGreaterThan(0);
  expect([...why.values()].reduce((sum, one) => sum + one, 0)).toBe(counts.asked - COUNT);

  writeFileSync(join(folder, 'catalysts.jsonl'), catalysts.map((one) => JSON.stringify(one)).join('\n'));
  const report = await checkCatalystFile({ file: 'catalysts.jsonl', fields: {}, training: 'data.jsonl' }, folder);
  expect(mustFix(report)).toBe(false);
  expect(report).toMatchObject({ catalysts: COUNT, trainingRows: ROWS, withoutSkills: 0 });

  // Another run with the same spec finds everything.
  const before = answered;
  expect(await whole()).toEqual({ picked, end });
  expect(answered).toBe(before);
});
