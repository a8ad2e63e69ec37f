/** What an export holds: histories that replay, and enough to tell the account when Temporal has forgotten the run. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Account } from '../../audit/account.js';
import { exportsOf, RunFile } from '../../audit/bundle.js';
import type { Event } from '../../audit/events.js';
import { exportRun } from '../../audit/export.js';
import { loadRun } from '../../audit/load.js';
import { Records } from '../../audit/records.js';
import { tell } from '../../audit/tell.js';
import { runUnknown } from '../../contracts/errors.js';
import { packageRoot } from '../../engine/python-environment.js';
import { ArtifactStore } from '../../storage/store.js';
import { recorded } from './recorded.js';

const NAMES = ['run-parked', 'round-parked'];
const EXECUTION = '01a204b0-eecc-7f09-96cd-d90530280aa2';

/** Of Temporal's client what is asked for here: histories by workflow id. */
function remembering(names: readonly string[], cut?: (events: Event[]) => Event[]): Client {
  const known = new Map(recorded(...names).map((one) => [one.workflowId, one]));
  const getHandle = (workflowId: string) => ({
    fetchHistory: async () => {
      const one = known.get(workflowId);
      if (!one) throw Object.assign(new Error('not found'), { code: 5 });
      const { events } = one.history;
      return historyFromJSON({ events: workflowId === 'parked' && cut ? cut(events) : events });
    },
  });
  return { workflow: { getHandle } } as unknown as Client;
}

describe('an exported run', () => {
  let folder: string;
  let store: ArtifactStore;
  let out: string;

  beforeAll(async () => {
    Runtime.install({ logger: new DefaultLogger('ERROR', () => {}) });
    folder = await mkdtemp(join(tmpdir(), 'srlm-export-'));
    store = ArtifactStore.open(join(folder, 'store'));
    out = join(folder, 'out');
  });
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  const exported = (temporal: Client | null, to: string, by: string | null = 'ann@desk') =>
    exportRun({ temporal, store, engines: {}, workflowId: 'parked', by }, to);

  it('has histories that replay', async () => {
    await exported(remembering(NAMES), out);
    const names = await readdir(join(out, 'histories'));
    expect(names.sort()).toEqual([
      'parked.round-0~01a204b0-f6c1-7239-91d3-de2d69384ff5.json',
      `parked~${EXECUTION}.json`,
    ]);
    const files = await Promise.all(
      names.map(async (name) => JSON.parse(await readFile(join(out, 'histories', name), 'utf8'))),
    );
    const workflowBundle = { codePath: join(packageRoot, 'dist/workflow-bundle.js') };
    const failures: unknown[] = [];
    for await (const { error } of Worker.runReplayHistories({ workflowBundle }, files)) failures.push(error ?? null);
    expect(failures).toEqual([null, null]);
  });

  it('says what is in it, and holds its account for programs and for people', async () => {
    const run = RunFile.parse(JSON.parse(await readFile(join(out, 'run.json'), 'utf8')));
    expect(run).toMatchObject({
      ...{ version: 1, run: 'parked', state: 'done', records: 0, fork: null },
      exported: { by: 'ann@desk', complete: true, note: '' },
    });
    expect(run.workflows.map(({ round, events }) => [round, events])).toEqual([
      [null, 73],
      [0, 50],
    ]);
    expect(run.specSince).toEqual(run.spec);
    const account = Account.parse(JSON.parse(await readFile(join(out, 'account.json'), 'utf8')));
    expect(account).toEqual(tell(recorded(...NAMES), new Records({})));
    expect(await readFile(join(out, 'account.md'), 'utf8')).toContain('RETRY by recorder: (prepare)');
  });

  it('is the same when it is exported again, but for its time, and leaves no temporary file', async () => {
    const digest = async () => {
      const names = (await readdir(out, { recursive: true, withFileTypes: true })).filter((one) => one.isFile());
      const texts = names.map(async ({ parentPath, name }) => [
        name,
        (await readFile(join(parentPath, name), 'utf8')).replace(/"exported": \{\s+"at": "[^"]+"/, ''),
      ]);
      return Object.fromEntries(await Promise.all(texts));
    };
    const before = await digest();
    await exported(remembering(NAMES), out);
    expect(await digest()).toEqual(before);
    expect(Object.keys(before)).toHaveLength(5);
  });

  it('by the run itself says what it lacks, and tells the run’s end all the same', async () => {
    // What an activity sees that is the last thing a run does.
    const temporal = remembering(NAMES, (events) => events.slice(0, 72));
    const own = join(exportsOf(store.root, 'parked'), EXECUTION);
    const { exported: how, state } = await exported(temporal, own, null);
    expect(state).toBe('done');
    expect(how).toMatchObject({
      by: 'the run itself',
      complete: false,
      note: 'Written by the run as its last act: the events after that, its end among them, are not in its history here.',
    });
  });

  it('stands in for Temporal when it has the run, or a round of it, no more', async () => {
    for (const temporal of [null, remembering([]), remembering(['run-parked'])]) {
      const histories = await loadRun(temporal, store.root, 'parked');
      expect(histories.map(({ workflowId }) => workflowId)).toEqual(['parked', 'parked.round-0']);
      const { entries } = tell(histories, new Records({}));
      expect(entries.some(({ kind }) => kind === 'gap')).toBe(false);
      expect(entries.at(-1)).toMatchObject({ kind: 'ended', state: 'done' });
    }
    const again = await exported(null, join(folder, 'again'));
    expect(again.workflows.every(({ file }) => file !== null)).toBe(true);
  });

  it('is looked for by its id only', async () => {
    await expect(loadRun(remembering(NAMES), store.root, 'other')).rejects.toThrow(runUnknown('other').message);
    await expect(loadRun(null, store.root, '../audit/parked')).rejects.toThrow('There is no run');
  });
});
