/** No payload of a history is above 4 KB: neither with the largest spec nor whatever operators send. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAX_OTHER_SETS } from '../../contracts/evaluation-sets.js';
import { jsonBytes, MAX_PAYLOAD_BYTES, type ModelRef } from '../../contracts/refs.js';
import { GUARDS } from '../../contracts/rows.js';
import { type Intervention, OperatorRecord, RunProgress, type RunState, type Waiting } from '../../contracts/run.js';
import type { EvalResult, FineTuneInput, SelectInput, ShardedStep, TrainingSet } from '../../contracts/steps.js';
import { MetricName } from '../../contracts/watch.js';
import { assertRoom, carried, clipped, freshProgress, freshRecord } from '../../workflows/control/record.js';
import { memoOf } from '../../workflows/status.js';
import { Scenarios } from '../workflows/scenario.js';
import { done, failure, leftBefore, object, type Script, sha, shard, texts } from '../workflows/script.js';
import { once } from '../workflows/waiting.js';

let scenarios: Scenarios;
beforeAll(async () => {
  scenarios = await Scenarios.open();
});
afterAll(() => scenarios?.close());

const MAX = Number.MAX_SAFE_INTEGER;
const REAL = 0.12345678901234566;
const text = (chars: number) => '語'.repeat(chars);

const ref = (name: string) => ({ sha256: sha(name), rows: MAX, bytes: MAX });
const dataset = (name: string) => ({ ...ref(name), chunks: MAX });
const model = (name: string, path: string | null = null): ModelRef => ({ sha256: sha(name), bytes: MAX, path });
const used = { tokens: MAX, gpuSeconds: 1e6 * REAL, money: 1e6 * REAL };
const set = (name: string): TrainingSet => ({
  dataset: dataset(name),
  rows: MAX,
  enriched: MAX,
  meanRationaleChars: 1000 * REAL,
});
const evaluation: EvalResult = {
  grades: dataset('grades'),
  correct: MAX,
  total: MAX,
  accuracy: REAL,
  low: REAL,
  high: REAL,
  leftOut: MAX,
};
const INTERVAL = { value: -REAL, low: -REAL, high: -REAL };
/** Numbers have four digits behind the point (method/watch/numbers.ts). */
const WIDE = -12345.6789;
const watch = Object.fromEntries(MetricName.options.map((name) => [name, WIDE]));
const LONGEST: MetricName[] = [
  'replyDistinct1',
  'replyDistinct2',
  'replyDistinct4',
  'candidateChars',
  'copiedPrompt',
  'pastedAnswer',
];
const beyond = LONGEST.map((metric) => ({ metric, value: WIDE, limit: WIDE }));
/** As long as the spec takes them. */
const LIMITS = {
  replyDistinct1: { min: WIDE, max: WIDE, drop: 0.1234, rise: 123.4567 },
  candidateChars: { min: WIDE, max: WIDE, rise: 123.4567 },
};
const verdict = { verdict: 'keep', difference: REAL, low: REAL, high: REAL, watch: beyond } as const;

const TRAINING = {
  'training.lora.targetModules': Array.from({ length: 16 }, (_, i) => `${i}`.padEnd(40, 'm')),
  'training.lora.r': 1024,
  'training.lora.alpha': REAL,
  'training.lora.dropout': REAL,
  'training.epochs': REAL,
  'training.batchSize': 65536,
  'training.microBatchSize': 65536,
  'training.learningRate': REAL,
  'training.schedule': 'constant',
  'training.warmupRatio': REAL,
  'training.weightDecay': REAL,
  'training.adamBetas': [REAL, REAL],
  'training.maxGradNorm': REAL,
};
/** As much as one command may set: these, and some on which no artifact depends. */
const SET = { ...TRAINING, engine: 'e'.repeat(64), trainer: 't'.repeat(64) };

/** Names and lists as long, and numbers as large, as a run takes them: a little more is refused before it starts. */
const LARGEST = {
  name: 'n'.repeat(64),
  seed: 2 ** 31 - 1,
  deterministic: false,
  strict: false,
  engine: 'e'.repeat(64),
  trainer: 't'.repeat(64),
  data: { limit: MAX },
  catalysts: { limit: MAX, copies: 1000, use: 'enrich' },
  evaluation: {
    limit: MAX,
    maxTokens: 32768,
    chunkSize: 1024,
    samples: 64,
    enrich: 2,
    temperature: REAL,
    kind: 'choice',
  },
  rounds: 3,
  enrichFrom: 'original',
  sampling: {
    k: 64,
    temperature: REAL,
    topP: REAL,
    topK: MAX,
    maxTokens: 32768,
    maxFailedShare: 1 - REAL,
    chunkSize: 1024,
  },
  selection: { selector: 'rank-sum', minChars: MAX, maxChars: MAX },
  training: {
    from: 'previous',
    method: 'lora',
    epochs: REAL,
    batchSize: 65536,
    microBatchSize: 65536,
    lora: { r: 1024, alpha: REAL, dropout: REAL, targetModules: TRAINING['training.lora.targetModules'] },
    learningRate: REAL,
    schedule: 'constant',
    warmupRatio: REAL,
    weightDecay: REAL,
    adamBetas: [REAL, REAL],
    maxGradNorm: REAL,
    maxLength: 1_000_000,
    overlong: 'leave-out',
    precision: 'bf16-autocast',
    gradientCheckpointing: false,
    checkpoint: { everySteps: MAX, everyMinutes: REAL, keep: 20 },
  },
  gate: {
    tolerance: REAL,
    confidence: 0.5 + REAL,
    patience: MAX,
    watch: LIMITS,
  },
  final: 'last',
  approvals: ['catalysts', 'before-train', 'after-round'],
  budget: { tokens: MAX, gpuSeconds: 1e15 * REAL, hours: 1e5 * REAL, money: 1e15 * REAL },
};

/** As many settings as a fork may be made for. */
const FIELDS = Object.keys(TRAINING);

const COUNTS = {
  ...texts({ rows: MAX, withText: MAX, asked: MAX, texts: MAX, empty: MAX, cut: 1, filtered: 1e15, refused: 1e15 }),
  ...{ suspect: 1e15, reasons: Array.from({ length: 4 }, () => ({ reason: '"'.repeat(45), count: MAX })) },
};
const SCORES = { of: 'scores', candidates: MAX, without: MAX };
const KEPT_OUT = {
  of: 'guards',
  candidates: MAX,
  guards: Object.fromEntries(GUARDS.map((guard) => [guard, MAX])),
};
const LEFT_OUT = { of: 'training', rows: MAX, leftOut: MAX, cut: MAX };

const SCRIPT: Script = {
  srlmPrepareModel: () => done(model('start', text(200))),
  srlmIngest: ({ kind }) => done({ dataset: dataset(kind), missingRationales: 1, meanRationaleChars: REAL }),
  srlmAddRationales: () => done({ set: set('with rationales'), counts: { of: 'rationales', rows: MAX, without: MAX } }),
  // The replies to the questions are sampled, all else is found.
  srlmOpenStep: (step: ShardedStep) => {
    const counts = step.step === 'logprob' ? SCORES : COUNTS;
    const found = done({ dataset: dataset(JSON.stringify(step)), counts }, used, true);
    const isSampled = step.step === 'sample' && step.purpose === 'evaluate';
    return { step: object(JSON.stringify(step)), rows: MAX, chunks: 2, done: isSampled ? null : found };
  },
  srlmShard: () => shard(1, { usage: { ...used, tokens: 1e9 } }),
  srlmAssemble: () => done({ dataset: dataset('replies'), counts: COUNTS }, used),
  srlmParse: () => done(dataset('parsed')),
  srlmSelect: ({ round }: SelectInput) =>
    done({ set: set(`${round}`), decisions: dataset('decisions'), changed: MAX, counts: KEPT_OUT }),
  srlmMix: (_, call) => {
    if (call % 2 === 1) throw failure('x'.repeat(500), text(5000));
    return done(dataset('mixture'));
  },
  srlmFineTune: ({ data }: FineTuneInput) => {
    const trained = {
      model: model(data.sha256),
      steps: MAX,
      trainLoss: REAL,
      tokens: MAX,
      precision: 'bf16, optimizer fp32',
      counts: LEFT_OUT,
    };
    return done(trained, { ...used, tokens: 1e9 });
  },
  srlmGrade: () => done(evaluation),
  srlmCurves: () => ref('curves'),
  srlmWatch: () => done(watch),
  srlmOpenSets: () => {
    const set = { questions: dataset('questions'), kind: 'likelihood', watch: false, maxTokens: 32768 };
    const names = Array.from({ length: MAX_OTHER_SETS }, (_, i) => `${'n'.repeat(19)}${i}`);
    return { sets: Object.fromEntries(names.map((name) => [name, set])) };
  },
  srlmAnswerRows: () => done({ data: dataset('rows'), candidates: dataset('rationales') }),
  srlmGradeLogprobs: () =>
    done({ ...INTERVAL, grades: dataset('grades'), total: MAX, correct: MAX, leftOut: MAX, gain: INTERVAL }),
  srlmReport: () => ({
    report: ref('report'),
    comparisons: (['before', 'best', 'first'] as const).map((one) => ({
      ...{ set: null, against: [one], round: 1000, difference: -REAL, low: -REAL, high: -REAL },
      test: { onlyOther: MAX, onlyThis: MAX, p: REAL },
    })),
  }),
  srlmGate: () => done(verdict),
};

describe.concurrent('a run with the largest spec, and ten commands a round of the largest size', () => {
  const actor = { who: text(120), why: text(500) };
  const story = once(async () => {
    const run = await scenarios.start({
      id: `run-${Math.random()}`.padEnd(200, '-'),
      args: [
        {
          ...scenarios.input(LARGEST),
          sets: { ...ref('sets'), others: 5 },
          fork: { of: 'f'.repeat(200), fromRound: 1, fields: FIELDS },
        },
      ],
      script: SCRIPT,
    });
    let sent = 0;
    const send = async (name: Parameters<typeof run.command>[0], more: object = {}) => {
      sent++;
      await run.command(name, { ...actor, ...more }, 'i'.repeat(90) + sent);
    };
    await run.waiting('catalysts');
    await send('approve');
    for (let round = 0; round <= 3; round++) {
      await run.until(({ halt }) => halt?.kind === 'parked' && halt.round === round);
      for (const name of ['pause', 'resume', 'pause', 'resume'] as const) await send(name);
      await send('set', { set: round === 2 ? SET : { 'budget.tokens': MAX } });
      await send('retry', { set: { 'budget.tokens': MAX } });
      await run.waiting('before-train', round);
      await send('approve');
      await run.waiting('after-round', round);
      for (let i = 0; i < 2; i++) await send('promote', { round });
      await send(round === 1 ? 'reject' : 'approve');
    }
    await run.result();
    return { run, executions: await run.executions(), sent };
  });

  it('has no payload above 4 KB in any of its histories', async () => {
    const { executions } = await story();
    const payloads = executions.flatMap(({ events }, execution) =>
      events.flatMap((event) => payloadsOf(event, `${execution}/${event.eventId}`)),
    );
    expect(executions).toHaveLength(4);
    expect(payloads.length).toBeGreaterThan(300);
    expect(payloads.filter(({ bytes }) => bytes > MAX_PAYLOAD_BYTES)).toEqual([]);
  });

  it('has them all in its histories', async () => {
    const { executions, sent } = await story();
    const all = executions.flatMap(({ events }) => events);
    expect(all.filter((event) => event.workflowExecutionUpdateAcceptedEventAttributes)).toHaveLength(sent);
    expect(sent).toBeGreaterThanOrEqual(40);
  });
});

interface SizedPayload {
  at: string;
  bytes: number;
}

/** All payloads below a value of a history, wherever they are. */
function payloadsOf(value: unknown, at: string): SizedPayload[] {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return [];
  const { metadata, data } = value as { metadata?: unknown; data?: unknown };
  if (metadata && data instanceof Uint8Array) return [{ at, bytes: data.length }];
  return Object.entries(value).flatMap(([key, one]) => payloadsOf(one, `${at}.${key}`));
}

describe('what is carried to the next execution', () => {
  const intervention: Intervention = {
    kind: 'decision',
    at: '2026-01-01T00:00:00.000Z',
    who: text(120),
    why: text(2000),
    round: 100,
    step: 'logprob (current model)',
    answers: '2026-01-01T00:00:00.000Z',
    set: TRAINING,
    id: 'i'.repeat(100),
  };
  const head = { round: 100, model: model('m'), set: set('s') };
  const state: RunState = {
    ...leftBefore(1, new Map()),
    round: 100,
    reached: 100,
    repairs: 20,
    rollbacksInARow: MAX,
    rounds: 101,
    usage: used,
    table: ref('table'),
    prepared: {
      model: model('m', text(200)),
      set: set('s'),
      catalysts: dataset('c'),
      questions: dataset('q'),
    },
    head,
    best: { ...head, evaluation },
    warnings: Array.from({ length: 9 }, () => text(1000)),
    unexported: Array.from({ length: 99 }, () => '01234567-89ab-cdef-0123-456789abcdef'),
    changes: [{ fromRound: 100, set: { ...SET, trainer: 't'.repeat(1600 - jsonBytes(SET)) } }],
    overrides: Array.from({ length: 12 }, () => ({ round: 100, verdict: 'roll-back' as const, before: 101 })),
    approved: { catalysts: 100, 'before-train': 100, 'after-round': 100 },
    interventions: Array.from({ length: 100 }, () => intervention),
    interventionCount: MAX,
    paused: { who: text(120), at: '2026-01-01T00:00:00.000Z' },
    stopAfter: 'round',
    lastRound: 100,
    final: 'best',
    steps: [],
    halt: null,
    end: null,
  };

  it('is two payloads of at most 4 KB, whatever happened in a run', () => {
    const [record, progress] = carried(state);
    expect(OperatorRecord.parse(record)).toEqual(record);
    expect(RunProgress.parse(progress)).toEqual(progress);
    expect(() => assertRoom(state.changes)).not.toThrow();
    expect(() => assertRoom([...state.changes, { fromRound: 101, set: SET }])).toThrow('too many settings');
    expect(jsonBytes(record)).toBeLessThanOrEqual(MAX_PAYLOAD_BYTES);
    expect(jsonBytes(progress)).toBeLessThanOrEqual(MAX_PAYLOAD_BYTES);
  });

  it('keeps the newest commands, with the ids by which repeated ones are known', () => {
    const numbered = state.interventions.map((one, i) => ({ ...one, id: `${i}` }));
    const [record] = carried({ ...state, interventions: numbered });
    expect(record.interventions.at(-1)?.id).toBe('99');
    expect(record.interventionCount).toBe(MAX);
  });

  it('is all that a fresh run begins with', () => {
    const fresh = { ...state, ...freshRecord(), ...freshProgress('2026-01-01T00:00:00.000Z') };
    expect(carried(fresh)).toEqual([freshRecord(), freshProgress('2026-01-01T00:00:00.000Z')]);
  });

  it('has a memo of at most 4 KB beside it, also where the run waits', () => {
    const waiting: Waiting = {
      kind: 'waiting',
      approval: 'before-train',
      round: 100,
      since: '2026-01-01T00:00:00.000Z',
      data: dataset('d'),
      rows: MAX,
      enriched: MAX,
      evaluation,
      gate: verdict,
    };
    expect(jsonBytes(memoOf({ ...state, halt: waiting }, text(200)))).toBeLessThanOrEqual(MAX_PAYLOAD_BYTES);
  });

  it('has texts that are cut between characters, never longer than their bound', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.integer({ min: 0, max: 60 }), (long, bytes) => {
        const short = clipped(long, bytes);
        expect(long.startsWith(short)).toBe(true);
        expect(jsonBytes(short) - 2).toBeLessThanOrEqual(bytes);
        expect(Buffer.from(short).toString()).toBe(short);
      }),
    );
  });
});
