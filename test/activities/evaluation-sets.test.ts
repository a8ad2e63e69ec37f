/** Evaluation sets and the report of a round: the activities, on a store of files. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Deps } from '../../activities/activity.js';
import { srlmGate } from '../../activities/gate.js';
import { srlmGrade } from '../../activities/grade.js';
import { srlmOpenSets } from '../../activities/ingest.js';
import { srlmAnswerRows, srlmGradeLogprobs } from '../../activities/likelihood.js';
import { srlmReport } from '../../activities/report.js';
import { resolveDeployment } from '../../config/load.js';
import type { ObjectRef } from '../../contracts/refs.js';
import { RoundReport, type SetResult } from '../../contracts/report.js';
import { Example, Grade, LikelihoodGrade, ParsedCandidate, type Question } from '../../contracts/rows.js';
import type { EvaluationSets } from '../../contracts/set-steps.js';
import { Gate, RunSpec, splitRunSpec } from '../../contracts/spec.js';
import type { EvalResult, RoundSummary } from '../../contracts/steps.js';
import { Site } from '../../worker/site.js';

let folder: string;
let deps: Deps;
let texts: ObjectRef;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'srlm-test-sets-'));
  deps = Site.of(resolveDeployment({}, folder)).deps as Deps;
  const spec = RunSpec.parse({
    ...{ model: { path: 'm' }, data: { path: 'd.jsonl' }, catalysts: 'none' },
    evaluation: { path: 'q.jsonl', others: { mc: { path: 'mc.jsonl' } } },
  });
  texts = await deps.store.objects.putJson(splitRunSpec(spec).texts);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function ask<In, Out>(activity: (input: In) => Promise<Out>, input: In): Promise<Out> {
  const info = { workflowExecution: { workflowId: 'run', runId: 'one' } };
  const environment = new MockActivityEnvironment(info, { logger: new DefaultLogger('ERROR') });
  return environment.run(activity as never, input as never) as Promise<Out>;
}

const dataset = async (...chunks: object[][]) =>
  deps.store.datasets.put(await Promise.all(chunks.map((rows) => deps.store.objects.putRows(rows))));
async function rows<T>(ref: Parameters<typeof deps.store.datasets.rows>[0], schema: { parse: (value: unknown) => T }) {
  const found: T[] = [];
  for await (const row of deps.store.datasets.rows(ref, schema as never)) found.push(row as T);
  return found;
}

const question = (id: string, answer = '4', choices: string[] | null = null): Question => ({
  ...{ id, question: `${id}?`, turns: null, choices, answer },
});
const reply = (id: string, text: string) => ({
  ...{ id, k: 0, text, finish: 'stop', reason: null, tokens: 1, seed: null },
});
const score = (id: string, k: number, nats: number) => ({ id, k, score: nats });
const leaks = async (ids: string[]) => {
  const sets: EvaluationSets = { version: 1, files: {}, leftOut: { '': ids } };
  return { sets: await deps.store.objects.putJson(sets), set: null };
};

describe('questions that are in the training data', () => {
  const questions = () => dataset([question('a'), question('b')], [question('c')]);
  const replies = () => dataset([reply('a', 'Answer: 4'), reply('b', 'Answer: 4')], [reply('c', 'Answer: 5')]);
  const grade = async (leftOut?: Awaited<ReturnType<typeof leaks>>) => {
    const input = { questions: await questions(), replies: await replies(), texts, confidence: 0.95 };
    return ask(srlmGrade(deps), { ...input, ...(leftOut ? { leftOut } : {}) });
  };

  it('are graded and shown, but have no part in the score, nor in the gate', async () => {
    const { output, meta } = await grade(await leaks(['b']));
    expect(output).toMatchObject({ correct: 1, total: 2, accuracy: 0.5, leftOut: 1 });
    const marks = (await rows(output.grades, Grade)).map(({ id, leftOut }) => [id, leftOut]);
    expect(marks).toEqual([
      ['a', undefined],
      ['b', true],
      ['c', undefined],
    ]);
    const gate = Gate.parse({});
    const same = await ask(srlmGate(deps), { best: output, current: output, gate, rollbacksInARow: 0, seed: 0 });
    expect(same).toMatchObject({ verdict: 'keep', difference: 0 });
    // A run without such questions has the score and the key that it had.
    const whole = await grade();
    expect(whole.output).toMatchObject({ correct: 2, total: 3 });
    expect(whole.output).not.toHaveProperty('leftOut');
    expect(whole.meta.key).not.toBe(meta.key);
    expect((await grade(await leaks([]))).meta.key).toBe(whole.meta.key);
  });
});

describe('sets that are scored by log-probabilities', () => {
  it('grade choices by the likelihood of their texts, in all chunks', async () => {
    const choices = ['two', 'four'];
    const questions = await dataset(
      [question('a', 'B', choices), question('b', 'A', choices)],
      [question('c', 'A', choices)],
    );
    const asked = { kind: 'choice-likelihood', questions, replies: null, texts } as const;
    const { output: made } = await ask(srlmAnswerRows(deps), asked);
    expect(made.candidates).toBeNull();
    expect(made.data).toMatchObject({ rows: 6, chunks: 2 });
    expect((await rows(made.data, Example)).map(({ answer }) => answer)).toEqual([...choices, ...choices, ...choices]);
    const scores = await dataset(
      [score('a#0', -2, -2), score('a#1', -2, -1), score('b#0', -2, -3), score('b#1', -2, -1)],
      [score('c#0', -2, -1)],
    );
    const graded = await ask(srlmGradeLogprobs(deps), { ...asked, scores, confidence: 0.95, seed: 0 });
    // The last question has a choice that is longer than the context.
    expect(graded.output).toMatchObject({ correct: 1, total: 3, value: 1 / 3, leftOut: 0, gain: null });
  });

  it('have the mean of the expected answers after own rationales, and the gain on none', async () => {
    const questions = await dataset([question('a'), question('b'), question('c')]);
    const replies = await dataset([reply('a', 'So.\nAnswer: 1'), reply('b', 'Hm.'), reply('c', '')]);
    const asked = { kind: 'likelihood', questions, replies, texts } as const;
    const { output: made } = await ask(srlmAnswerRows(deps), asked);
    expect((await rows(made.candidates!, ParsedCandidate)).map(({ rationale }) => rationale)).toEqual([
      'So.',
      'Hm.',
      '',
    ]);
    const scores = await dataset(['a', 'b'].flatMap((id) => [score(id, -1, -3), score(id, 0, -2)]));
    const leftOut = await leaks(['b']);
    const input = { ...asked, scores, confidence: 0.95, seed: 0 };
    const { output } = await ask(srlmGradeLogprobs(deps), input);
    expect(output).toMatchObject({ total: 2, value: -2, low: -2, high: -2, gain: { value: 1, low: 1, high: 1 } });
    expect((await rows(output.grades, LikelihoodGrade)).map(({ nats }) => nats)).toEqual([-2, -2, null]);
    expect((await ask(srlmGradeLogprobs(deps), { ...input, leftOut })).output).toMatchObject({ total: 1, leftOut: 1 });
  });

  it('are opened from the files that the client stored, and from no others', async () => {
    const path = join(folder, 'mc.jsonl');
    writeFileSync(path, '{"question":"Q?","answer":"1"}\n');
    const file = await deps.store.objects.putFile(path);
    const open = async (files: EvaluationSets['files']) => {
      const sets = await deps.store.objects.putJson({ version: 1, files, leftOut: {} } satisfies EvaluationSets);
      return ask(srlmOpenSets(deps), { texts, sets });
    };
    const { sets } = await open({ mc: file });
    expect(sets).toMatchObject({ mc: { kind: null, watch: false, maxTokens: 512, questions: { rows: 1 } } });
    await expect(open({})).rejects.toThrow('mc: its file is not stored');
  });
});

describe('the report of a round', () => {
  const grades = async (...right: boolean[]) => {
    const made = right.map((correct, i) => ({ id: `q${i}`, correct, given: null, expected: '4' }));
    const correct = right.filter(Boolean).length;
    const counts = { correct, total: right.length, accuracy: correct / right.length, low: 0, high: 1 };
    return { grades: await dataset(made), ...counts } satisfies EvalResult;
  };
  const nats = async (...values: number[]): Promise<SetResult> => ({
    ...{
      kind: 'likelihood',
      watch: true,
      value: -1,
      low: -1,
      high: -1,
      total: 2,
      leftOut: 0,
      unanswered: 0,
      gain: null,
    },
    grades: await dataset(values.map((one, i) => ({ id: `q${i}`, expected: 'x', nats: one, natsAlone: -3 }))),
  });
  const summary = (round: number, evaluation: EvalResult, report: ObjectRef) =>
    ({
      ...{ round, evaluation, report, changed: null, candidates: null, decisions: null, trainLoss: 1, gate: null },
      ...{ steps: [], model: { sha256: 'a'.repeat(64), bytes: 1, path: null } },
      set: { dataset: evaluation.grades, rows: 1, enriched: 0, meanRationaleChars: 1 },
    }) satisfies RoundSummary;

  it('compares every set with the round before, the best and round 0', async () => {
    const { objects } = deps.store;
    const of = async (evaluations: Record<string, SetResult>) =>
      objects.putJson({ version: 1, evaluations, comparisons: [] } satisfies RoundReport);
    const rounds = [
      summary(0, await grades(true, false, false, false), await of({ chat: await nats(-3, -2) })),
      summary(1, await grades(true, true, false, false), await of({})),
    ];
    const table = await objects.putJson({ version: 2, preparation: [], rounds });
    const evaluation = await grades(false, true, true, true);
    const others = { chat: await nats(-2, -1) };
    const input = { round: 2, table, best: 1, evaluation, others, confidence: 0.95, seed: 0 };
    const { report, comparisons } = await ask(srlmReport(deps), input);
    const read = await objects.readJson(report, RoundReport);
    expect(read.evaluations).toEqual(others);
    const test = (onlyOther: number, onlyThis: number, p: number) => ({ test: { onlyOther, onlyThis, p } });
    expect(read.comparisons).toMatchObject([
      { set: null, against: ['before', 'best'], round: 1, difference: 0.25, ...test(1, 2, 1) },
      { set: null, against: ['first'], round: 0, difference: 0.5, ...test(1, 3, 0.625) },
      // Round 1 was not evaluated on it.
      { set: 'chat', against: ['first'], round: 0, difference: 1, low: 1, high: 1, test: null },
    ]);
    expect(comparisons).toEqual(read.comparisons.slice(0, 2));
  });
});
