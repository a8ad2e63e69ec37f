/**
 * One run with a killed worker, a parked step, a round that is rolled back, and a fork of it, which does nothing again:
 * `srlm history` shows each in its place, and its exported histories replay.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RunFile } from '../../audit/bundle.js';
import { Timeline } from '../../audit/timeline.js';
import { MAX_PAYLOAD_BYTES } from '../../contracts/refs.js';
import { packageRoot } from '../../processes/python.js';
import { columns } from '../../text/columns.js';
import { Commands, NO_TEMPORAL, srlm } from '../cli/command.js';
import { type Finished, Harness, harnessSpec, temporalAddress } from '../support/harness.js';

/** Epochs that are enough to learn a few rows by heart, so that a round which learns less is surely worse. */
const ENOUGH = 70;
const spec = harnessSpec({
  data: { path: 'train.jsonl', limit: 8 },
  catalysts: { path: 'catalysts.jsonl', limit: 2 },
  evaluation: { path: 'train.jsonl', maxTokens: 24, chunkSize: 4, limit: 8 },
  training: { epochs: 100, checkpoint: { everySteps: 50 } },
  rounds: 2,
});

describe('the history of a run', { timeout: 240_000 }, () => {
  let harness: Harness;
  let address: string;
  let whole: Finished;

  beforeAll(async () => {
    Runtime.install({ logger: new DefaultLogger('ERROR', () => {}) });
    address = await temporalAddress();
    harness = await Harness.open('history');
    commands = new Commands(harness.folder, { TEMPORAL_ADDRESS: address });
  });
  afterAll(async () => {
    commands?.close();
    await harness?.close();
  });

  let commands: Commands;
  const run = (...args: string[]) => commands.run(...args);
  const without = (...args: string[]) => srlm(harness.folder, args, { TEMPORAL_ADDRESS: NO_TEMPORAL });
  const historyOf = async (runId: string, by = run) => {
    const { code, stdout, stderr } = await by('history', runId);
    expect([code, stderr]).toEqual([0, '']);
    return stdout.trimEnd().split('\n');
  };
  /** Each found after the one before. */
  const inOrder = (lines: readonly string[], wanted: readonly RegExp[]) => {
    let at = 0;
    for (const one of wanted) {
      const found = lines.slice(at).findIndex((line) => one.test(line));
      expect(found, `${one} after line ${at} of\n${lines.join('\n')}`).toBeGreaterThanOrEqual(0);
      at += found + 1;
    }
  };

  it('shows a park with retry --set, a killed worker and a roll-back, each in its place', async () => {
    const runId = await harness.start(spec, 'whole');
    // Python is needed to try the model out, and is gone when the training wants it.
    await harness.client.send(runId, 'pause', {});
    await harness.status(runId, 'the model is prepared', ({ steps }) =>
      steps.some(({ step, state }) => step === 'prepare' && state === 'done'),
    );
    await rename(harness.python, `${harness.python}-away`);
    await harness.client.send(runId, 'resume', {});
    await harness.status(
      runId,
      'training is parked',
      ({ halt }) => halt?.kind === 'parked' && halt.step === 'fineTune',
    );
    await rename(`${harness.python}-away`, harness.python);
    await harness.client.send(runId, 'retry', { why: 'half of it will do', set: { 'training.epochs': ENOUGH } });
    await harness.client.send(runId, 'set', { set: { 'training.epochs': 0.5 }, fromRound: 1, why: 'to be worse' });
    await harness.client.send(runId, 'set', { set: { 'training.epochs': ENOUGH }, fromRound: 2 });
    await expect(harness.client.send(runId, 'set', { set: { seed: 1 }, fromRound: 2 })).rejects.toThrow(
      'seed is the same in all rounds of a run: start another run to change it',
    );
    await harness.trainerAt(10);
    await harness.killWorker();
    await harness.startWorker();
    whole = await harness.finish(runId);

    const lines = await historyOf(runId);
    inOrder(lines, [
      /^whole · done · /,
      /started by .*: rounds 0 to 2$/,
      /workflow worker \d+@\S+ \(SDK /,
      /ROUND 0 continues from the starting model/,
      /fineTune · failed after /,
      /PARKED at fineTune for .*, after 1 attempt \[python\.missing\]/,
      /RETRY by \S+: \(fineTune\) training\.epochs = 70/,
      /why: half of it will do/,
      /fineTune · .* tokens · /,
      /up to 2 attempts; the last failure: its worker stopped responding/,
      /workflow worker /,
      /round 0 done after /,
      /ROUND 1 continues from round 0$/,
      /gate: ROLLED BACK · .* the best so far/,
      /difference -.* surely worse by more than the tolerance of 2\.0/,
      /round 1 done after /,
      /ROUND 2 continues from round 0: round 1 was rolled back/,
      /gate: KEPT · /,
      /DONE after .* · best round [02] · model [0-9a-f]{12}$/,
    ]);
    inOrder(lines, [/SET by \S+: training\.epochs = 0\.5 from round 1 on/, /why: to be worse/, /round 0 done/]);
    for (const line of lines) expect(columns(line)).toBeLessThanOrEqual(120);
  });

  it('is of one that starts from the round before the one that is rolled back, which stays on record', async () => {
    const { rounds, best, model } = whole;
    const [first, second, third] = rounds;
    expect(first!.evaluation!.accuracy).toBeGreaterThan(0.3);
    expect(second!.evaluation!.accuracy).toBeLessThan(first!.evaluation!.accuracy);
    expect(rounds.map(({ gate }) => gate?.verdict ?? null)).toEqual([null, 'roll-back', 'keep']);
    expect(best).not.toBe(1);
    expect(model).toEqual(rounds[best]!.model);
    // Round 2 samples from round 0's weights, not from round 1's.
    const recipes = (await harness.records('sample')).map(
      ({ inputs }) => (inputs as unknown as { recipe: Recipe }).recipe,
    );
    const enrichment = recipes.find(({ purpose, round }) => purpose === 'enrich' && round === 2);
    expect(enrichment?.weights).toBe(first!.model.sha256);
    expect(third!.candidates?.rows).toBe(16);
  });

  it('shows a fork: of which run, from which round, what was set, and what it reused', async () => {
    const sampled = harness.requests().length;
    const trainings = harness.jobs().length;
    const set = { 'selection.selector': 'length', 'training.epochs': 1 };
    await harness.client.fork('whole', { fromRound: 2, set, id: 'fork' });
    const begun = await harness.status('fork', 'round 2 has begun', ({ round, endedAt }) => round === 2 || endedAt);
    expect(begun.forkOf).toBe('whole');
    expect(harness.jobs().length).toBe(trainings);
    await harness.finish('fork');
    // Round 2's own samples are those of its parent, too: only what comes after the selection is new.
    const again = harness.requests().slice(sampled);
    expect(again.filter(({ request }) => request.startsWith('enrich'))).toEqual([]);
    expect(harness.jobs().length).toBe(trainings + 1);
    const lines = await historyOf('fork');
    inOrder(lines, [
      /^fork · done · /,
      /^fork of whole from round 2, with training\.epochs = 1, selection\.selector = "length"$/,
      /ROUND 0 /,
      /fineTune · reused from run whole · /,
      /ROUND 1 /,
      /sample · reused from run whole · /,
      /gate: ROLLED BACK/,
      /ROUND 2 continues from round 0: round 1 was rolled back/,
      /sample · reused from run whole · /,
      /select · [\d.]+ s · /,
      /DONE after /,
    ]);
  });

  it('is one document with --json', async () => {
    const { stdout } = await run('--json', 'history', 'whole');
    const timeline = Timeline.parse(JSON.parse(stdout));
    expect(timeline).toMatchObject({ run: 'whole', state: 'done', fork: null });
    const times = timeline.entries.map(({ at }) => at);
    expect(times).toEqual([...times].sort());
  });

  it('is exported with histories that replay, by whom and as the spec was and became', async () => {
    const done = await run('audit', 'export', 'whole', '--out', 'exported');
    expect([done.code, done.stderr]).toEqual([0, '']);
    expect(done.stdout).toMatch(/^whole: 3 histories .* in exported\.\n$/);
    const folder = join(harness.folder, 'exported');
    const file = RunFile.parse(JSON.parse(await readFile(join(folder, 'run.json'), 'utf8')));
    expect(file).toMatchObject({
      state: 'done',
      spec: { training: { epochs: 100 } },
      specNow: { training: { epochs: ENOUGH } },
      exported: { complete: true },
    });
    const names = await readdir(join(folder, 'histories'));
    const histories = await Promise.all(
      names.map(async (name) => JSON.parse(await readFile(join(folder, 'histories', name), 'utf8'))),
    );
    const workflowBundle = { codePath: join(packageRoot, 'dist/workflow-bundle.js') };
    for await (const { error } of Worker.runReplayHistories({ workflowBundle }, histories))
      expect(error).toBeUndefined();
    for (const [, data = ''] of JSON.stringify(histories).matchAll(/"data":"([^"]+)"/g))
      expect(Buffer.from(data, 'base64').length).toBeLessThanOrEqual(MAX_PAYLOAD_BYTES);
    expect(new Set(file.records.map(({ step }) => step))).toEqual(
      new Set(['ingest', 'sample', 'logprob', 'parse', 'select', 'mix', 'fineTune', 'grade', 'watch']),
    );

    const again = await run('audit', 'export', 'whole', '--out', 'exported');
    expect([again.code, again.stderr]).toEqual([
      2,
      '--out exported: the folder is not empty. Choose another, or add --force. [usage]\n',
    ]);
    expect((await run('audit', 'export', 'whole', '--out', 'exported', '--force')).code).toBe(0);
  });

  it('is kept by the run itself, for when Temporal has it no more', async () => {
    const folder = join(harness.artifactRoot, 'audit/whole');
    const [execution] = await readdir(folder);
    expect(existsSync(join(folder, execution!, 'run.json'))).toBe(true);
    const own = RunFile.parse(JSON.parse(await readFile(join(folder, execution!, 'run.json'), 'utf8')));
    expect(own).toMatchObject({ state: 'done', exported: { by: 'the run itself', complete: false } });
    expect(own.executions.map(({ round }) => round)).toEqual([0, 1, 2]);
    const [known, kept, unknown] = await Promise.all([
      historyOf('whole'),
      historyOf('whole', without),
      without('history', 'nobody'),
    ]);
    // But for the last line, which gives the result.
    expect(kept.slice(1, -1)).toEqual(known.slice(1, -1));
    expect(kept.at(-1)).toMatch(/DONE after /);
    expect([unknown.code, unknown.stderr]).toEqual([
      2,
      expect.stringContaining('Temporal does not answer at 127.0.0.1:1'),
    ]);
  });
});

interface Recipe {
  purpose: string;
  round?: number;
  weights: string;
}
