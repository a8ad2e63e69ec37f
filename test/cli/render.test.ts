/** How a run is shown: whole pictures, pinned. */
import { describe, expect, it } from 'vitest';
import { changes, lastKnown, progressLine, renderRun, roundsTable } from '../../client/cli/render.js';
import { clip, columns, duration, printable, rate, table, wrap } from '../../client/cli/text.js';
import type { RunStatus, StepState } from '../../contracts/progress.js';
import type { RoundSummary } from '../../contracts/steps.js';

const START = Date.parse('2026-01-01T00:00:00Z');
const at = (seconds: number) => new Date(START + seconds * 1000).toISOString();
const SHA = 'a'.repeat(64);
const MANIFEST = { uri: 'objects/aa/a.json', sha256: SHA, rows: 0, bytes: 1, chunks: 1 };

const done = (step: string, seconds: number, rows: number | null = null, reused = false): StepState => ({
  ...{ step, state: 'done', rowsDone: rows, rowsTotal: rows, startedAt: at(0), seconds, reused },
});
const running = (step: string, rowsDone: number | null = null, rowsTotal: number | null = null): StepState => ({
  ...{ step, state: 'running', rowsDone, rowsTotal, startedAt: at(600), seconds: null, reused: false },
});
const beat = (live: Partial<RunStatus['live'][number]>): RunStatus['live'][number] => ({
  ...{ step: 'sample', unit: 'rows', done: 0, total: 32, rate: null, secondsLeft: null, attempt: 1, lastFailure: null },
  ...live,
});

function summary(round: number, accuracy: number, verdict: 'keep' | 'roll-back' | null): RoundSummary {
  return {
    round,
    model: { sha256: SHA, bytes: 1, uri: `models/${SHA}` },
    changed: round === 0 ? null : 100,
    enriched: 100 * round,
    rows: 640,
    meanRationaleChars: 80.4 + 20 * round,
    trainLoss: 1.25 - round / 8,
    score: { grades: MANIFEST, correct: 1, total: 132, accuracy, low: accuracy - 0.08, high: accuracy + 0.08 },
    gate: verdict && { verdict, difference: 0, low: 0, high: 0 },
    data: MANIFEST,
    decisions: null,
    seconds: { mix: 1, fineTune: 125 + 60 * round },
  };
}

const STATUS: RunStatus = {
  runId: 'svamp-2',
  state: 'running',
  stale: false,
  startedAt: at(0),
  endedAt: null,
  round: 2,
  rounds: 5,
  preparation: [done('prepare', 1.2), done('ingest examples', 2.1, null)],
  steps: [done('sample', 75, 640), running('score (reference)', 320, 640)],
  live: [beat({ done: 8, rate: 4.1 }), beat({ done: 4, rate: 4.1 })],
  parked: null,
  waiting: null,
  summaries: [summary(0, 0.52, null), summary(1, 0.614, 'keep')],
  warnings: [],
  interventions: [],
  spent: { tokens: 0, gpuSeconds: 0, money: 0 },
  forkOf: null,
  failure: null,
};
const VIEW = { width: 80, color: false, now: START + 840_000 };

const PARKED: RunStatus = {
  ...STATUS,
  state: 'parked',
  steps: [done('sample', 75, 640), { ...running('score (reference)', 0, 640), state: 'parked' }],
  live: [],
  parked: {
    step: 'score (reference)',
    round: 2,
    type: 'engine.unreachable',
    message:
      'Engine "local" does not answer (ECONNREFUSED). It is tried again; see its log or `srlm doctor`. [engine.unreachable]',
    attempts: 5,
    since: at(830),
    kept: '96 of 640 rows are done and kept.',
    skippable: true,
  },
};

describe('the tree', () => {
  it('shows finished rounds, and the step under way with its bar, rate and time left', () => {
    expect(renderRun(STATUS, VIEW)).toEqual([
      '● svamp-2 · running · round 2 of 5 · 14 min',
      '  ✓ preparation  3.3 s',
      '  ✓ round 0  52.0 % (44.0-60.0)  0/640 enriched  loss 1.250  2 min 6 s',
      '  ✓ round 1  61.4 % (53.4-69.4)  100/640 enriched  loss 1.125  3 min 6 s',
      '  ● round 2',
      '    ✓ sample             640 rows  1 min 15 s',
      '    ● score (reference)  ██████░░░░░░  332/640 rows  8.2/s  38 s left',
    ]);
  });

  it('leaves the bar out on a narrow terminal, and no line is wider than it', () => {
    const narrow = renderRun(STATUS, { ...VIEW, width: 40 });
    expect(narrow).toEqual([
      '● svamp-2 · running · round 2 of 5 · 14…',
      '  ✓ preparation  3.3 s',
      '  ✓ round 0  52.0 % (44.0-60.0)  0/640 …',
      '  ✓ round 1  61.4 % (53.4-69.4)  100/64…',
      '  ● round 2',
      '    ✓ sample             640 rows  1 mi…',
      '    ● score (reference)  332/640 rows  …',
    ]);
    for (const width of [1, 10, 20, 33, 64, 90, 200]) {
      for (const status of [STATUS, PARKED]) {
        for (const line of renderRun(status, { ...VIEW, width })) {
          expect(columns(line)).toBeLessThanOrEqual(width);
        }
      }
    }
  });

  it('tells why a run is parked, in full, and what to do', () => {
    expect(renderRun(PARKED, VIEW)).toEqual([
      '! svamp-2 · parked · round 2 of 5 · 14 min',
      '  ✓ preparation  3.3 s',
      '  ✓ round 0  52.0 % (44.0-60.0)  0/640 enriched  loss 1.250  2 min 6 s',
      '  ✓ round 1  61.4 % (53.4-69.4)  100/640 enriched  loss 1.125  3 min 6 s',
      '  ! round 2',
      '    ✓ sample             640 rows  1 min 15 s',
      '    ! score (reference)  parked after 5 attempts: engine.unreachable',
      '        Engine "local" does not answer (ECONNREFUSED). It is tried again; see',
      '        its log or `srlm doctor`. [engine.unreachable]',
      '        96 of 640 rows are done and kept.',
      '        Mend the cause, then:  srlm retry svamp-2',
      '        Or go on without it:   srlm skip svamp-2',
      '        Or end the run:        srlm abort svamp-2',
    ]);
  });

  it('tells it also when no worker is there to give the steps', () => {
    expect(renderRun({ ...PARKED, stale: true, preparation: [], steps: [], summaries: [] }, VIEW)).toEqual([
      '! svamp-2 · parked · round 2 of 5 · 14 min',
      '    No worker answers; this is the last known. Start one with `srlm up` or `srlm',
      '    worker`.',
      '  ! round 2',
      '    ! score (reference)  parked after 5 attempts: engine.unreachable',
      '        Engine "local" does not answer (ECONNREFUSED). It is tried again; see',
      '        its log or `srlm doctor`. [engine.unreachable]',
      '        96 of 640 rows are done and kept.',
      '        Mend the cause, then:  srlm retry svamp-2',
      '        Or go on without it:   srlm skip svamp-2',
      '        Or end the run:        srlm abort svamp-2',
    ]);
  });

  it('shows training by its steps and loss, and an attempt that has failed before', () => {
    const live = [
      beat({
        ...{ step: 'fineTune', unit: 'steps', done: 12, total: 120, rate: 0.51, secondsLeft: 211, note: 'loss 1.205' },
        ...{ attempt: 3, lastFailure: 'The trainer process ended (killed).\nIt goes on from its newest checkpoint.' },
      }),
    ];
    expect(renderRun({ ...STATUS, steps: [running('fineTune')], live }, { ...VIEW, width: 100 }).slice(4)).toEqual([
      '  ● round 2',
      '    ● fineTune  ██░░░░░░░░░░░░░░░░░░░░░░  12/120 steps  0.51/s  3 min 31 s left  loss 1.205',
      '        attempt 3 after: The trainer process ended (killed). It goes on from its newest checkpoint.',
    ]);
  });

  it('ends with the sentence that ended a run', () => {
    const ended: RunStatus = {
      ...{ ...STATUS, state: 'aborted', endedAt: at(60), steps: [], live: [], summaries: [], round: null },
      preparation: [done('prepare', 1), running('ingest examples')],
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
      ...{ ...STATUS, runId: 'teacher-1', round: null, rounds: null, steps: [], summaries: [] },
      preparation: [done('ingest prompts', 0.4), running('sample', 0, 64)],
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
    expect(line).toBe('    \u001b[32m✓\u001b[0m\u001b[2m sample             640 rows  1 min 15 s\u001b[0m');
  });

  it('counts no row twice: finished shards and those under way never exceed the total', () => {
    const over = { ...STATUS, steps: [running('sample', 630, 640)], live: [beat({ done: 32, rate: 1 })] };
    expect(renderRun(over, VIEW).at(-1)).toBe('    ● sample  ████████████  640/640 rows  1.0/s');
  });

  it('lets no message steer the terminal', () => {
    const evil = { ...PARKED, parked: { ...PARKED.parked!, message: 'a\u001b[2Jb\u0007c\u202ed  srlm x' } };
    expect(renderRun(evil, VIEW)[7]).toBe('        a�[2Jb�c�d srlm x');
  });
});

describe('the lines of a log', () => {
  it('tell what there is at first, then only what has changed', () => {
    expect(changes(null, STATUS)).toEqual([
      'run svamp-2 · running',
      'prepare  done in 1.2 s',
      'ingest examples  done in 2.1 s',
      'round 0/5 done · 52.0 % (44.0-60.0) · 0/640 enriched · loss 1.250 · 2 min 6 s',
      'round 1/5 done · 61.4 % (53.4-69.4) · 100/640 enriched · loss 1.125 · 3 min 6 s',
      'round 2/5 · sample  640 rows · done in 1 min 15 s',
      'round 2/5 · score (reference)  started',
    ]);
    expect(changes(STATUS, STATUS)).toEqual([]);
    const scored = {
      ...STATUS,
      steps: [...STATUS.steps.slice(0, 1), done('score (reference)', 0, 640, true), running('select')],
    };
    expect(changes(STATUS, scored)).toEqual([
      'round 2/5 · score (reference)  640 rows · found done',
      'round 2/5 · select  started',
    ]);
  });

  it('tell once that a run is parked and why, and that it is tried again', () => {
    expect(changes(STATUS, PARKED)).toEqual([
      'round 2/5 · score (reference)  parked after 5 attempts: engine.unreachable',
      'Engine "local" does not answer (ECONNREFUSED). It is tried again; see its log or `srlm doctor`. [engine.unreachable]',
      '96 of 640 rows are done and kept.',
      'Mend the cause, then: srlm retry svamp-2',
      'Or go on without it: srlm skip svamp-2',
      'Or end the run: srlm abort svamp-2',
    ]);
    expect(changes(PARKED, PARKED)).toEqual([]);
    expect(changes(PARKED, STATUS)).toEqual(['round 2/5 · score (reference)  tried again']);
  });

  it('tell each attempt that failed, once', () => {
    const failed = { ...STATUS, live: [beat({ attempt: 2, lastFailure: 'Engine "local" does not answer.' })] };
    expect(changes(STATUS, failed)).toEqual([
      'round 2/5 · score (reference)  attempt 2 after: Engine "local" does not answer.',
    ]);
    expect(changes(failed, failed)).toEqual([]);
  });

  it('tell a rolled-back round and the end', () => {
    const rolled = {
      ...STATUS,
      round: 3,
      steps: [],
      live: [],
      summaries: [...STATUS.summaries, summary(2, 0.4, 'roll-back')],
    };
    expect(changes(STATUS, rolled)).toEqual([
      'round 2/5 done · 40.0 % (32.0-48.0) · 200/640 enriched · loss 1.000 · 4 min 6 s · rolled back',
    ]);
    expect(changes(rolled, { ...rolled, state: 'done', endedAt: at(900) })).toEqual([
      'run svamp-2 · done after 15 min',
    ]);
  });

  it('do not repeat what was known while no worker answered', () => {
    const away: RunStatus = { ...STATUS, stale: true, preparation: [], steps: [], live: [], summaries: [] };
    const kept = lastKnown(STATUS, away);
    expect(changes(STATUS, kept)).toEqual(['no worker answers; start one with `srlm up` or `srlm worker`']);
    expect(changes(kept, STATUS)).toEqual([]);
  });

  it('tell how far the step under way is', () => {
    expect(progressLine(STATUS)).toBe('round 2/5 · score (reference)  332/640 rows · 8.2/s · 38 s left');
    expect(progressLine(PARKED)).toBe(null);
  });
});

it('the table of a run has a row a round', () => {
  expect(
    roundsTable([summary(0, 0.52, null), summary(1, 0.4, 'roll-back'), { ...summary(2, 0.6, 'keep'), score: null }]),
  ).toEqual([
    'round  enriched  rationale   loss  held-out            time       gate',
    '    0  0/640     80 chars   1.250  52.0 % (44.0-60.0)  2 min 6 s  -',
    '    1  100/640   100 chars  1.125  40.0 % (32.0-48.0)  3 min 6 s  rolled back',
    '    2  200/640   120 chars  1.000  -                   4 min 6 s  kept',
  ]);
});

describe('text', () => {
  it('durations have two units at most', () => {
    const shown = [0.04, 1, 9.96, 41.4, 59.7, 60, 200, 599.6, 860, 3600, 7500, 273_600].map(duration);
    expect(shown).toEqual([
      ...['0 s', '1 s', '10 s', '41 s', '1 min', '1 min', '3 min 20 s', '10 min', '14 min'],
      ...['1 h', '2 h 5 min', '3 d 4 h'],
    ]);
  });

  it('rates have the digits that matter', () => {
    expect([0.031, 0.5, 0.999, 8.24, 99.9, 512.4].map(rate)).toEqual(['0.03', '0.50', '1.0', '8.2', '100', '512']);
  });

  it('wide letters take two columns, marks on letters none', () => {
    expect(columns('日本')).toBe(4);
    expect(columns('e\u0301🙂')).toBe(3);
    expect(clip('日本語', 5)).toBe('日本…');
    expect(clip('日本語', 6)).toBe('日本語');
  });

  it('wrapping loses no letter, and breaks what is longer than a line', () => {
    expect(wrap('one two abcdefghijkl', 8)).toEqual(['one two', 'abcdefgh', 'ijkl']);
  });

  it('tables put numbers to the right', () => {
    expect(
      table(
        ['name', 'rows'],
        [
          ['a', '1'],
          ['bcdef', '100'],
        ],
      ),
    ).toEqual(['name   rows', 'a         1', 'bcdef   100']);
  });

  it('line breaks in a message become spaces', () => {
    expect(printable(' a\r\n  b\tc ')).toBe('a b c');
  });
});
