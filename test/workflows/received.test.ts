/** A sampling step that received too little parks; what it did not receive is shown, and asked for again. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Parked } from '../../contracts/run.js';
import { Scenarios, SMALL } from './scenario.js';
import { done, model, texts, verdicts } from './script.js';

let scenarios: Scenarios;
beforeAll(async () => {
  scenarios = await Scenarios.open();
});
afterAll(() => scenarios?.close());

const SETTINGS = { ...SMALL, rounds: 1 };
const NOTHING = texts({ withText: 0, texts: 0, empty: 128, suspect: 128 });
const assembled = (counts: object) => done({ dataset: { ...model('d'), rows: 32, chunks: 1 }, counts }) as never;

describe.concurrent('a sampling step', () => {
  it('that received nothing parks, and asks again where the endpoint misbehaved', async () => {
    const script = { srlmAssemble: (_: unknown, call: number) => assembled(call === 1 ? NOTHING : texts()) };
    const run = await scenarios.start({ settings: SETTINGS, script });
    const { steps, ...parked } = await run.parked('sample');
    const halt = parked.halt as Parked;
    expect(halt).toMatchObject({ type: 'sampling.failed', skippable: true });
    expect(halt.message).toContain(
      '0 of 32 rows have texts; of 128 texts, 128 empty. Look at the endpoint, then ask again',
    );
    expect(halt.message).not.toContain('maxFailedShare');
    expect(steps.at(-1)).toMatchObject({ step: 'sample', counts: NOTHING });
    expect(run.inputs('srlmShard')[0].suspects).toEqual({ since: 0, forkOf: null });
    await run.command('retry');
    const result = await run.result();
    const [, again] = run.inputs('srlmShard');
    expect(again.suspects.since).toBeGreaterThan(0);
    expect(run.inputs('srlmAssemble')[1].suspects).toEqual(again.suspects);
    const [, round] = run.rounds(result);
    expect(round!.steps.find(({ step }) => step === 'sample')!.counts).toEqual(texts());
  });

  it('parks where more failed than may, and continues when more may', async () => {
    const counts = texts({ texts: 60, filtered: 68, reasons: [{ reason: 'content_filter', count: 68 }] });
    const run = await scenarios.start({ settings: SETTINGS, script: { srlmAssemble: () => assembled(counts) } });
    const halt = (await run.parked('sample')).halt as Parked;
    expect(halt.message).toContain(
      '68 filtered (content_filter). The outcome of each row is kept, for other runs as well; only another seed asks again.',
    );
    expect(halt.message).toContain('--set sampling.maxFailedShare=1. [sampling.failed]');
    await run.command('retry', { set: { 'sampling.maxFailedShare': 0.6 } });
    await run.result();
    // The setting decides nothing about the texts.
    expect(run.inputs('srlmOpenStep')[1].sampling).toEqual(run.inputs('srlmOpenStep')[0].sampling);
  });

  it('whose texts were mostly cut ends with a warning', async () => {
    const counts = texts({ cut: 127 });
    const run = await scenarios.start({ settings: SETTINGS, script: { srlmAssemble: () => assembled(counts) } });
    await run.result();
    expect((await run.state()).warnings).toEqual([
      'round 1 · sample: 127 of 128 texts were cut at maxTokens 48; raise sampling.maxTokens',
    ]);
  });

  it('that was asked for nothing does not park', async () => {
    const counts = texts({ rows: 0, withText: 0, asked: 0, texts: 0 });
    const run = await scenarios.start({ settings: SETTINGS, script: { srlmAssemble: () => assembled(counts) } });
    await run.result();
  });
});

describe.concurrent('a judge', () => {
  const selection = { selector: 'judge', judge: { engine: 'teacher', maxTokens: 4 } };
  const settings = { ...SETTINGS, selection };

  it('is asked after sampling, with the starting model for an engine that loads one, and its verdicts select', async () => {
    const script = { srlmAssemble: (_: unknown, call: number) => assembled(call === 1 ? texts() : verdicts()) };
    const run = await scenarios.start({ settings, script });
    const result = await run.result();
    const judged = run.inputs('srlmOpenStep').filter(({ step }) => step !== 'sample');
    expect(judged).toMatchObject([{ step: 'judge', engine: 'teacher', maxTokens: 4, model: model('start') }]);
    expect(run.inputs('srlmSelect')[0]).toMatchObject({ scores: {}, judged: { rows: 32 } });
    const [, round] = run.rounds(result);
    expect(round!.steps.find(({ step }) => step === 'judge')!.counts).toEqual(verdicts());
  });

  it('of whose replies too many hold no verdict parks the step, and another one may be asked', async () => {
    const counts = verdicts({ unread: 100, first: 20, second: 8, ties: 0, agree: 3 });
    const script = {
      srlmAssemble: (_: unknown, call: number) =>
        call === 2 ? assembled(counts) : assembled(call === 1 ? texts() : verdicts()),
    };
    const run = await scenarios.start({ settings, script });
    const halt = (await run.parked('judge')).halt as Parked;
    expect(halt).toMatchObject({ type: 'judge.unreadable', skippable: true });
    expect(halt.message).toContain('64 comparisons in both orders, 3 agree; the first place preferred 20 times');
    await run.command('retry', { set: { 'selection.judge.engine': 'other' } });
    await run.result();
    expect(run.inputs('srlmOpenStep').at(-1)).toMatchObject({ step: 'judge', engine: 'other' });
  });
});
