/** Ids of runs, what workflow code learns of the deployment, and the search attributes of a namespace. */
import { describe, expect, it } from 'vitest';
import { resolveDeployment, workflowConfigOf } from '../../config/load.js';
import { idProblem, newId } from '../../config/run-id.js';
import {
  ensureSearchAttributes,
  missingSearchAttributes,
  searchAttributeArgs,
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
  function namespace(known: string[], add: () => Promise<object> = async () => ({})) {
    const added: object[] = [];
    const operatorService = {
      listSearchAttributes: async () => ({ customAttributes: Object.fromEntries(known.map((name) => [name, 2])) }),
      addSearchAttributes: async ({ searchAttributes }: { searchAttributes: object }) => {
        added.push(searchAttributes);
        return add();
      },
    };
    return { client: { options: { namespace: 'default' }, connection: { operatorService } } as never, added };
  }

  it('are added where they are missing, and used from the next start on', async () => {
    const { client, added } = namespace(['SrlmState', 'SrlmStep']);
    expect(await missingSearchAttributes(client)).toEqual(['SrlmRound', 'SrlmScore']);
    expect(await ensureSearchAttributes(client)).toBe(false);
    expect(added).toEqual([{ SrlmRound: 3, SrlmScore: 4 }]);
  });

  it('are used where all are known, and not where nobody may add them', async () => {
    const all = namespace(['SrlmState', 'SrlmStep', 'SrlmRound', 'SrlmScore']);
    expect(await ensureSearchAttributes(all.client)).toBe(true);
    const refusing = namespace([], async () => {
      throw new Error('permission denied');
    });
    expect(await ensureSearchAttributes(refusing.client)).toBe(false);
  });

  it('are given to the dev server by name and type', () => {
    expect(searchAttributeArgs().slice(0, 2)).toEqual(['--search-attribute', 'SrlmState=Keyword']);
  });
});
