/** What a fork takes from its parent. */
import { expect, it } from 'vitest';
import { continuation, recordOfFork } from '../../client/fork.js';
import { RunSpec, splitRunSpec } from '../../contracts/spec.js';
import { stateOf } from './states.js';

const { settings } = splitRunSpec(
  RunSpec.parse({ model: { path: 'm' }, data: { path: 'd' }, catalysts: 'none', rounds: 4 }),
);
const parent = stateOf({
  changes: [
    { fromRound: 1, set: { 'sampling.k': 2 } },
    { fromRound: 3, set: { 'sampling.k': 8, 'training.epochs': 1 } },
  ],
  overrides: [
    { round: 0, verdict: 'promote', before: 2 },
    { round: 1, verdict: 'roll-back', before: 3 },
  ],
  approved: { catalysts: 0, 'before-train': 3, 'after-round': 1 },
  paused: { who: 'ann', at: 'now' },
  stopAfter: 'round',
  interventionCount: 9,
});

it('keeps what was decided before its first round, and its own settings win over later ones of its parent', () => {
  expect(recordOfFork(parent, settings, { fromRound: 2, set: { 'sampling.k': 16 } })).toEqual({
    changes: [
      { fromRound: 1, set: { 'sampling.k': 2 } },
      { fromRound: 2, set: { 'sampling.k': 16 } },
      { fromRound: 3, set: { 'training.epochs': 1 } },
    ],
    overrides: [{ round: 0, verdict: 'promote', before: 2 }],
    approved: { catalysts: 0, 'before-train': 1, 'after-round': 1 },
    ...{ interventions: [], interventionCount: 0, paused: null, stopAfter: null },
  });
});

it('joins its settings with those that its parent had for the same round', () => {
  const { changes } = recordOfFork(parent, settings, { fromRound: 1, set: { 'training.epochs': 2 } });
  expect(changes[0]).toEqual({ fromRound: 1, set: { 'sampling.k': 2, 'training.epochs': 2 } });
});

it.each([
  ['a round after the last', { fromRound: 5, set: {} }, 'fork: the last round is 4. [spec.invalid]'],
  [
    'a field that is the same in all rounds',
    { fromRound: 1, set: { seed: 3 } },
    'fork: seed is the same in all rounds of a run: start another run to change it. [spec.invalid]',
  ],
  [
    'a value that is out of bounds',
    { fromRound: 1, set: { 'sampling.k': 0 } },
    'fork: sampling.k: expected at least 1, found 0. [spec.invalid]',
  ],
])('refuses %s', (_, fork, message) => {
  expect(() => recordOfFork(parent, settings, fork)).toThrow(message);
});

it('adds rounds to a run that has ended, whatever number of them was set meanwhile', () => {
  const changes = [{ fromRound: -1, set: { rounds: 3 } }, ...parent.changes];
  const end = { kind: 'done' as const, at: '2026-11-28T00:00:00Z', message: null };
  const { settings: now, fromRound, record } = continuation('r', { ...parent, changes, rounds: 4, end }, settings, 2);
  expect([now.rounds, fromRound]).toEqual([5, 4]);
  expect(now).toEqual({ ...settings, rounds: 5 });
  expect(record.changes.map(({ set }) => set)).toEqual([{}, ...parent.changes.map(({ set }) => set)]);
  expect(record.overrides).toEqual(parent.overrides);
  expect(record.approved).toEqual(parent.approved);
  expect(record.stopAfter).toBe(null);
});

it('adds no rounds to a run that has not ended, or has finished none', () => {
  expect(() => continuation('r', { ...parent, rounds: 3, end: null }, settings, 2)).toThrow(
    'Run "r" refuses "continue": it has not ended; `srlm set r rounds=6` lets it go to round 6. See `srlm status r`. [run.refused]',
  );
  const end = { kind: 'aborted' as const, at: '2026-11-28T00:00:00Z', message: null };
  expect(() => continuation('r', { ...parent, rounds: 0, end }, settings, 2)).toThrow('it has finished no round');
});
