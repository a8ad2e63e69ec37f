/** How a run is shown: whole pictures, pinned. */
import { describe, expect, it } from 'vitest';
import { changes, lastKnown, progressLine } from '../../client/cli/lines.js';
import { comparisonsTable, setsTable } from '../../client/cli/report-lines.js';
import { roundsTable, usageTable } from '../../client/cli/tables.js';
import { renderRun } from '../../client/cli/tree.js';
import { watchTable } from '../../client/cli/watch-table.js';
import type { RoundReport, SetResult } from '../../contracts/report.js';
import type { Parked, RunStatus, StepState } from '../../contracts/run.js';
import type { GateOutput, RoundSummary, StepCost } from '../../contracts/steps.js';
import type { RoundWatch } from '../../contracts/watch.js';
import { columns } from '../../text/columns.js';

const START = Date.parse('2026-01-01T00:00:00Z');
const at = (seconds: number) => new Date(START + seconds * 1000).toISOString();
const SHA = 'a'.repeat(64);
const DATASET = { sha256: SHA, rows: 0, bytes: 1, chunks: 1 };

type Round = number | null;
const done = (round: Round, step: string, seconds: number, rows: number | null = null, reused = false): StepState => ({
  ...{ step, round, state: 'done', rowsDone: rows, rowsTotal: rows, startedAt: at(0), seconds, reused, usage: null },
  counts: null,
});
const running = (round: Round, step: string, rowsDone: number | null = null, rowsTotal: number | null = null) =>
  ({
    ...{ step, round, state: 'running', rowsDone, rowsTotal, startedAt: at(600), seconds: null, reused: false },
    usage: null,
    counts: null,
  }) satisfies StepState as StepState;
const cost = (step: string, seconds: number, tokens = 0): StepCost => ({
  ...{ step, seconds, reused: false, usage: tokens ? { tokens, gpuSeconds: tokens / 100, money: 0 } : null },
});
const beat = (live: Partial<RunStatus['live'][number]>): RunStatus['live'][number] => ({
  ...{ step: 'sample', unit: 'rows', done: 0, total: 32, rate: null, secondsLeft: 5, attempt: 1, lastFailure: null },
  ...live,
});

function summary(round: number, accuracy: number, verdict: 'keep' | 'roll-back' | null): RoundSummary {
  return {
    round,
    set: { dataset: DATASET, rows: 640, enriched: 100 * round, meanRationaleChars: 80.4 + 20 * round },
    changed: round === 0 ? null : 100,
    ...{ candidates: null, decisions: null },
    model: { sha256: SHA, bytes: 1, path: null },
    trainLoss: 1.25 - round / 8,
    evaluation: { grades: DATASET, correct: 1, total: 132, accuracy, low: accuracy - 0.08, high: accuracy + 0.08 },
    gate: verdict && { verdict, difference: 0, low: 0, high: 0 },
    steps: [cost('mix', 1), cost('fineTune', 125 + 60 * round, 5000)],
  };
}

const STATUS: RunStatus = {
  runId: 'svamp-2',
  state: 'running',
  stale: false,
  codeFailure: null,
  unpolled: [],
  startedAt: at(0),
  endedAt: null,
  round: 2,
  lastRound: 5,
  steps: [
    ...[done(null, 'prepare', 1.2), done(null, 'ingest examples', 2.1)],
    ...[done(2, 'sample', 75, 640), running(2, 'logprob (reference)', 320, 640)],
  ],
  live: [beat({ done: 8, rate: 4.1 }), beat({ done: 4, rate: 4.1 })],
  halt: null,
  final: 0,
  best: null,
  rounds: [summary(0, 0.52, null), summary(1, 0.614, 'keep')],
  warnings: [],
  interventions: [],
  interventionCount: 0,
  usage: { tokens: 0, gpuSeconds: 0, money: 0 },
  forkOf: null,
  failure: null,
};
const VIEW = { width: 80, color: false, now: START + 840_000 };

const STUCK: Parked = {
  kind: 'parked',
  step: 'logprob (reference)',
  round: 2,
  type: 'engine.unreachable',
  message:
    'Engine "local" does not answer (ECONNREFUSED). It is tried again; see its log or `srlm doctor`. [engine.unreachable]',
  attempts: 5,
  since: at(830),
  kept: '96 of 640 rows are done and kept.',
  skippable: true,
};

const PARKED: RunStatus = {
  ...STATUS,
  state: 'parked',
  steps: [
    ...STATUS.steps.slice(0, 2),
    ...[done(2, 'sample', 75, 640), { ...running(2, 'logprob (reference)', 0, 640), state: 'parked' as const }],
  ],
  live: [],
  halt: STUCK,
};

describe('the tree', () => {
  it('shows finished rounds, and the running step with its bar, rate and time left', () => {
    expect(renderRun(STATUS, VIEW)).toEqual([
      '● svamp-2 · running · round 2 of 5 · 14 min',
      '  ✓ preparation  3.3 s',
      '  ✓ round 0  52.0 % of 132 (44.0-60.0)  0/640 enriched  loss 1.250  2 min 6 s',
      '  ✓ round 1  61.4 % of 132 (53.4-69.4)  100/640 enriched  loss 1.125  3 min 6 s',
      '  ● round 2',
      '    ✓ sample               640 rows  1 min 15 s',
      '    ● logprob (reference)  ██████░░░░░░  332/640 rows  8.2/s  38 s left',
    ]);
  });

  it('leaves the bar out on a narrow terminal, and no line is wider than it', () => {
    const narrow = renderRun(STATUS, { ...VIEW, width: 40 });
    expect(narrow).toEqual([
      '● svamp-2 · running · round 2 of 5 · 14…',
      '  ✓ preparation  3.3 s',
      '  ✓ round 0  52.0 % of 132 (44.0-60.0) …',
      '  ✓ round 1  61.4 % of 132 (53.4-69.4) …',
      '  ● round 2',
      '    ✓ sample               640 rows  1 …',
      '    ● logprob (reference)  332/640 rows…',
    ]);
    for (const width of [1, 10, 20, 33, 64, 90, 200]) {
      for (const status of [STATUS, PARKED]) {
        for (const line of renderRun(status, { ...VIEW, width })) {
          expect(columns(line)).toBeLessThanOrEqual(width);
        }
      }
    }
  });

  it('shows why a run is parked, in full, and what to do', () => {
    expect(renderRun(PARKED, VIEW)).toEqual([
      '! svamp-2 · parked · round 2 of 5 · 14 min',
      '  ✓ preparation  3.3 s',
      '  ✓ round 0  52.0 % of 132 (44.0-60.0)  0/640 enriched  loss 1.250  2 min 6 s',
      '  ✓ round 1  61.4 % of 132 (53.4-69.4)  100/640 enriched  loss 1.125  3 min 6 s',
      '  ! round 2',
      '    ✓ sample               640 rows  1 min 15 s',
      '    ! logprob (reference)  parked after 5 attempts: engine.unreachable',
      '        Engine "local" does not answer (ECONNREFUSED). It is tried again; see',
      '        its log or `srlm doctor`. [engine.unreachable]',
      '        96 of 640 rows are done and kept.',
      '        Fix the cause, then:     srlm retry svamp-2',
      '        Or continue without it:  srlm skip svamp-2',
      '        Or end the run:          srlm abort svamp-2',
    ]);
  });

  it('shows it also when no worker answers with the steps', () => {
    expect(renderRun({ ...PARKED, stale: true, steps: [], rounds: [] }, VIEW)).toEqual([
      '! svamp-2 · parked · round 2 of 5 · 14 min',
      '    No worker answers; this is the last known. Start one with `srlm up` or `srlm',
      '    worker`.',
      '  ! round 2',
      '    ! logprob (reference)  parked after 5 attempts: engine.unreachable',
      '        Engine "local" does not answer (ECONNREFUSED). It is tried again; see',
      '        its log or `srlm doctor`. [engine.unreachable]',
      '        96 of 640 rows are done and kept.',
      '        Fix the cause, then:     srlm retry svamp-2',
      '        Or continue without it:  srlm skip svamp-2',
      '        Or end the run:          srlm abort svamp-2',
    ]);
  });

  it('shows why the workflow code fails, which queues nobody polls, and that there is no progress', () => {
    const broken = { ...STATUS, stale: true, codeFailure: { attempt: 5, message: "TypeError: no field 'steps'" } };
    expect(renderRun(broken, { ...VIEW, width: 120 }).slice(1, 4)).toEqual([
      "    Its workflow code fails (attempt 5): TypeError: no field 'steps'. Nothing is lost: deploy the fixed code, and the",
      '    run continues.',
      '    Or end it: srlm abort svamp-2 --terminate',
    ]);
    const unpolled = [
      { queue: 'srlm', start: '`srlm up`' },
      { queue: 'srlm-gpu', start: '`srlm up`' },
    ];
    expect(renderRun({ ...STATUS, stale: true, unpolled }, VIEW)[1]).toBe(
      '    Nobody polls srlm, srlm-gpu: start `srlm up`. This is the last known.',
    );
    const still = { ...STATUS, live: [beat({ secondsQuiet: 240, rate: 4.1 }), beat({ done: 12, secondsQuiet: 30 })] };
    expect(renderRun(still, VIEW).slice(-2)).toEqual([
      '    ● logprob (reference)  ██████░░░░░░  332/640 rows  4.1/s  1 min 16 s left',
      '        no progress for 4 min',
    ]);
  });

  it('shows training by its steps and loss, and an attempt that has failed before', () => {
    const live = [
      beat({
        ...{ step: 'fineTune', unit: 'steps', done: 12, total: 120, rate: 0.51, secondsLeft: 211, note: 'loss 1.205' },
        ...{ attempt: 3, lastFailure: 'The trainer process ended (killed).\nIt resumes from its newest checkpoint.' },
      }),
    ];
    expect(
      renderRun(
        { ...STATUS, steps: [...STATUS.steps.slice(0, 2), running(2, 'fineTune')], live },
        { ...VIEW, width: 100 },
      ).slice(4),
    ).toEqual([
      '  ● round 2',
      '    ● fineTune  ██░░░░░░░░░░░░░░░░░░░░░░  12/120 steps  0.51/s  3 min 31 s left  loss 1.205',
      '        attempt 3 after: The trainer process ended (killed). It resumes from its newest checkpoint.',
    ]);
  });

  it('ends with the sentence that ended a run', () => {
    const ended: RunStatus = {
      ...{ ...STATUS, state: 'aborted', endedAt: at(60), live: [], rounds: [], round: null },
      steps: [done(null, 'prepare', 1), running(null, 'ingest examples')],
      failure: 'Aborted at ingest examples by ann: wrong data. All artifacts are kept.',
    };
    expect(renderRun(ended, VIEW)).toEqual([
      '✗ svamp-2 · aborted · 1 min',
      '  ✗ preparation',
      '    ✓ prepare          1 s',
      '    ✗ ingest examples  not finished',
      '    Aborted at ingest examples by ann: wrong data. All artifacts are kept.',
    ]);
  });

  it('shows the steps of a sample run, which has no rounds, without a heading', () => {
    const sample: RunStatus = {
      ...{ ...STATUS, runId: 'teacher-1', round: null, lastRound: null, rounds: [] },
      steps: [done(null, 'ingest prompts', 0.4), running(null, 'sample', 0, 64)],
      live: [beat({ done: 16, total: 32, rate: 2 })],
    };
    expect(renderRun(sample, VIEW)).toEqual([
      '● teacher-1 · running · 14 min',
      '  ✓ ingest prompts  0.4 s',
      '  ● sample          ███░░░░░░░░░  16/64 rows  2.0/s  24 s left',
    ]);
  });

  it('colours nothing but the marks, and dims what is done', () => {
    const line = renderRun(STATUS, { ...VIEW, color: true })[5];
    expect(line).toBe('    \u001b[32m✓\u001b[0m\u001b[2m sample               640 rows  1 min 15 s\u001b[0m');
  });

  it('counts no row twice: finished and running shards never exceed the total', () => {
    const over = { ...STATUS, steps: [running(2, 'sample', 630, 640)], live: [beat({ done: 32, rate: 1 })] };
    expect(renderRun(over, VIEW).at(-1)).toBe('    ● sample  ████████████  640/640 rows  1.0/s');
  });

  it('lets no message steer the terminal', () => {
    const evil = { ...PARKED, halt: { ...STUCK, message: 'a\u001b[2Jb\u0007c\u202ed  srlm x' } };
    expect(renderRun(evil, VIEW)[7]).toBe('        a�[2Jb�c�d srlm x');
  });
});

describe('the lines of a log', () => {
  it('show everything at first, then only what has changed', () => {
    expect(changes(null, STATUS)).toEqual([
      'run svamp-2 · running',
      'prepare  done in 1.2 s',
      'ingest examples  done in 2.1 s',
      'round 0/5 done · 52.0 % of 132 (44.0-60.0) · 0/640 enriched · loss 1.250 · 2 min 6 s',
      'round 1/5 done · 61.4 % of 132 (53.4-69.4) · 100/640 enriched · loss 1.125 · 3 min 6 s',
      'round 2/5 · sample  640 rows · done in 1 min 15 s',
      'round 2/5 · logprob (reference)  started',
    ]);
    expect(changes(STATUS, STATUS)).toEqual([]);
    const scored = {
      ...STATUS,
      steps: [...STATUS.steps.slice(0, 3), done(2, 'logprob (reference)', 0, 640, true), running(2, 'select')],
    };
    expect(changes(STATUS, scored)).toEqual([
      'round 2/5 · logprob (reference)  640 rows · reused',
      'round 2/5 · select  started',
    ]);
  });

  it('report once that a run is parked and why, and that it is tried again', () => {
    expect(changes(STATUS, PARKED)).toEqual([
      'round 2/5 · logprob (reference)  parked after 5 attempts: engine.unreachable',
      'Engine "local" does not answer (ECONNREFUSED). It is tried again; see its log or `srlm doctor`. [engine.unreachable]',
      '96 of 640 rows are done and kept.',
      'Fix the cause, then: srlm retry svamp-2',
      'Or continue without it: srlm skip svamp-2',
      'Or end the run: srlm abort svamp-2',
    ]);
    expect(changes(PARKED, PARKED)).toEqual([]);
    expect(changes(PARKED, STATUS)).toEqual(['round 2/5 · logprob (reference)  tried again']);
  });

  it('leave the way on to the message, where that holds the command', () => {
    const halt = { ...(PARKED.halt as Parked), type: 'sampling.failed', message: 'Give it more room: srlm retry ...' };
    expect(changes(STATUS, { ...PARKED, halt }).slice(-2)).toEqual([
      'Or continue without it: srlm skip svamp-2',
      'Or end the run: srlm abort svamp-2',
    ]);
  });

  it('shows what a training waits for before its first step', () => {
    const waiting = beat({
      step: 'fineTune',
      total: 0,
      secondsLeft: null,
      note: 'waits for the hardware of this host',
    });
    const status = { ...STATUS, steps: [running(2, 'fineTune')], live: [waiting] };
    expect(progressLine(status)).toMatch(/fineTune {2}waits for the hardware of this host$/);
    expect(renderRun(status, VIEW).join('\n')).toContain('fineTune  waits for the hardware of this host  ');
  });

  it('report each attempt that failed, once', () => {
    const failed = { ...STATUS, live: [beat({ attempt: 2, lastFailure: 'Engine "local" does not answer.' })] };
    expect(changes(STATUS, failed)).toEqual([
      'round 2/5 · logprob (reference)  attempt 2 after: Engine "local" does not answer.',
    ]);
    expect(changes(failed, failed)).toEqual([]);
  });

  it('report a rolled-back round and the end', () => {
    const rolled = {
      ...STATUS,
      round: 3,
      steps: [],
      live: [],
      rounds: [...STATUS.rounds, summary(2, 0.4, 'roll-back')],
    };
    expect(changes(STATUS, rolled)).toEqual([
      'round 2/5 done · 40.0 % of 132 (32.0-48.0) · 200/640 enriched · loss 1.000 · 4 min 6 s · rolled back',
    ]);
    expect(changes(rolled, { ...rolled, state: 'done', endedAt: at(900) })).toEqual([
      'run svamp-2 · done after 15 min',
    ]);
  });

  it('report once what keeps a run from its work', () => {
    const attempt = (attempt: number) => ({ ...STATUS, stale: true, codeFailure: { attempt, message: 'No.' } });
    expect(changes(STATUS, attempt(2))).toEqual([
      'its workflow code fails (attempt 2): No.',
      'deploy the fixed code, and the run continues; or end it: srlm abort svamp-2 --terminate',
    ]);
    expect(changes(attempt(2), attempt(3))).toEqual([]);
    const unpolled = { ...STATUS, unpolled: [{ queue: 'srlm-gpu', start: '`srlm worker --role gpu`' }] };
    expect(changes(STATUS, unpolled)).toEqual(['nobody polls srlm-gpu: start `srlm worker --role gpu`']);
    expect(changes(unpolled, unpolled)).toEqual([]);
    const quiet = (secondsQuiet: number) => ({ ...STATUS, live: [beat({ done: 12, rate: 8.2, secondsQuiet })] });
    expect(changes(quiet(40), quiet(75))).toEqual(['round 2/5 · logprob (reference)  no progress for 1 min 15 s']);
    expect(changes(quiet(75), quiet(135))).toEqual([]);
    expect(progressLine(quiet(240))).toBe(
      'round 2/5 · logprob (reference)  332/640 rows · 8.2/s · 38 s left · no progress for 4 min',
    );
  });

  it('do not repeat what was known while no worker answered', () => {
    const away: RunStatus = { ...STATUS, stale: true, steps: [], live: [], rounds: [] };
    const kept = lastKnown(STATUS, away);
    expect(changes(STATUS, kept)).toEqual(['no worker answers; start one with `srlm up` or `srlm worker`']);
    expect(changes(kept, STATUS)).toEqual([]);
  });

  it('report what operators did since, though a status has the newest only', () => {
    const order = {
      kind: 'set',
      at: at(1),
      who: 'ann',
      why: 'faster',
      round: 2,
      step: null,
      answers: null,
      id: null,
    } as const;
    const before = { ...STATUS, interventions: [{ ...order, set: { 'sampling.k': 2 } }], interventionCount: 7 };
    const after = { ...before, interventions: [{ ...order, set: { 'sampling.k': 8 } }], interventionCount: 8 };
    expect(changes(before, after)).toEqual(['set sampling.k = 8 · by ann: faster']);
    expect(changes(null, after)).not.toContain('set sampling.k = 8 · by ann: faster');
  });

  it('report how far the running step is', () => {
    expect(progressLine(STATUS)).toBe('round 2/5 · logprob (reference)  332/640 rows · 8.2/s · 38 s left');
    // No shard has done enough to say how long it takes.
    const early = { ...STATUS, live: STATUS.live.map((one) => ({ ...one, secondsLeft: null })) };
    expect(progressLine(early)).toBe('round 2/5 · logprob (reference)  332/640 rows · 8.2/s');
    expect(progressLine(PARKED)).toBe(null);
  });
});

it('the table of a run has a row for each round', () => {
  const rounds = [summary(0, 0.52, null), summary(1, 0.4, 'roll-back')];
  expect(roundsTable([...rounds, { ...summary(2, 0.6, 'keep'), evaluation: null }])).toEqual([
    'round  enriched  rationale   loss  held-out                   time       gate',
    '    0  0/640     80 chars   1.250  52.0 % of 132 (44.0-60.0)  2 min 6 s  -',
    '    1  100/640   100 chars  1.125  40.0 % of 132 (32.0-48.0)  3 min 6 s  rolled back',
    '    2  200/640   120 chars  1.000  -                          4 min 6 s  kept',
  ]);
});

it('the table of the watch has a row for each measured round, and says why one was rolled back', () => {
  const round = (number: number, watch: RoundWatch | undefined, beyond?: GateOutput['watch']) => ({
    ...{ round: number, watch },
    gate: beyond ? ({ verdict: 'roll-back', difference: null, low: null, high: null, watch: beyond } as const) : null,
  });
  const rounds = [
    round(0, undefined),
    round(1, { distinct2: 0.6, ownGain: 0.25, candidateChars: 120 }),
    round(2, { distinct2: 0.2, candidateChars: 40.25 }, [{ metric: 'distinct2', value: 0.2, limit: 0.3 }]),
  ];
  expect(watchTable(rounds, 80)).toEqual([
    'watch  distinct2  ownGain',
    '    1        0.6  +0.25',
    '    2        0.2  -',
    'round 2 was rolled back: distinct2 is 0.2, below its limit of 0.3',
  ]);
  expect(watchTable(rounds, 200)[0]).toBe('watch  distinct2  candidateChars  ownGain');
  expect(watchTable([round(0, undefined)], 80)).toEqual([]);
});

it('the table of usage counts each step once, whether its round has ended or not', () => {
  const spent = { tokens: 700, gpuSeconds: 7, money: 0 };
  const status: RunStatus = {
    ...STATUS,
    steps: [
      { ...done(null, 'rationalize', 5), usage: spent },
      { ...done(1, 'fineTune', 100), usage: { tokens: 5000, gpuSeconds: 50, money: 0 } },
      { ...done(2, 'sample', 75, 640), usage: spent },
    ],
    usage: { tokens: 11_400, gpuSeconds: 114, money: 0 },
  };
  expect(usageTable(status)).toEqual([
    'round  step         tokens  gpuSeconds',
    '-      rationalize     700           7',
    '0      fineTune       5000          50',
    '1      fineTune       5000          50',
    '2      sample          700           7',
    'all                  11400         114',
  ]);
  expect(usageTable({ ...STATUS, rounds: [] })).toEqual([]);
});

describe('the report of a round', () => {
  const ref = { sha256: 'a'.repeat(64), rows: 1, bytes: 1, chunks: 1 };
  const graded: SetResult = {
    ...{ kind: 'choice', watch: true, value: 0.41, low: 0.32, high: 0.51, total: 97, leftOut: 3, unanswered: 2 },
    ...{ gain: null, grades: ref },
  };
  const likely: SetResult = {
    ...{ kind: 'likelihood', watch: false, value: -1.2, low: -1.3, high: -1.1, total: 50, leftOut: 0, unanswered: 0 },
    ...{ gain: { value: 0.12, low: 0.05, high: 0.2 }, grades: ref },
  };
  const nobody: SetResult = { ...likely, total: 0, unanswered: 50 };
  const compared = { round: 0, against: ['before' as const, 'first' as const] };
  const report: RoundReport = {
    version: 1,
    evaluations: { facts: graded, chat: likely, long: nobody },
    comparisons: [
      { set: 'chat', ...compared, difference: 0.05, low: -0.01, high: 0.11, test: null },
      {
        ...{ set: null, ...compared, difference: -0.045, low: -0.08, high: 0.01 },
        test: { onlyOther: 9, onlyThis: 3, p: 0.146 },
      },
    ],
  };
  const status = { ...STATUS, reports: [{ round: 1, report }] };
  const FACTS = '41.0 % of 97 (32.0-51.0), 3 left out: in the training data, 2 without an answer';
  const CHAT = '-1.200 nats a token of 50 (-1.300 to -1.100), +0.120 by the rationale (+0.050 to +0.200)';

  it('is below its round, with what the gate’s set has gained', () => {
    const lines = renderRun(status, { ...VIEW, width: 120 }).map((line) => line.trim());
    const at = lines.findIndex((line) => line.includes('round 1'));
    expect(lines.slice(at + 1, at + 5)).toEqual([
      `facts (watched) ${FACTS}`,
      `chat ${CHAT}`,
      'long nothing of 0, 50 without an answer',
      '-4.5 points on round 0 (-8.0 to +1.0; p 0.146)',
    ]);
  });

  it('is two tables, the gate’s set first', () => {
    expect(setsTable(status).slice(1)).toEqual([
      `    1  facts (watched)  ${FACTS}`,
      `    1  chat             ${CHAT}`,
      '    1  long             nothing of 0, 50 without an answer',
    ]);
    expect(comparisonsTable(status).slice(1)).toEqual([
      "    1  the gate's  0: the one before, the first  -4.5 (-8.0 to +1.0)             3 : 9, p 0.146",
      '    1  chat        0: the one before, the first  +0.050 (-0.010 to +0.110) nats  -',
    ]);
    expect([setsTable(STATUS), comparisonsTable(STATUS)]).toEqual([[], []]);
  });
});
