import { describe, expect, it } from 'vitest';
import { COMMANDS, CommandName, updateName } from '../../contracts/commands.js';
import { Problem, rowInvalid } from '../../contracts/errors.js';
import { type End, type Halt, phaseOf, type RunState } from '../../contracts/run.js';

const since = '2026-01-01T00:00:00Z';
const parked: Halt = {
  ...{ kind: 'parked', step: 'sample', round: 1, type: 'engine.unreachable', message: 'No answer.', attempts: 5 },
  ...{ since, kept: '', skippable: true },
};
const waiting: Halt = {
  ...{ kind: 'waiting', approval: 'after-round', round: 1, since, data: null, rows: 0, enriched: null },
  ...{ evaluation: null, gate: null },
};
const paused: RunState['paused'] = { who: 'ann', at: since };
const end = (kind: End['kind']): End => ({ kind, at: since, message: null });

describe('the phase of a run', () => {
  it('is derived from its end, its halt and its pause', () => {
    expect(phaseOf({ end: null, halt: null, paused: null })).toBe('running');
    expect(phaseOf({ end: null, halt: null, paused })).toBe('paused');
    expect(phaseOf({ end: null, halt: parked, paused: null })).toBe('parked');
    expect(phaseOf({ end: null, halt: waiting, paused: null })).toBe('waiting');
    for (const kind of ['done', 'stopped', 'aborted', 'failed'] as const)
      expect(phaseOf({ end: end(kind), halt: null, paused: null })).toBe(kind);
  });

  it('is a question before it is a pause, and an end before both', () => {
    expect(phaseOf({ end: null, halt: parked, paused })).toBe('parked');
    expect(phaseOf({ end: null, halt: waiting, paused })).toBe('waiting');
    expect(phaseOf({ end: end('aborted'), halt: parked, paused })).toBe('aborted');
  });
});

describe('commands', () => {
  it('have one Update each', () => {
    expect(CommandName.options.map(updateName)).toEqual([
      ...['srlmRetry', 'srlmSkip', 'srlmApprove', 'srlmReject', 'srlmAbort', 'srlmPause', 'srlmResume'],
      ...['srlmStop', 'srlmSet', 'srlmPromote'],
    ]);
  });
  it('take settings of at most 1.5 KB at once', () => {
    const set = (bytes: number) => COMMANDS.set.safeParse({ who: 'ann', set: { name: 'x'.repeat(bytes - 11) } });
    expect(set(1500).success).toBe(true);
    expect(set(1501).error?.issues[0]?.message).toBe('must be at most 1500 bytes of JSON');
  });
});

describe('a problem', () => {
  it('says where, what and what to do', () => {
    const problem = rowInvalid({ file: 'data.jsonl', line: 7, field: 'answer' }, 'expected text, found true.');
    expect(problem.message).toBe('data.jsonl:7 answer: expected text, found true. Fix the row. [data.invalid]');
  });
  it('is the same problem with a sentence added', () => {
    const problem = rowInvalid({ file: 'data.jsonl' }, 'not a row.').adding('Nothing was started.');
    expect(problem).toBeInstanceOf(Problem);
    expect(problem.message).toBe('data.jsonl: not a row. Fix the row. Nothing was started. [data.invalid]');
    expect([problem.type, problem.retry]).toEqual(['data.invalid', false]);
  });
});
