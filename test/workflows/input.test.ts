/**
 * What reaches a run from outside: input that does not parse, messages that nobody understands, commands that are too
 * late.
 */
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunInput } from '../../contracts/run.js';
import { RunSettings } from '../../contracts/spec.js';
import { WorkflowConfig } from '../../contracts/workflow-config.js';
import { freshProgress, freshRecord } from '../../workflows/control/record.js';
import { srlmRun } from '../../workflows/run.js';
import { srlmSample } from '../../workflows/sample.js';
import { Scenarios, SMALL } from './scenario.js';
import { object } from './script.js';
import { gate, once } from './waiting.js';

let scenarios: Scenarios;
beforeAll(async () => {
  scenarios = await Scenarios.open();
});
afterAll(() => scenarios?.close());

const record = freshRecord();
const progress = freshProgress('2026-01-01T00:00:00.000Z');
const input = {
  version: 2,
  settings: RunSettings.parse({ ...SMALL, data: {} }),
  texts: object('texts'),
  data: object('data'),
  catalysts: null,
  evaluation: null,
  fork: null,
  config: WorkflowConfig.parse({
    cpuQueue: 'cpu',
    gpuQueue: 'gpu',
    hostQueues: false,
    heartbeatSeconds: 20,
    shardsInFlight: 4,
    maxAttempts: 3,
    searchAttributes: false,
    upgrades: true,
  }),
} satisfies RunInput;

/** What a run is started with, and the sentence that it fails with. */
const WRONG: Record<string, { args: unknown[]; says: RegExp }> = {
  'of another version': {
    args: [{ ...input, version: 1 }],
    says: /^run input: version: expected 2, found 1\. /,
  },
  'with a field that is not known': {
    args: [{ ...input, order: 66 }],
    says: /^run input: order: there is no such field\. /,
  },
  'with a malformed record': {
    args: [input, { ...record, paused: true }],
    says: /^operator record: paused: expected a map of fields, found true\. /,
  },
  'with a record that sets what is wrong, in a round to come': {
    args: [input, { ...record, changes: [{ fromRound: 2, set: { 'sampling.k': 0 } }] }, progress],
    says: /^operator record: sampling\.k: /,
  },
  'with malformed progress': {
    args: [input, record, { ...progress, usage: null }],
    says: /^run progress: usage: expected a map of fields, found null\. /,
  },
  'with progress whose parts do not fit together': {
    args: [input, record, { ...progress, round: 2 }],
    says: /^run progress: round: it does not fit what is said to be done\. /,
  },
  'with a time that is none': {
    args: [input, record, { ...progress, startedAt: 'yesterday' }],
    says: /^run progress: startedAt: /,
  },
  'with a budget of more hours than a date can be away': {
    args: [{ ...input, settings: { ...input.settings, budget: { hours: 1e10 } } }],
    says: /^run input: settings\.budget\.hours: expected at most 1000000, found 10000000000\. /,
  },
  'with more attempts than Temporal counts': {
    args: [{ ...input, config: { ...input.config, maxAttempts: 3e9 } }],
    says: /^run input: config\.maxAttempts: expected at most 1000000, found 3000000000\. /,
  },
  'with a task queue of Temporal’s own': {
    args: [{ ...input, config: { ...input.config, cpuQueue: '/_sys/x' } }],
    says: /^run input: config\.cpuQueue: a name cannot begin with a slash/,
  },
};

describe.concurrent('a run with input', () => {
  it('that is missing fails once, with one sentence and no failed workflow task', async () => {
    const run = await scenarios.start({ args: [] });
    expect(await run.failure()).toEqual({
      type: 'input.invalid',
      message:
        'run input: expected a map of fields, found nothing. Worker and workflow are of different versions, or the input was written by hand: see `srlm doctor`. [input.invalid]',
    });
    expect((await run.handle.describe()).status.name).toBe('FAILED');
    const [execution, ...others] = await run.executions();
    expect(others).toEqual([]);
    expect(execution!.events.filter((event) => event.workflowTaskFailedEventAttributes)).toEqual([]);
    expect(run.asked()).toEqual([]);
  });

  // What comes before a workflow's first command needs no Temporal.
  it.each(Object.entries(WRONG))(
    '%s fails with a sentence, and not as a fault of the code',
    async (_, { args, says }) => {
      const failed = await (srlmRun as (...args: unknown[]) => Promise<unknown>)(...args).catch((error) => error);
      expect(failed).toBeInstanceOf(ApplicationFailure);
      expect(failed).toMatchObject({ type: 'input.invalid', nonRetryable: true, message: expect.stringMatching(says) });
    },
  );

  it('that is not for a sampling fails it with a sentence', async () => {
    await expect(srlmSample(input as never)).rejects.toThrow(/^sample input: settings/);
  });
});

describe.concurrent('a run that gets messages which nobody understands, and commands after its end', () => {
  const story = once(async () => {
    const held = gate();
    const run = await scenarios.start({
      settings: { ...SMALL, approvals: ['catalysts'] },
      script: { srlmExport: () => held.wait },
    });
    const before = await run.waiting('catalysts');
    await run.handle.signal('srlmSet', { kind: 'set' });
    const ana = { who: 'ana', why: '' };
    const refusals = {
      'no one': await run.refusedUpdate('srlmPause', [{ why: 'so' }]),
      nothing: await run.refusedUpdate('srlmPause', []),
      'another field': await run.refusedUpdate('srlmPause', [{ ...ana, force: true }]),
      'a long reason': await run.refusedUpdate('srlmPause', [{ ...ana, why: 'x'.repeat(501) }]),
      'many bytes': await run.refusedUpdate('srlmPause', [{ who: '\u0001'.repeat(120), why: '\u0001'.repeat(600) }]),
      'many escaped bytes': await run.refusedUpdate('srlmSet', [
        { who: '\u0001'.repeat(120), why: '\u0001'.repeat(500), set: { engine: 'e'.repeat(64), x: 'x'.repeat(600) } },
      ]),
      'large settings': await run.refusedUpdate('srlmSet', [{ ...ana, set: { engine: 'x'.repeat(1500) } }]),
      'no command': await run.refusedUpdate('srlmExplode', [ana]),
    };
    const after = await run.state();
    await run.command('approve');
    await run.called('srlmExport');
    const late = { pause: await run.refused('pause'), set: await run.refused('set', { set: { rounds: 3 } }) };
    const memo = await run.memo();
    held.open();
    const result = await run.result();
    const [{ events }] = (await run.executions()) as [Awaited<ReturnType<typeof run.executions>>[0]];
    return { before, after, refusals, late, memo, result, events, lastMemo: await run.memo() };
  });

  it('refuses each malformed command with a sentence', async () => {
    const { refusals } = await story();
    const fields = '(the fields of pause are who, why)';
    expect(refusals).toEqual({
      'no one': `who: expected text, found nothing ${fields}`,
      nothing: `expected a map of fields, found nothing ${fields}`,
      'another field': `force: there is no such field ${fields}`,
      'a long reason': 'why: expected at most 500 characters, found 501',
      'many bytes': expect.stringContaining('why: '),
      'many escaped bytes': 'more than 4096 bytes of JSON',
      'large settings': expect.stringMatching(/^set: it must be at most 1500 bytes of JSON, found /),
      'no command': expect.stringContaining('srlmExplode'),
    });
  });

  it('is not changed by them', async () => {
    const { before, after } = await story();
    expect(after).toEqual(before);
  });

  it('never fails a workflow task because of them', async () => {
    const { events } = await story();
    expect(events.filter((event) => event.workflowTaskFailedEventAttributes)).toEqual([]);
    expect(events.filter((event) => event.workflowExecutionUpdateAcceptedEventAttributes)).toHaveLength(1);
  });

  it('refuses commands once it has ended, although its history is not exported yet', async () => {
    expect((await story()).late).toEqual({ pause: 'the run has ended', set: 'the run has ended' });
  });

  it('stays done, and has its result', async () => {
    const { memo, lastMemo, result } = await story();
    expect([memo.phase, lastMemo.phase]).toEqual(['done', 'done']);
    expect(result).toMatchObject({ best: 0, stopped: false });
  });
});
