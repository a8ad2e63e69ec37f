/** Ids of runs, what workflow code learns of the deployment, and the search attributes of a namespace. */
import { describe, expect, it } from 'vitest';
import { checkAttributes } from '../../client/cli/doctor.js';
import { resolveDeployment, workflowConfigOf } from '../../config/load.js';
import { idProblem, newId } from '../../config/run-id.js';
import {
  addSearchAttributes,
  missingSearchAttributes,
  searchAttributeArgs,
  setsSearchAttributes,
} from '../../config/search-attributes.js';
import type { DeploymentInput } from '../../contracts/deployment.js';

describe('the id of a run', () => {
  it('is another one for each start, also within a second', () => {
    const now = new Date('2026-01-31T12:00:00.123Z');
    const ids = new Set(Array.from({ length: 20 }, () => newId('svamp', now)));
    expect(ids.size).toBeGreaterThan(18);
    for (const id of ids) expect(id).toMatch(/^svamp-20260131-120000-[0-9a-f]{4}$/);
  });

  it('is never longer than an id may be', () => {
    expect(idProblem(newId('x'.repeat(200)))).toBe(null);
  });

  it.each(['a b', '', '-x', 'x'.repeat(101), 'a/b'])('cannot be %j', (id) => {
    expect(idProblem(id)).toMatch(/^expected letters, digits, dots, dashes and underscores, at most 100, found "/);
  });
});

describe('workflow code', () => {
  const config = (input: DeploymentInput) => workflowConfigOf(resolveDeployment(input, '/'), true);

  it('is given the queues', () => {
    expect(config({})).toMatchObject({ cpuQueue: 'srlm-cpu', gpuQueue: 'srlm-gpu', hostQueues: true, upgrades: false });
    expect(config({ taskQueue: 'mine', singleTaskQueue: true })).toMatchObject({
      ...{ cpuQueue: 'mine', gpuQueue: 'mine', hostQueues: true },
    });
  });

  it('learns whether the next execution may use newer code', () => {
    expect(config({ versioning: { buildId: 'a' } }).upgrades).toBe(true);
    expect(config({ versioning: { buildId: 'a', runs: 'pinned' } }).upgrades).toBe(false);
  });
});

describe('search attributes', () => {
  const ALL = ['SrlmState', 'SrlmStep', 'SrlmRound', 'SrlmScore'];

  /** `known` null: nobody may list them. */
  function namespace(known: string[] | null) {
    const added: object[] = [];
    const operatorService = {
      listSearchAttributes: async () => {
        if (!known) throw new Error('permission denied');
        return { customAttributes: Object.fromEntries(known.map((name) => [name, 2])) };
      },
      addSearchAttributes: async ({ searchAttributes }: { searchAttributes: object }) => {
        added.push(searchAttributes);
        return {};
      },
    };
    return { client: { options: { namespace: 'default' }, connection: { operatorService } } as never, added };
  }

  it('are added where they are missing, by name and type', async () => {
    const { client, added } = namespace(['SrlmState', 'SrlmStep']);
    const missing = await missingSearchAttributes(client);
    expect(missing).toEqual(['SrlmRound', 'SrlmScore']);
    await addSearchAttributes(client, missing);
    expect(added).toEqual([{ SrlmRound: 3, SrlmScore: 4 }]);
  });

  it.each([
    ['auto', ALL, true],
    ['auto', ['SrlmState'], false],
    ['auto', null, false],
    ['on', null, true],
    ['off', ALL, false],
  ] as const)('with %s, where the namespace has %s, are set by a run: %s', async (wanted, known, expected) => {
    const { client, added } = namespace(known && [...known]);
    expect(await setsSearchAttributes(client, wanted)).toBe(expected);
    expect(added).toEqual([]);
  });

  it.each([
    [
      'auto',
      false,
      true,
      'the namespace has no SrlmStep, SrlmRound, SrlmScore; runs do without. Add them: `srlm doctor --fix`.',
    ],
    ['on', false, false, 'the namespace has no SrlmStep, SrlmRound, SrlmScore'],
    ['off', true, true, 'runs set none (searchAttributes in temporal.config.ts is off)'],
    ['auto', true, true, 'added SrlmStep, SrlmRound, SrlmScore; runs that start from now on set them'],
  ] as const)('where some are missing, doctor with %s and --fix %s finds it ok: %s', async (wanted, fix, ok, found) => {
    const { client, added } = namespace(['SrlmState']);
    expect(await checkAttributes(client, wanted, fix)).toMatchObject({ ok, found });
    expect(added).toHaveLength(found.startsWith('added') ? 1 : 0);
  });

  it('are given to the dev server by name and type', () => {
    expect(searchAttributeArgs().slice(0, 2)).toEqual(['--search-attribute', 'SrlmState=Keyword']);
  });
});
