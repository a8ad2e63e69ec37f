/** A study and its runs: which begins when, what becomes of one that parks or fails, how a study ends and continues. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { END_STUDY_UPDATE, type EndedRun, type StudyInput, type StudyMemo } from '../../contracts/study.js';
import { type Scenario, Scenarios, SMALL } from './scenario.js';
import { fails, failure, object, type Script, sha, trained } from './script.js';
import { busy, gate } from './waiting.js';

let scenarios: Scenarios;
beforeAll(async () => {
  scenarios = await Scenarios.open();
});
afterAll(() => scenarios?.close());

interface Run {
  /** Equal numbers for what is shared. */
  shared: [number, number, number | null];
  settings?: object;
  script?: Script;
}

interface Study {
  id: string;
  study: Scenario;
  runs: Scenario[];
  kept: () => Pick<EndedRun, 'index' | 'end'>[];
}

const apart = (n: number): Run['shared'] => [n, n, n];

interface Options {
  id?: string;
  script?: Script;
  progress?: object[];
  /** Whose input cannot be read. */
  damaged?: (index: number) => boolean;
  /** Inputs are read after that. */
  reading?: Promise<void>;
}

/** With runs that work at once and well, where their scripts say nothing else. */
async function start(runs: Run[], atOnce: number, options: Options = {}): Promise<Study> {
  const { id = newId(), script = {}, progress = [], damaged = () => false, reading } = options;
  const idOf = (index: number) => `${id}-run-s${index}`;
  const children = runs.map((run, index) => scenarios.expect({ id: idOf(index), script: run.script ?? {} }));
  const study = await scenarios.start({
    ...{ type: 'srlmStudy', id, args: [inputOf(atOnce), ...progress] },
    script: {
      srlmReadStudy: () => runs.map(({ shared }) => shared),
      srlmReadStudyRun: async ({ index }) => {
        await reading;
        if (damaged(index)) throw failure('artifact.damaged', 'The plan is damaged.');
        const { config: _, ...input } = scenarios.input({ ...SMALL, ...runs[index]!.settings });
        return { id: idOf(index), digest: sha(idOf(index)), input };
      },
      ...script,
    },
  });
  const kept = () => study.inputs('srlmKeepStudyRun').map(({ run: { index, end } }) => ({ index, end }));
  return { id, study, runs: children, kept };
}

const newId = () => `study-${Math.random().toString(36).slice(2)}`;
const inputOf = (atOnce: number): StudyInput => ({
  ...{ version: 1, plan: object('plan'), atOnce, config: scenarios.config() },
});
const order = (study: Study, how: 'stop' | 'abort') =>
  study.study.send(END_STUDY_UPDATE, [{ how, who: 'ana', why: 'enough' }]);
const memoOf = async ({ study }: Study) => (await study.handle.describe()).memo?.srlmStudy as StudyMemo;

describe.concurrent('a study', () => {
  it('runs what shares no work side by side, and lets the others wait until what they share is done', async () => {
    const sampling = gate();
    const settings = { rounds: 1 };
    const holds: Script = { srlmSelect: (input) => sampling.wait.then(() => scenarioSelect(input)) };
    const study = await start(
      [
        { shared: [0, 0, 0], settings, script: holds },
        { shared: [0, 0, 0], settings },
        { shared: [0, 1, 1], settings },
      ],
      2,
    );
    const [first, second, third] = study.runs as [Scenario, Scenario, Scenario];
    await first.called('srlmSelect');
    // It shares the preparation alone, which is done.
    await third.called('srlmExport', 2);
    expect(second.asked()).toEqual([]);
    sampling.open();
    expect(await study.study.result()).toMatchObject({ result: object('result') });
    expect(second.asked()).toContain('srlmSelect');
    expect(study.kept().map(({ index, end }) => `${index} ${end}`)).toEqual(['2 done', '0 done', '1 done']);
    expect(await memoOf(study)).toMatchObject({ phase: 'done', total: 3, begun: 3, ended: 3 });
  });

  it('lets no more runs work than it may', async () => {
    const ends = [gate(), gate(), gate()];
    const script = (i: number): Script => ({ srlmFineTune: (input) => ends[i]!.wait.then(() => trained(input)) });
    const study = await start(
      ends.map((_, i) => ({ shared: apart(i), script: script(i) })),
      2,
    );
    const [first, second, third] = study.runs as [Scenario, Scenario, Scenario];
    await Promise.all([first.called('srlmFineTune'), second.called('srlmFineTune')]);
    expect(third.asked()).toEqual([]);
    ends[1]!.open();
    await third.called('srlmFineTune');
    for (const one of ends) one.open();
    await study.study.result();
  });

  it('lets a parked run keep neither its place nor what others share with it', async () => {
    const parks: Script = { srlmFineTune: fails('trainer.failed') };
    const study = await start([{ shared: apart(0), script: parks }, { shared: apart(0) }], 1);
    const [first, second] = study.runs as [Scenario, Scenario];
    await second.called('srlmExport');
    await first.parked('fineTune');
    first.answer({ srlmFineTune: (input) => trained(input) });
    await first.command('retry');
    await study.study.result();
    expect(study.kept()).toEqual([
      { index: 1, end: 'done' },
      { index: 0, end: 'done' },
    ]);
  });

  it('goes through all runs where one of them is aborted, and keeps the rounds of that one', async () => {
    const forever: Script = {
      srlmFineTune: (input, call) => (call === 1 ? trained(input) : busy()),
    };
    const study = await start(
      [{ shared: apart(0), settings: { rounds: 1 }, script: forever }, { shared: apart(1) }],
      1,
    );
    const [first] = study.runs as [Scenario];
    await first.called('srlmFineTune', 2);
    await first.command('abort');
    await study.study.result();
    const [aborted, done] = study.study.inputs('srlmKeepStudyRun').map(({ run }) => run);
    expect(aborted).toMatchObject({ index: 0, end: 'aborted', table: expect.anything() });
    expect(done).toMatchObject({ index: 1, end: 'done', table: expect.anything() });
  });

  it('ends a run that cannot be started, and no other', async () => {
    const study = await start([{ shared: apart(0) }, { shared: apart(1) }], 1, {
      damaged: (index) => index === 0,
    });
    await study.study.result();
    expect(study.study.inputs('srlmKeepStudyRun').map(({ run }) => [run.end, run.message])).toEqual([
      ['failed', 'The plan is damaged.'],
      ['done', null],
    ]);
  });

  it('does not begin a run that it was about to begin when it was ended', async () => {
    const reading = gate();
    const study = await start([{ shared: apart(0) }], 1, { reading: reading.wait });
    await study.study.called('srlmReadStudyRun');
    await order(study, 'abort');
    reading.open();
    await expect(study.study.result()).rejects.toThrow();
    expect(study.runs[0]!.asked()).toEqual([]);
    expect(study.kept()).toEqual([]);
  });

  it('begins nothing more once it is stopped, and has a result of what there is', async () => {
    const end = gate();
    const waits: Script = { srlmFineTune: (input) => end.wait.then(() => trained(input)) };
    const study = await start([{ shared: apart(0), script: waits }, { shared: apart(1) }], 1);
    await study.runs[0]!.called('srlmFineTune');
    await order(study, 'stop');
    end.open();
    expect(await study.study.result()).toMatchObject({ result: object('result') });
    expect(study.runs[1]!.asked()).toEqual([]);
    expect((await memoOf(study)).phase).toBe('stopped');
  });

  it('ends its runs where it is aborted', async () => {
    const forever: Script = { srlmFineTune: () => busy() };
    const study = await start([{ shared: apart(0), script: forever }, { shared: apart(1) }], 1);
    await study.runs[0]!.called('srlmFineTune');
    await order(study, 'abort');
    await expect(study.study.result()).rejects.toMatchObject({
      cause: { type: 'run.aborted', message: 'Aborted by ana: enough. All artifacts are kept.' },
    });
    expect(study.kept()).toEqual([{ index: 0, end: 'aborted' }]);
    expect(study.runs[1]!.asked()).toEqual([]);
  });

  it('continues with the runs it had begun, after it was ended by force and is started again', async () => {
    const end = gate();
    const waits: Script = { srlmFineTune: (input) => end.wait.then(() => trained(input)) };
    const study = await start([{ shared: apart(0), script: waits }], 1);
    const [run] = study.runs as [Scenario];
    await run.called('srlmFineTune');
    await study.study.handle.terminate();
    const { config: _, ...input } = scenarios.input(SMALL);
    const again = await scenarios.start({
      ...{ type: 'srlmStudy', id: study.id, args: [inputOf(1)] },
      script: {
        srlmReadStudy: () => [apart(0)],
        srlmReadStudyRun: () => ({ id: run.id, digest: sha(run.id), input }),
      },
    });
    expect((await again.called('srlmLookAtRun')).input).toEqual({ id: run.id, digest: sha(run.id) });
    end.open();
    await again.result();
    expect(run.asked().filter((name) => name === 'srlmPrepareModel')).toHaveLength(1);
    expect(again.inputs('srlmKeepStudyRun')[0].run).toMatchObject({ index: 0, end: 'done', table: expect.anything() });
    expect((await run.handle.describe()).memo?.srlmInput).toBe(sha(run.id));
  });

  it('takes over the runs that its execution before has begun, and does none again', async () => {
    const id = newId();
    await (await scenarios.start({ id: `${id}-run-s1`, settings: SMALL })).result();
    const progress = [{ ended: [0], begun: [1], runs: object('kept'), end: null }];
    const look = () => ({ end: 'done', table: object('table') });
    const study = await start([{ shared: apart(0) }, { shared: apart(1) }, { shared: apart(2) }], 1, {
      ...{ id, progress, script: { srlmLookAtRun: look } },
    });
    await study.study.result();
    expect(study.runs.map((run) => run.asked().length > 0)).toEqual([false, false, true]);
    expect(study.kept()).toEqual([
      { index: 1, end: 'done' },
      { index: 2, end: 'done' },
    ]);
  });

  it('waits for the runs that its execution before has begun, also where it was stopped then', async () => {
    const id = newId();
    const progress = [{ ended: [], begun: [0], runs: null, end: { how: 'stop', who: 'ana', why: '' } }];
    await (await scenarios.start({ id: `${id}-run-s0`, settings: SMALL })).result();
    const look = () => ({ end: 'done', table: object('table') });
    const study = await start([{ shared: apart(0) }, { shared: apart(1) }], 1, {
      ...{ id, progress, script: { srlmLookAtRun: look } },
    });
    await study.study.result();
    expect(study.kept()).toEqual([{ index: 0, end: 'done' }]);
  });

  it('reports a run of the same id that is not its own', async () => {
    const id = newId();
    await (await scenarios.start({ id: `${id}-run-s0`, settings: SMALL })).result();
    const look = () => ({ end: 'refused', table: null });
    const study = await start([{ shared: apart(0) }], 1, { id, script: { srlmLookAtRun: look } });
    await study.study.result();
    expect(study.study.inputs('srlmKeepStudyRun')[0].run).toMatchObject({
      ...{ end: 'refused', message: `A run ${id}-run-s0 exists, and is not of this study.` },
    });
  });
});

const scenarioSelect = ({ data, round }: { data: { sha256: string }; round: number }) => ({
  output: {
    set: {
      dataset: { ...object(`selected ${data.sha256}`, 32), chunks: 1 },
      rows: 32,
      enriched: 1,
      meanRationaleChars: 50,
    },
    decisions: { ...object(`decisions ${round}`, 32), chunks: 1 },
    changed: 1,
    counts: { of: 'guards', candidates: 128, guards: {} },
  },
  meta: { key: sha('select'), reused: false, run: 'some-run', usage: null },
});
