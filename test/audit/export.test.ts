/** What an export holds, how a run adds to its own, and how it replaces what Temporal has deleted. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { srlmExport } from '../../activities/export.js';
import { exportOf, historyName, RunFile } from '../../audit/bundle.js';
import type { Execution } from '../../audit/events.js';
import { exportExecution, exportRun } from '../../audit/export.js';
import { buildTimeline } from '../../audit/history-reader.js';
import { loadRun } from '../../audit/load.js';
import { Timeline } from '../../audit/timeline.js';
import { runUnknown } from '../../contracts/errors.js';
import { openStore, type Store } from '../../storage/store.js';
import { at, FakeTemporal } from './fake-temporal.js';
import {
  HistoryBuilder,
  prepare,
  progress,
  record,
  runInput,
  sha,
  spec,
  texts,
  train,
  WORKFLOW,
  wholeRun,
} from './histories.js';

const [FIRST, SECOND] = wholeRun().map(({ execution }) => execution) as [Execution, Execution];
const fileOf = ({ runId, history }: Execution) => historyName(runId, history!.events[0]!);
const [FILE_1, FILE_2] = [fileOf(FIRST), fileOf(SECOND)];

describe('an export', () => {
  let folder: string;
  let store: Store;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'srlm-export-'));
    store = openStore({ artifactRoot: join(folder, 'store'), modelRoots: [] });
  });
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  const clientOf = (...executions: Execution[]) => new FakeTemporal(executions).client;
  const own = () => exportOf(store.root, WORKFLOW, 'exec-1');
  const firstRunId = 'exec-1';
  const exported = ({ workflowId, runId }: Execution, temporal = clientOf(FIRST, SECOND)) =>
    exportExecution({ temporal, store, workflowId, firstRunId, runId });
  const exportedAtTheEnd = (...executions: Execution[]) =>
    exportRun({ ...at(clientOf(...executions)), store, workflowId: WORKFLOW, firstRunId, by: null }, own());
  const cut = (execution: Execution, upTo: number): Execution => ({
    ...execution,
    history: { events: execution.history!.events.slice(0, upTo) },
  });
  const read = async <T>(path: string) => JSON.parse(await readFile(path, 'utf8')) as T;
  const filesOf = async (path: string) => {
    const found = (await readdir(path, { recursive: true, withFileTypes: true })).filter((one) => one.isFile());
    const contents = found.map(async ({ parentPath, name }): Promise<[string, string]> => {
      const text = await readFile(join(parentPath, name), 'utf8');
      return [name, text.replace(/"exported": \{\s+"at": "[^"]+"/, '')];
    });
    return Object.fromEntries(await Promise.all(contents));
  };
  /** With the texts of its spec in the store. */
  const storedRun = async () => {
    const input = { ...runInput(), texts: await store.objects.putJson(texts) };
    const history = prepare(new HistoryBuilder('exec-1', [input])).command('set', { set: { 'sampling.k': 8 } });
    return history.command('set', { set: { 'training.epochs': 1 }, fromRound: 1 });
  };

  it('has each execution as a file that Temporal’s SDKs read, and says what is in it', async () => {
    const run = await exportRun(
      { ...at(clientOf(FIRST, SECOND)), store, workflowId: WORKFLOW, by: 'ann@desk' },
      folder,
    );
    expect(RunFile.parse(await read(join(folder, 'run.json')))).toEqual(run);
    expect(run).toMatchObject({
      ...{ version: 2, run: 'run-1', firstRunId: 'exec-1', state: 'done', fork: null, artifactRoot: store.root },
      executions: [
        {
          runId: 'exec-1',
          round: 0,
          file: 'histories/20261122T100000.000Z-exec-1.json',
          events: FIRST.history!.events.length,
        },
        { runId: 'exec-2', round: 1, file: `histories/${FILE_2}`, events: SECOND.history!.events.length },
      ],
      exported: { by: 'ann@desk', complete: false, note: expect.stringContaining('The texts of the spec are not in') },
    });
    expect(run.records).toEqual([
      { step: 'ingest', key: sha('ingest') },
      { step: 'mix', key: sha('mix-0') },
      { step: 'fineTune', key: sha('fineTune-0') },
      { step: 'mix', key: sha('mix-1') },
      { step: 'fineTune', key: sha('fineTune-1') },
    ]);
    const file = await read<{ workflowId: string; history: Parameters<typeof historyFromJSON>[0] }>(
      join(folder, 'histories', FILE_2),
    );
    expect(Object.keys(file)).toEqual(['sha256', 'workflowId', 'history']);
    expect(historyFromJSON(file.history).events).toHaveLength(SECOND.history!.events.length);
    const timeline = Timeline.parse(await read(join(folder, 'timeline.json')));
    const histories = await loadRun({ ...at(clientOf(FIRST, SECOND)), root: store.root }, WORKFLOW);
    expect(timeline).toEqual(await buildTimeline(histories));
    expect(await readFile(join(folder, 'timeline.md'), 'utf8')).toContain('ROUND 1 continues from round 0');
  });

  it('has the spec as the run was started, and as it is now', async () => {
    const { execution } = await storedRun();
    const run = await exportRun({ ...at(clientOf(execution)), store, workflowId: WORKFLOW, by: 'ann' }, folder);
    expect(run.spec).toEqual(spec);
    expect(run.specNow).toMatchObject({ model: { path: 'tiny' }, sampling: { k: 8 }, training: { epochs: 1 } });
    expect(run.changes).toMatchObject([
      { who: 'ann', fromRound: null, set: { 'sampling.k': 8 } },
      { who: 'ann', fromRound: 1, set: { 'training.epochs': 1 } },
    ]);
    expect(run.exported).toMatchObject({ complete: false, note: 'The run had not ended.' });
  });

  it('has no character in its files that steers a terminal', async () => {
    const hostile = '\u202eltr \u009b2J';
    const history = prepare(new HistoryBuilder('exec-1', [runInput()])).command('pause', { why: hostile });
    await exportedAtTheEnd(history.execution);
    const files = await filesOf(own());
    for (const text of Object.values(files)) expect(text).not.toMatch(/[\u0080-\u009f\u202e]/);
    expect(JSON.stringify(JSON.parse(files['timeline.json']!))).toContain(hostile);
  });

  it('is complete when the run has ended and nothing is missing', async () => {
    const [first, second] = wholeRun({ ...runInput(), texts: await store.objects.putJson(texts) });
    const temporal = clientOf(first.execution, second.execution);
    const run = await exportRun({ ...at(temporal), store, workflowId: WORKFLOW, by: 'ann' }, folder);
    expect(run.exported).toMatchObject({ complete: true, note: '' });
  });

  it('takes settings that were changed in earlier executions from what the newest one was started with', async () => {
    const first = await storedRun();
    const changes = [{ fromRound: 0, set: { 'sampling.k': 8, 'training.epochs': 1 } }];
    const input = first.args[0] as ReturnType<typeof runInput>;
    const second = first.continueAsNew('exec-2', input, record({ changes }), progress({ round: 1, rounds: 1 }));
    second.command('set', { set: { 'sampling.k': 2 } });
    const temporal = clientOf(second.execution);
    const run = await exportRun({ ...at(temporal), store, workflowId: WORKFLOW, by: 'ann' }, folder);
    expect(run.specNow).toMatchObject({ sampling: { k: 2 }, training: { epochs: 1 } });
    expect(run.exported.note).toMatch(/^The histories of some executions were no longer available\./);
  });

  it('is the same when it is made again, but for its time, and leaves no temporary file', async () => {
    const out = join(folder, 'out');
    const make = () => exportRun({ ...at(clientOf(FIRST, SECOND)), store, workflowId: WORKFLOW, by: 'ann' }, out);
    await make();
    const before = await filesOf(out);
    expect(Object.keys(before).sort()).toEqual([...[FILE_1, FILE_2, 'run.json', 'timeline.json', 'timeline.md']]);
    await make();
    expect(await filesOf(out)).toEqual(before);
  });

  it('has no run.json until it is complete', async () => {
    const out = join(folder, 'out');
    await exportRun({ ...at(clientOf(FIRST, SECOND)), store, workflowId: WORKFLOW, by: 'ann' }, out);
    const failing = new FakeTemporal([FIRST, SECOND], { isLost: true }).client;
    const again = exportRun({ ...at(failing), store, workflowId: WORKFLOW, by: 'ann' }, out);
    await expect(again).rejects.toThrow('connection lost');
    expect(await readdir(out)).not.toContain('run.json');
  });

  it('has nothing of another run that was in its folder, and may be made where it is read from', async () => {
    const out = join(folder, 'out');
    const other = new HistoryBuilder('exec-9', [runInput()]).execution;
    await exportRun({ ...at(clientOf(other)), store, workflowId: WORKFLOW, by: 'ann' }, out);
    await exportRun({ ...at(clientOf(FIRST, SECOND)), store, workflowId: WORKFLOW, by: 'ann' }, out);
    expect(await readdir(join(out, 'histories'))).toEqual([FILE_1, FILE_2]);
    await exportedAtTheEnd(FIRST, SECOND);
    const again = await exportRun({ ...at(null), store, workflowId: WORKFLOW, by: 'ann' }, own());
    expect(again.executions.map(({ file }) => file)).toEqual([`histories/${FILE_1}`, `histories/${FILE_2}`]);
    expect(await readdir(join(own(), 'histories'))).toEqual([FILE_1, FILE_2]);
  });

  it('has what is readable of a spec that cannot be put together, and says so', async () => {
    const { settings } = runInput();
    const strange = { ...runInput(), settings: { ...settings, catalysts: { copies: 2, use: 'enrich' } } };
    const input = { ...strange, texts: await store.objects.putJson(texts) };
    const make = ({ execution }: HistoryBuilder) =>
      exportRun({ ...at(clientOf(execution)), store, workflowId: WORKFLOW, by: 'ann' }, folder);
    const run = await make(prepare(new HistoryBuilder('exec-1', [input])));
    expect(run.spec).toMatchObject({ catalysts: { copies: 2 }, rounds: 2 });
    expect(run.exported.note).toContain('The texts of the spec do not fit its settings: a spec here is without them.');
    const foreign = await make(prepare(new HistoryBuilder('exec-1', [{ version: 3, settings: 'other' }])));
    expect(foreign).toMatchObject({ spec: null, specNow: null, executions: [{ runId: 'exec-1' }] });
    expect(foreign.exported.note).toContain('The spec cannot be read: it is encoded, or of another version.');
  });

  it('grows with the run: an execution adds its history only, once, and the last one all the rest', async () => {
    await exported(FIRST);
    await exported(FIRST);
    expect(Object.keys(await filesOf(own()))).toEqual([FILE_1]);
    // The activity that exports is still running.
    const atTheEnd = await exportedAtTheEnd(FIRST, cut(SECOND, SECOND.history!.events.length - 3));
    expect(atTheEnd).toMatchObject({
      ...{ state: 'done', executions: [{ runId: 'exec-1' }, { runId: 'exec-2', file: `histories/${FILE_2}` }] },
      exported: { by: 'the run itself', note: expect.stringContaining('Written by the run as its last act') },
    });
    const timeline = Timeline.parse(await read(join(own(), 'timeline.json')));
    expect(timeline.entries.at(-1)).toMatchObject({ kind: 'ended', state: 'done' });
    expect((await exportedAtTheEnd(FIRST, SECOND)).exported.note).not.toContain('last act');
    expect(Object.keys(await filesOf(own())).sort()).toEqual([
      ...[FILE_1, FILE_2, 'run.json', 'timeline.json', 'timeline.md'],
    ]);
  });

  it('has at the end what an earlier export missed, where Temporal still has it', async () => {
    await exported(SECOND);
    const late = await exportedAtTheEnd(SECOND);
    expect(late.executions).toMatchObject([
      { runId: 'exec-1', file: null, events: 0 },
      { runId: 'exec-2', file: `histories/${FILE_2}` },
    ]);
    const whole = await exportedAtTheEnd(FIRST, SECOND);
    expect(whole.executions.map(({ file }) => file)).toEqual([`histories/${FILE_1}`, `histories/${FILE_2}`]);
  });

  it('takes no execution of another run, and none that is nowhere', async () => {
    const of = { temporal: clientOf(FIRST, SECOND), store, workflowId: WORKFLOW };
    await expect(exportExecution({ ...of, firstRunId: 'exec-0', runId: 'exec-2' })).rejects.toThrow(
      'execution exec-2 is not one of exec-0',
    );
    await exported(SECOND);
    await exported(SECOND, clientOf());
    expect(await readdir(join(own(), 'histories'))).toEqual([FILE_2]);
    await expect(exportExecution({ ...of, firstRunId: 'exec-1', runId: 'exec-9' })).rejects.toThrow(
      runUnknown(WORKFLOW).message,
    );
  });

  it('is tried again whatever is wrong with the store, and only then', async () => {
    // The activity takes ids of Temporal's form only.
    const uuid = (n: number) => `01a21eb4-b04b-7ac4-9fca-${String(n).padStart(12, '0')}`;
    const named = <T>(value: T): T => {
      if (typeof value === 'string') return value.replace(/^exec-(\d)$/, (_, n) => uuid(Number(n))) as T;
      if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
      if (Array.isArray(value)) return value.map(named) as T;
      return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, named(one)])) as T;
    };
    const deps = { store } as Parameters<typeof srlmExport>[0];
    const work = (of: number) => {
      const info = { workflowExecution: { workflowId: WORKFLOW, runId: uuid(2) } };
      const environment = new MockActivityEnvironment(info, { client: clientOf(named(FIRST), named(SECOND)) });
      const input = { workflowId: WORKFLOW, firstRunId: uuid(1), runId: uuid(of), last: false };
      return environment.run(srlmExport(deps), input);
    };
    const folder = exportOf(store.root, WORKFLOW, uuid(1));
    await expect(work(9)).rejects.toMatchObject({ type: 'run.unknown', nonRetryable: true });
    await work(2);
    expect(await readdir(join(folder, 'histories'))).toHaveLength(1);
    await rm(folder, { recursive: true });
    await writeFile(folder, 'in the way');
    await expect(work(2)).rejects.toMatchObject({ type: 'export.failed', nonRetryable: false });
  });
});

describe('the histories of a run', () => {
  let folder: string;
  let store: Store;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'srlm-load-'));
    store = openStore({ artifactRoot: join(folder, 'store'), modelRoots: [] });
    for (const { workflowId, runId } of [FIRST, SECOND]) {
      const temporal = new FakeTemporal([FIRST, SECOND]).client;
      await exportExecution({ temporal, store, workflowId, firstRunId: 'exec-1', runId });
    }
  });
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  const load = async (executions: Execution[] | null, root = store.root, firstRunId?: string) => {
    const temporal = executions && new FakeTemporal(executions).client;
    const found: Execution[] = [];
    for await (const one of (await loadRun({ ...at(temporal), root }, WORKFLOW, firstRunId)).executions)
      found.push(one);
    return found;
  };
  const nowhere = () => join(folder, 'nowhere');
  const summaryOf = (found: Execution[]) => found.map(({ runId, history }) => [runId, history?.events.length ?? null]);
  const WHOLE = summaryOf([FIRST, SECOND]);

  it('come from Temporal, or from the run’s own export where Temporal no longer has them', async () => {
    expect(summaryOf(await load([FIRST, SECOND], nowhere()))).toEqual(WHOLE);
    expect(summaryOf(await load([SECOND]))).toEqual(WHOLE);
    expect(summaryOf(await load([]))).toEqual(WHOLE);
    expect(summaryOf(await load(null))).toEqual(WHOLE);
  });

  it('are one chain, whichever of them are lost, and wherever the others are', async () => {
    const builders = [new HistoryBuilder('one', [runInput()])];
    for (const runId of ['two', 'three', 'four', 'five', 'six'])
      builders.push(builders.at(-1)!.continueAsNew(runId, runInput(), record(), progress()));
    const all = builders.map(({ execution }) => execution);
    const root = join(folder, 'bridged');
    const bridged = openStore({ artifactRoot: root, modelRoots: [] });
    const chain = async (kept: number[], exported: number[]) => {
      await rm(root, { recursive: true, force: true });
      for (const { workflowId, runId } of exported.map((i) => all[i]!)) {
        const temporal = new FakeTemporal(all).client;
        await exportExecution({ temporal, store: bridged, workflowId, firstRunId: 'one', runId });
      }
      const found = await load(
        kept.map((i) => all[i]!),
        root,
      );
      return found.map(({ runId, history }) => (history ? runId : `(${runId})`)).join(' ');
    };
    expect(await chain([0, 1, 2, 3, 4, 5], [])).toBe('one two three four five six');
    expect(await chain([3, 4, 5], [0, 1, 2])).toBe('one two three four five six');
    expect(await chain([5], [0, 1, 3, 4])).toBe('one two (three) four five six');
    expect(await chain([3, 4, 5], [])).toBe('(one) (three) four five six');
    expect(await chain([], [1, 4])).toBe('(one) two (three) (four) five (six)');
    expect(await chain([0, 1], [4])).toBe('one two (three) (four) five (six)');
  });

  it('have a gap where both no longer have one', async () => {
    expect(summaryOf(await load([SECOND], nowhere()))).toEqual([
      ['exec-1', null],
      ['exec-2', SECOND.history!.events.length],
    ]);
  });

  it('are those of the newest run with this id, or of the one that is asked for', async () => {
    const other = train(
      prepare(new HistoryBuilder('exec-9', [runInput()], { at: '2026-12-24T10:00:00Z' })),
      0,
    ).execution;
    expect((await load([FIRST, SECOND, other])).map(({ runId }) => runId)).toEqual(['exec-9']);
    expect(summaryOf(await load([FIRST, SECOND, other], nowhere(), 'exec-1'))).toEqual(WHOLE);
    expect(summaryOf(await load([SECOND, other], store.root, 'exec-1'))).toEqual(WHOLE);
    expect(summaryOf(await load(null, store.root, 'exec-1'))).toEqual(WHOLE);
  });

  it('are read newest from Temporal while an execution runs, although it was exported', async () => {
    const root = join(folder, 'running');
    const running = openStore({ artifactRoot: root, modelRoots: [] });
    const early = { ...FIRST, history: { events: FIRST.history!.events.slice(0, 9) } };
    const { workflowId, runId } = early;
    const temporal = new FakeTemporal([early]).client;
    await exportExecution({ temporal, store: running, workflowId, firstRunId: 'exec-1', runId });
    expect(summaryOf(await load(null, root))).toEqual([['exec-1', 9]]);
    expect(summaryOf(await load([FIRST], root))).toEqual([WHOLE[0], ['exec-2', null]]);
  });

  it.each<[string, (text: string) => string]>([
    ['cut', (text) => text.slice(0, text.length / 2)],
    ['emptied', () => ''],
    ['zeroed', (text) => '\0'.repeat(text.length)],
    ['edited', (text) => text.replace('"eventId":"1"', '"eventId":"2"')],
    ['renamed to another workflow', (text) => text.replace(WORKFLOW, `${WORKFLOW}-2`)],
  ])(
    'do not include a file that was %s, which is named where Temporal no longer has the history',
    async (how, harm) => {
      const { root } = openStore({ artifactRoot: join(folder, how), modelRoots: [] });
      const of = {
        store: openStore({ artifactRoot: root, modelRoots: [] }),
        workflowId: WORKFLOW,
        firstRunId: 'exec-1',
      };
      for (const one of [FIRST, SECOND])
        await exportExecution({ ...of, temporal: new FakeTemporal([one]).client, runId: one.runId });
      const histories = join(exportOf(root, WORKFLOW, 'exec-1'), 'histories');
      const harmed = async (name: string) => {
        const text = await readFile(join(histories, name), 'utf8');
        expect(harm(text)).not.toBe(text);
        await writeFile(join(histories, name), harm(text));
      };
      await harmed(FILE_1);
      const { entries } = await buildTimeline(await loadRun({ ...at(null), root }, WORKFLOW));
      const path = join(histories, FILE_1);
      expect(entries[0]).toMatchObject({
        kind: 'gap',
        message: `The history of execution exec-1 is damaged (${path}), and Temporal no longer has it.`,
      });
      expect(summaryOf(await load([FIRST, SECOND], root))).toEqual(WHOLE);
      for (const name of await readdir(histories)) if (name !== FILE_1) await harmed(name);
      await expect(load(null, root)).rejects.toThrow('the exported history was cut or altered. [artifact.damaged]');
    },
  );

  it('come in pages that fit into a gRPC message', async () => {
    const asked = async (one: FakeTemporal) => {
      const found: Execution[] = [];
      for await (const execution of (await loadRun({ ...at(one.client), root: nowhere() }, WORKFLOW)).executions)
        found.push(execution);
      expect(summaryOf(found)).toEqual(WHOLE);
      return new Set(one.asked);
    };
    expect(await asked(new FakeTemporal([FIRST, SECOND]))).toEqual(new Set([1, 200]));
    expect(await asked(new FakeTemporal([FIRST, SECOND], { maxPageSize: 20 }))).toEqual(new Set([1, 200, 25, 4]));
  });

  it('are looked for by their id only', async () => {
    const temporal = new FakeTemporal([FIRST]).client;
    await expect(loadRun({ ...at(temporal), root: store.root }, 'other')).rejects.toThrow(runUnknown('other').message);
    await expect(loadRun({ ...at(null), root: store.root }, '../audit/run-1')).rejects.toThrow('There is no run');
    await expect(loadRun({ ...at(null), root: store.root }, `${'long'.repeat(250)}`)).rejects.toThrow(
      'There is no run',
    );
  });
});
