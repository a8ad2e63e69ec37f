/**
 * A store with one of everything, a model below the model root, and private files beside it; and a valid input for each
 * activity, from which hostile ones are made. There is no Python and no Temporal.
 */
import { mkdir, mkdtemp, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { cpuActivities, gpuActivities } from '../../activities/index.js';
import { Deployment } from '../../contracts/deployment.js';
import type { DatasetRef } from '../../contracts/refs.js';
import { Example } from '../../contracts/rows.js';
import { RunSpec, splitRunSpec } from '../../contracts/spec.js';
import { EngineHost } from '../../engines/index.js';
import { openStore, type Store } from '../../storage/store.js';
import { makeModel } from '../storage/support.js';

export const WORKFLOW = { workflowId: 'run', runId: '01a21eb4-b04b-7ac4-9fca-8c1e042dd8f0' };
/** In every file that nobody may read. */
export const MARK = 'PRIVATE-KEY-OF-THE-USER';

export type Activities = Record<string, (input: never) => Promise<unknown>>;
type Run = (name: string, input: unknown) => Promise<unknown>;

export interface Hostile {
  root: string;
  store: Store;
  activities: Activities;
  /** Runs an activity as a workflow would have it run. */
  run: Run;
  valid: Record<string, unknown>;
  /** References to things of the store, of every kind. */
  pool: unknown[];
}

/** Failures are what is wanted here. */
export const quiet = new DefaultLogger('ERROR');

/** Temporal knows of nothing. */
const unknown = () => Promise.reject(Object.assign(new Error('not found'), { code: 5 }));
const noTemporal = {
  withAbortSignal: (_signal: AbortSignal, work: () => unknown) => work(),
  options: { namespace: 'default' },
  workflowService: { getWorkflowExecutionHistory: unknown, describeWorkflowExecution: unknown },
};

export async function hostileStore(): Promise<Hostile> {
  const root = await mkdtemp(join(tmpdir(), 'srlm-test-hostile-'));
  await mkdir(join(root, 'outside'));
  await writeFile(join(root, 'outside/secret.txt'), MARK);
  await makeModel(join(root, 'models/base'));
  await makeModel(join(root, 'outside/model'));
  await symlink(join(root, 'outside/model'), join(root, 'models/link'));
  const deployment = Deployment.parse({
    artifactRoot: join(root, 'store'),
    modelRoots: [join(root, 'models')],
    workRoot: join(root, 'work'),
    python: '/nonexistent/python',
  });
  const store = openStore(deployment);
  const deps = {
    draining: new AbortController().signal,
    store,
    deployment,
    engines: new EngineHost(deployment, store),
  };
  const activities = { ...cpuActivities(deps), ...gpuActivities(deps) } as unknown as Activities;
  const run: Run = (name, input) =>
    // biome-ignore lint/suspicious/noExplicitAny: the mock's own types know no Client
    new MockActivityEnvironment({ workflowExecution: WORKFLOW }, { client: noTemporal as any, logger: quiet }).run(
      activities[name]!,
      input as never,
    );
  return { root, store, activities, run, ...(await validInputs(root, store, run)) };
}

async function validInputs(root: string, store: Store, run: Run): Promise<Pick<Hostile, 'valid' | 'pool'>> {
  const example = { instruction: 'What is 1+1?', rationale: 'Add.', answer: '2' };
  const file = join(root, 'rows.jsonl');
  await writeFile(file, `${JSON.stringify(example)}\n${JSON.stringify({ ...example, instruction: 'And 2+2?' })}\n`);
  const spec = RunSpec.parse({
    ...{ model: { path: 'base' }, data: { path: 'rows.jsonl' }, catalysts: 'none' },
    prompts: { reply: '{rationale} Answer: {answer}' },
  });
  const { settings, texts: content } = splitRunSpec(spec);
  const texts = await store.objects.putJson(content);
  const outside = await Promise.all(
    ['../outside/model', join(root, 'outside/model'), 'link', '/', '.', 'base/../../outside/model', ''].map((path) =>
      store.objects.putJson({ ...content, model: path }),
    ),
  );
  const raw = await store.objects.putFile(file);
  const ingest = { kind: 'examples', source: 'data', texts, file: raw, limit: null, chunkSize: 1 };
  const { output } = (await run('srlmIngest', ingest)) as { output: { dataset: DatasetRef } };
  const data = output.dataset;
  const ids: string[] = [];
  for await (const row of store.datasets.rows(data, Example)) ids.push(row.id);
  const chunk = (make: (id: string) => object) => Promise.all(ids.map((id) => store.objects.putRows([make(id)])));
  const dataset = async (make: (id: string) => object) => store.datasets.put(await chunk(make));
  const raws = await dataset((id) => ({ id, k: 0, text: 'Add 1 and 1.', finish: 'stop', tokens: 3, seed: 1 }));
  const candidates = await dataset((id) => ({ id, k: 0, rationale: 'Add 1 and 1.', truncated: false }));
  const scores = await store.datasets.put(
    await Promise.all(ids.map((id) => store.objects.putRows([-1, 0].map((k) => ({ id, k, score: -k }))))),
  );
  const grades = await dataset((id) => ({ id, correct: true, given: '2', expected: '2' }));
  const questions = await dataset((id) => ({ id, question: 'What is 1+1?', choices: null, answer: '2' }));
  // Not by its activity, which tries a model out in Python.
  const base = await store.models.prepare(join(root, 'models/base'));
  const { chunkSize: _, maxFailedShare: __, ...sampling } = settings.sampling;
  const sample = {
    ...{ step: 'sample', purpose: 'enrich', engine: 'local', model: base, data, texts, enrichFrom: 'original' },
    ...{ sampling: { ...sampling, stop: [] }, seed: 0, round: 1, deterministic: false },
  };
  const step = await store.objects.putJson(sample);
  const summary = {
    ...{ round: 0, set: { dataset: data, rows: 2, enriched: 0, meanRationaleChars: 4 }, changed: null },
    ...{ candidates: null, decisions: null, model: base, trainLoss: 1, evaluation: null, gate: null, steps: [] },
  };
  const evaluation = { grades, correct: 1, total: 2, accuracy: 0.5, low: 0.1, high: 0.9 };
  const table = await store.objects.putJson({ version: 2, preparation: [], rounds: [summary] });
  const pool = [texts, ...outside, raw, data, raws, candidates, scores, questions, base, step, table];
  const valid = {
    srlmPrepareModel: { texts },
    srlmIngest: ingest,
    srlmAddRationales: { data, candidates: raws, texts },
    srlmOpenStep: sample,
    srlmShard: { step, from: 0, to: 1, share: null, countedUntil: 0 },
    srlmAssemble: { step },
    srlmParse: { candidates: raws, texts },
    srlmSelect: {
      ...{ data, candidates, scores: { 'off-policy': scores }, texts, enrichFrom: 'original' },
      ...{ selection: settings.selection, seed: 0, round: 1 },
    },
    srlmMix: { data, catalysts: null, copies: 1, use: 'enrich', texts },
    srlmFineTune: { trainer: 'local', base, data, training: settings.training, seed: 0, deterministic: true },
    srlmGrade: { questions, replies: raws, texts, confidence: 0.9 },
    srlmWatch: {
      ...{ round: 1, decisions: null, evaluation, selection: settings.selection },
      ...{ set: { rows: 2, enriched: 0, meanRationaleChars: 4 }, table },
    },
    srlmGate: { best: evaluation, current: evaluation, gate: settings.gate, rollbacksInARow: 0, seed: 0 },
    srlmKeepRound: { table, preparation: null, round: summary },
    srlmReadRound: { table, round: 0 },
    srlmExport: { workflowId: 'run', firstRunId: WORKFLOW.runId, runId: WORKFLOW.runId, last: false },
  };
  return { valid, pool };
}
