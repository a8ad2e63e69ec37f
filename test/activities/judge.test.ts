/** A judge's verdicts and the user's own selectors, through the activities, with a scripted engine. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Deps } from '../../activities/activity.js';
import { srlmSelect } from '../../activities/select.js';
import { srlmAssemble, srlmOpenStep, srlmShard } from '../../activities/sharded.js';
import { resolveDeployment } from '../../config/load.js';
import type { DeploymentInput, OwnTable } from '../../contracts/deployment.js';
import { Decision } from '../../contracts/rows.js';
import { RunSpec, Selection, splitRunSpec } from '../../contracts/spec.js';
import type { SelectInput } from '../../contracts/steps.js';
import type { EngineClient } from '../../engines/client.js';
import { Site } from '../../worker/site.js';

let folder: string;
let deps: Deps;
let asked: string[];

function withSelectors(selectors: DeploymentInput['selectors'] = {}): Deps {
  const client: EngineClient = {
    async sample({ messages }) {
      const text = messages.at(-1)!.content;
      asked.push(text);
      // It prefers the text that names a sum, wherever that stands; otherwise it prefers a place.
      const said = /A: .*=.*\n\nB/s.test(text) ? 'A' : 'B';
      return [{ text: said, finish: 'stop', reason: null, tokens: 1, seed: null }];
    },
    async logprobs() {
      throw new Error('a judge needs none');
    },
  };
  const engine = {
    ...{ name: 'judge', servers: [], quietMs: 0, identity: () => 'judge', money: () => 0 },
    capabilities: { loadsWeights: false, promptLogprobs: false },
    withClient: async <T>(_: unknown, __: unknown, ___: unknown, work: (one: EngineClient) => Promise<T>) =>
      work(client),
  };
  const site = Site.of(resolveDeployment({ selectors }, folder));
  return { ...site.deps, engines: { engine: () => engine } } as unknown as Deps;
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'srlm-test-judge-'));
  asked = [];
  deps = withSelectors();
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function as<In, Out>(activity: (input: In) => Promise<Out>, input: In): Promise<Out> {
  const info = { workflowExecution: { workflowId: 'run', runId: 'one' } };
  const environment = new MockActivityEnvironment(info, { logger: new DefaultLogger('ERROR') });
  return environment.run(activity as never, input as never) as Promise<Out>;
}
const dataset = async (rows: object[]) => deps.store.datasets.put([await deps.store.objects.putRows(rows)]);

const CANDIDATES = ['2+2=4, since two and two are four', 'It is four because I say so, really', ''];

async function table(selection: object) {
  const spec = RunSpec.parse({ model: { path: 'm' }, data: { path: 'd.jsonl' }, catalysts: 'none' });
  const example = { instruction: 'What is 2+2?', turns: null, original: 'Add them.', rationale: 'Add them.' };
  return {
    data: await dataset([{ id: 'a', ...example, answer: '4', origin: null }]),
    candidates: await dataset(CANDIDATES.map((rationale, k) => ({ id: 'a', k, rationale, truncated: false }))),
    texts: await deps.store.objects.putJson(splitRunSpec(spec).texts),
    enrichFrom: 'original' as const,
    selection: Selection.parse(selection),
  };
}

async function decisions(input: Awaited<ReturnType<typeof table>>, more: Partial<SelectInput> = {}) {
  const selected = await as(srlmSelect(deps), {
    ...input,
    scores: {},
    withoutRationale: {},
    seed: 0,
    round: 1,
    ...more,
  });
  const lines: Decision[] = [];
  for await (const line of deps.store.datasets.rows(selected.output.decisions, Decision)) lines.push(line);
  return { lines, key: selected.meta.key };
}

it('a judge compares sound candidates in both orders, and its verdicts are in the table that selects', async () => {
  const { selection, ...rest } = await table({ selector: 'judge', judge: { engine: 'judge' } });
  const model = { sha256: 'a'.repeat(64), bytes: 1, path: null };
  const step = { step: 'judge', engine: 'judge', model, ...rest, maxTokens: 8, deterministic: false } as const;
  const opened = await as(srlmOpenStep(deps), step);
  const range = { from: 0, to: 1, share: null, countedUntil: 0, suspects: { since: 0, forkOf: null } };
  await as(srlmShard(deps), { step: opened.step, ...range });
  const { output } = await as(srlmAssemble(deps), { step: opened.step, suspects: range.suspects });
  expect(asked).toHaveLength(4);
  expect(output.counts).toMatchObject({ comparisons: 2, first: 1, second: 3, agree: 1, unread: 0 });
  const { lines } = await decisions({ selection, ...rest }, { judged: output.dataset });
  expect(lines.map(({ k, guard, scores, chosen }) => [k, guard, scores.judge, chosen])).toEqual([
    [-1, null, 0.5, false],
    [0, null, 1, true],
    [1, null, 0.5, false],
    [2, 'empty', null, false],
  ]);
});

describe('a selector of the user', () => {
  const own = { selector: { own: 'mine' } };

  it('sees the row and its sound candidates, and what it answers is chosen', async () => {
    const seen: OwnTable[] = [];
    const choose = (one: OwnTable) => {
      seen.push(one);
      one.candidates[0]!.rationale = 'changed by the function';
      return one.candidates.length - 1;
    };
    deps = withSelectors({ mine: { version: '1', choose } });
    const { lines } = await decisions(await table(own));
    expect(lines.find(({ chosen }) => chosen)).toMatchObject({ k: 1, rationale: CANDIDATES[1] });
    expect(lines[1]!.rationale).toBe(CANDIDATES[0]);
    expect(seen).toMatchObject([{ id: 'a', answer: '4', incumbent: { k: -1 }, candidates: [{ k: 0 }, { k: 1 }] }]);
  });

  it('of another version chooses again', async () => {
    const choose = () => 'incumbent' as const;
    deps = withSelectors({ mine: { version: '1', choose } });
    const { key } = await decisions(await table(own));
    deps = withSelectors({ mine: { version: '2', choose } });
    expect((await decisions(await table(own))).key).not.toBe(key);
  });

  it.each<[string, () => unknown, RegExp]>([
    [
      'throws',
      () => {
        throw new Error('no table');
      },
      /row "a": it threw "no table"/,
    ],
    ['returns NaN', () => Number.NaN, /it returned NaN; expected 'incumbent' or the k of a candidate \(0, 1\)/],
    ['returns the k of a candidate with a guard', () => 2, /it returned 2; expected/],
    ['returns no number', async () => '0', /it returned "0"; expected/],
    ['hangs', () => new Promise(() => {}), /it gave no answer within 0\.05 s/],
  ])('that %s parks the step with one sentence', async (_, choose, message) => {
    deps = withSelectors({ mine: { version: '1', choose: choose as never, timeoutSeconds: 0.05 } });
    await expect(decisions(await table(own))).rejects.toThrow(message);
  });

  it('that the deployment lacks is named with those that it has', async () =>
    expect(decisions(await table(own))).rejects.toThrow(
      'There is no selector "mine" in temporal.config.ts; it has none.',
    ));
});
