/** What sampling asks, what it keeps, and for whom: the activities with a scripted engine. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Deps } from '../../activities/activity.js';
import { srlmCurves } from '../../activities/curves.js';
import { srlmIngest } from '../../activities/ingest.js';
import { srlmMix } from '../../activities/mix.js';
import { srlmAssemble, srlmOpenStep, srlmShard } from '../../activities/sharded.js';
import { resolveDeployment } from '../../config/load.js';
import { CurvesReport } from '../../contracts/curves.js';
import type { DatasetRef } from '../../contracts/refs.js';
import { Candidate, type Message, TrainingRow } from '../../contracts/rows.js';
import { PromptTemplates, RunSpec, Sampling, splitRunSpec } from '../../contracts/spec.js';
import type { Assembled, SampleStep, ShardedStep, StepDone } from '../../contracts/steps.js';
import type { Completion, EngineClient } from '../../engines/client.js';
import { Site } from '../../worker/site.js';

let folder: string;
let deps: Deps;
/** What the engine was asked, in order, and what it answers to a question. */
let asked: Message[][];
let answer: (question: string) => Partial<Completion>;
let loadsWeights: boolean;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'srlm-test-sampling-'));
  asked = [];
  answer = () => ({});
  loadsWeights = false;
  const client: EngineClient = {
    async sample({ messages, n }) {
      asked.push(messages);
      const said = { text: 'So.', finish: 'stop', reason: null, tokens: 1, seed: null } as const;
      return Array.from({ length: n }, () => ({ ...said, ...answer(messages.at(-1)!.content) }));
    },
    async logprobs({ messages, prefixes_K }) {
      asked.push(messages);
      return { nats_KT: prefixes_K.map(() => [-1]) };
    },
  };
  const engine = {
    ...{ name: 'scripted', servers: [], quietMs: 0, identity: () => 'weights', money: () => 0 },
    get capabilities() {
      return { loadsWeights, promptLogprobs: true };
    },
    withClient: async <T>(_: unknown, __: unknown, ___: unknown, work: (one: EngineClient) => Promise<T>) =>
      work(client),
  };
  const site = Site.of(resolveDeployment({}, folder));
  deps = { ...site.deps, engines: { engine: () => engine } } as unknown as Deps;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function as<In, Out>(run: string, activity: (input: In) => Promise<Out>, input: In): Promise<Out> {
  const info = { workflowExecution: { workflowId: run, runId: 'one' } };
  const environment = new MockActivityEnvironment(info, { logger: new DefaultLogger('ERROR') });
  return environment.run(activity as never, input as never) as Promise<Out>;
}

const dataset = async (rows: object[]) => deps.store.datasets.put([await deps.store.objects.putRows(rows)]);
const { chunkSize: _, maxFailedShare: __, ...drawn } = Sampling.parse({ k: 2 });

async function texts(prompts: object = {}) {
  const spec = RunSpec.parse({
    ...{ model: { path: 'm' }, data: { path: 'd.jsonl' }, catalysts: 'none', prompts: PromptTemplates.parse(prompts) },
  });
  return deps.store.objects.putJson(splitRunSpec(spec).texts);
}

const sampleStep = async (data: DatasetRef, changes: Partial<SampleStep> = {}): Promise<SampleStep> => ({
  ...{ step: 'sample', purpose: 'prompt', engine: 'scripted', model: null, data, texts: await texts() },
  ...{ enrichFrom: 'original', sampling: { ...drawn, stop: [] }, seed: 0, round: 0, deterministic: false },
  ...changes,
});

/** The whole step, as a workflow does it. */
async function whole(
  run: string,
  step: ShardedStep,
  suspects: { since: number; forkOf: string | null } = { since: 0, forkOf: null },
): Promise<StepDone<Assembled>> {
  const opened = await as(run, srlmOpenStep(deps), step);
  if (opened.done) return opened.done;
  const range = { from: 0, to: opened.chunks, share: null, countedUntil: 0 };
  await as(run, srlmShard(deps), { step: opened.step, ...range, suspects });
  return as(run, srlmAssemble(deps), { step: opened.step, suspects });
}

describe('a question is asked as its kind of row was trained', () => {
  it('in the mixture, in the evaluation and when answers are scored: the template is applied once', async () => {
    loadsWeights = true;
    const prompts = await texts({ answer: 'Question: {instruction}' });
    const user = { role: 'user', content: 'Question: Why?' };
    const before: Message[] = [
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: 'Hi.' },
    ];
    const turns: Message[] = [...before, { role: 'user', content: 'Why?' }];
    const example = { original: 'r', rationale: 'r', answer: 'so', origin: null };
    const examples = await dataset([
      { id: 'a', instruction: 'Why?', turns: null, ...example },
      { id: 'b', instruction: 'all of it', turns, ...example },
    ]);
    const mixed = await as('run', srlmMix(deps), {
      ...{ data: examples, catalysts: null, copies: 1, use: 'enrich' as const, texts: prompts },
    });
    const trained: Message[][] = [];
    for await (const { messages } of deps.store.datasets.rows(mixed.output, TrainingRow))
      trained.push(messages.slice(0, -1));
    expect(trained).toEqual([[user], [...before, user]]);

    const questions = await dataset([
      { id: 'a', question: 'Why?', turns: null, choices: null, answer: 'so' },
      { id: 'b', question: 'all of it', turns, choices: null, answer: 'so' },
    ]);
    await whole('run', await sampleStep(questions, { purpose: 'evaluate', texts: prompts }));
    const candidates = await dataset(['a', 'b'].map((id) => ({ id, k: 0, rationale: 'another', truncated: false })));
    const model = { sha256: 'a'.repeat(64), bytes: 1, path: null };
    const scored = { step: 'logprob', engine: 'scripted', model, data: examples, candidates, texts: prompts } as const;
    await whole('run', { ...scored, deterministic: false });
    expect(asked).toEqual([...trained, ...trained]);
  });
});

describe('what an endpoint failed to send', () => {
  const question = (id: string) => ({ id, instruction: `${id}?`, turns: null });
  const broken: Partial<Completion> = { text: '', finish: 'other', reason: 'no text' };

  it('is the outcome of the run that got it, and of no other', async () => {
    answer = (text) => (text === 'b?' ? broken : {});
    const chunks = [[question('a')], [question('b')]];
    const put = await Promise.all(chunks.map((rows) => deps.store.objects.putRows(rows)));
    const step = await sampleStep(await deps.store.datasets.put(put));
    const first = await whole('first', step);
    expect(first.output.counts).toMatchObject({ rows: 2, withText: 1, texts: 2, empty: 2, suspect: 2 });
    expect(asked).toHaveLength(2);

    // The run itself, and a fork of it, have it.
    expect((await whole('first', step)).output).toEqual(first.output);
    expect((await whole('fork', step, { since: 0, forkOf: 'first' })).output).toEqual(first.output);
    expect(asked).toHaveLength(2);

    // Another run asks again for it, and for nothing else; so does the run itself, once it was tried again.
    const other = await whole('other', step);
    expect(other.output.counts).toMatchObject({ suspect: 2 });
    expect(asked).toHaveLength(3);
    answer = () => ({});
    const again = await whole('first', step, { since: Date.now() + 1, forkOf: null });
    expect(again.output.counts).toMatchObject({ withText: 2, suspect: 0 });
    expect(asked).toHaveLength(4);

    // What is whole is everybody's.
    expect((await whole('third', step)).output).toEqual(again.output);
    expect(asked).toHaveLength(4);
  });

  it('stays with the row: each has as many outcomes as texts were asked for', async () => {
    answer = (text) => (text === 'b?' ? { text: '', finish: 'filtered', reason: 'content_filter' } : {});
    const step = await sampleStep(await dataset([question('a'), question('b')]));
    const { output } = await whole('run', step);
    const rows: Candidate[] = [];
    for await (const row of deps.store.datasets.rows(output.dataset, Candidate)) rows.push(row);
    expect(rows.map(({ id, k, text, finish, reason }) => [id, k, text, finish, reason])).toEqual([
      ...[0, 1].map((k) => ['a', k, 'So.', 'stop', null]),
      ...[0, 1].map((k) => ['b', k, '', 'filtered', 'content_filter']),
    ]);
    expect(output.counts).toMatchObject({ rows: 2, withText: 1, filtered: 2 });
    // It is an outcome, which another run finds.
    await whole('other', step);
    expect(asked).toHaveLength(2);
  });
});

it('a row that goes, or comes, costs the requests of the chunk that it is in', async () => {
  const CHUNK = 32;
  const lines = Array.from({ length: 2000 }, (_, i) => `${JSON.stringify({ instruction: `question ${i}` })}\n`);
  const requests = async (rows: string[]): Promise<number> => {
    writeFileSync(join(folder, 'd.jsonl'), rows.join(''));
    const file = await deps.store.objects.putFile(join(folder, 'd.jsonl'));
    const ingested = await as('run', srlmIngest(deps), {
      ...({ kind: 'prompts', source: 'data', texts: await texts(), file, limit: null, chunkSize: CHUNK } as const),
    });
    const before = asked.length;
    const { output } = await whole('run', await sampleStep(ingested.output.dataset));
    expect(output.counts).toMatchObject({ rows: rows.length, withText: rows.length });
    return asked.length - before;
  };
  expect(await requests(lines)).toBe(2000);
  const without = await requests(lines.filter((_, i) => i !== 777));
  expect(without).toBeLessThanOrEqual(CHUNK);
  const more = await requests([...lines.slice(0, 1200), '{"instruction": "one more"}\n', ...lines.slice(1200)]);
  expect(more).toBeLessThanOrEqual(CHUNK);
});

describe('replies that are enriched at inference', () => {
  it('are as many as before; one of which nothing is enriched stays; the curves count what became of them', async () => {
    loadsWeights = true;
    const questions = await dataset([
      { id: 'a', question: 'How many?', turns: null, choices: null, answer: '4' },
      { id: 'b', question: 'Which?', turns: null, choices: ['red', 'blue'], answer: 'B' },
    ]);
    const prompts = await texts({ enrich: 'Enrich: {instruction} / {rationale}' });
    const replyOf = (id: string, k: number, text: string) => ({
      ...{ id, k, text, finish: 'stop', reason: null, tokens: 1, seed: 0 },
    });
    const replies = await dataset([
      ...[replyOf('a', 0, 'Two.\nAnswer: 5'), replyOf('a', 1, 'Two twos.\nAnswer: 4')],
      ...[replyOf('b', 0, 'The sky.\nAnswer: B'), { ...replyOf('b', 1, ''), finish: 'refused', reason: 'no' }],
    ]);
    answer = (content) => {
      if (content === 'Enrich: How many? / Two.') return { text: 'Two and two.' };
      if (content.startsWith('Enrich: Which?')) return { text: '' };
      return { text: content === 'Two and two.\nAnswer:' ? ' 4' : ' 6', finish: 'length' };
    };
    const { output } = await whole('run', {
      ...{ step: 'deepen', engine: 'scripted', model: { sha256: 'f'.repeat(64), bytes: 1, path: null } },
      ...{ data: questions, replies, texts: prompts, sampling: { temperature: 0.7, maxTokens: 9 } },
      ...{ seed: 0, depth: 1, deterministic: false },
    });
    const deeper: Candidate[] = [];
    for await (const row of deps.store.datasets.rows(output.dataset, Candidate)) deeper.push(row);
    expect(deeper.map(({ id, k, text, finish }) => [id, k, text, finish])).toEqual([
      ['a', 0, 'Two and two.\nAnswer: 4', 'length'],
      ['a', 1, '6\nAnswer: 6', 'length'],
      ['b', 0, 'The sky.\nAnswer: B', 'stop'],
      ['b', 1, '', 'refused'],
    ]);
    // The choices are part of the question wherever it is asked; nothing is asked about a reply that did not come.
    expect(asked.map((messages) => messages.length).sort()).toEqual([1, 1, 1, 2, 2]);
    expect(asked.filter(([first]) => first!.content.startsWith('Enrich: Which?\nA. red\nB. blue'))).toHaveLength(1);

    const graded = ['a', 'b'].map((id) => ({ id, correct: id === 'a', given: null, expected: '' }));
    const evaluation = { grades: await dataset(graded), correct: 1, total: 2, accuracy: 0.5, low: 0.1, high: 0.9 };
    const input = { questions, replies_D: [replies, output.dataset], texts: prompts, temperature: 0.7, evaluation };
    const curves = await as('run', srlmCurves(deps), input);
    const { depths, ...report } = await deps.store.objects.readJson(curves, CurvesReport);
    expect(report).toEqual({ version: 1, questions: 2, samples: 2, temperature: 0.7, greedy: 0.5 });
    expect(depths.map(({ replies: count, changed, silent }) => [count, changed, silent])).toEqual([
      [4, 0, 1],
      [4, 2, 1],
    ]);
    expect(depths.map(({ majority, any }) => [majority.mean_N, any.mean_N])).toEqual([
      // With N = 2, question a is a tie, and b has one vote.
      [
        [0.5, 0.75],
        [0.5, 1],
      ],
      [
        [0.5, 0.75],
        [0.5, 1],
      ],
    ]);
    expect(depths[0]!.longest.mean_N).toEqual([0.5, 1]);
  });
});
