/**
 * The parts of a run's state that travel to the next execution, and their bounds: each is one payload of a history, and
 * stays below MAX_PAYLOAD_BYTES whatever operators do. Pure.
 */
import type { Settings } from '../../contracts/commands.js';
import { jsonBytes } from '../../contracts/refs.js';
import { OperatorRecord, RunProgress, type RunState, type SettingChange } from '../../contracts/run.js';
import { isAnyTime } from '../../contracts/settings.js';
import { NO_USAGE } from '../../method/budget.js';

/** All of them are in the histories; a state needs the last ones, to say who has answered already. */
const INTERVENTIONS = 4;
const WARNINGS = 3;
export const MAX_UNEXPORTED = 6;
const OVERRIDES = 12;
const MAX_ACTOR_BYTES = 48;
/** A warning of damage names an object by its path and two digests, and must stay readable. */
const MAX_WARNING_BYTES = 240;
const MAX_CHANGES_BYTES = 1600;
/** Bound for settings that affect artifacts; the rest is reserved for those that do not, so that a budget can always be raised. */
const MAX_DECIDING_BYTES = 1300;

export const freshRecord = (): OperatorRecord => ({
  changes: [],
  overrides: [],
  approved: { catalysts: -1, 'before-train': -1, 'after-round': -1 },
  interventions: [],
  interventionCount: 0,
  paused: null,
  stopAfter: null,
});

export const freshProgress = (startedAt: string): RunProgress => ({
  startedAt,
  round: null,
  reached: -1,
  repairs: 0,
  prepared: null,
  head: null,
  best: null,
  rollbacksInARow: 0,
  table: null,
  rounds: 0,
  usage: NO_USAGE,
  warnings: [],
  unexported: [],
});

/** The changes with one more. Those of one round are one change: a budget raised ten times takes no more room than once. */
export function withChange(changes: readonly SettingChange[], fromRound: number, set: Settings): SettingChange[] {
  if (Object.keys(set).length === 0) return [...changes];
  const same = changes.find((change) => change.fromRound === fromRound);
  const others = changes.filter((change) => change !== same);
  const next = [...others, { fromRound, set: { ...same?.set, ...set } }];
  return next.sort((a, b) => a.fromRound - b.fromRound);
}

/** Throws a plain Error when a state could not carry the changes. */
export function assertRoom(changes: readonly SettingChange[]): void {
  const deciding = changes.map(({ set }) => Object.entries(set).filter(([field]) => !isAnyTime(field)));
  if (jsonBytes(changes) > MAX_CHANGES_BYTES || jsonBytes(deciding) > MAX_DECIDING_BYTES)
    throw new Error('this run has had too many settings changed: fork it');
}

export const hasRoomForOverride = ({ overrides }: OperatorRecord): boolean => overrides.length < OVERRIDES;

/** What the next execution begins with: its second and third argument. */
export function carried(state: RunState): [OperatorRecord, RunProgress] {
  const { interventions, warnings, unexported, paused } = state;
  return [
    {
      ...pick<OperatorRecord>(state, OperatorRecord),
      interventions: interventions.slice(-INTERVENTIONS).map((one) => ({
        ...one,
        who: clipped(one.who, MAX_ACTOR_BYTES),
        why: clipped(one.why, MAX_ACTOR_BYTES),
        // The changes hold them.
        set: null,
      })),
      paused: paused && { ...paused, who: clipped(paused.who, MAX_ACTOR_BYTES) },
    },
    {
      ...pick<RunProgress>(state, RunProgress),
      warnings: warnings.slice(-WARNINGS).map((one) => clipped(one, MAX_WARNING_BYTES)),
      unexported: unexported.slice(-MAX_UNEXPORTED),
    },
  ];
}

/** As much of a text as takes no more than so many bytes of JSON. */
export function clipped(text: string, maxBytes: number): string {
  let bytes = 0;
  let end = 0;
  for (const character of text) {
    bytes += jsonBytes(character) - 2;
    if (bytes > maxBytes) return text.slice(0, end);
    end += character.length;
  }
  return text;
}

function pick<T extends OperatorRecord | RunProgress>(state: RunState, { shape }: { shape: object }): T {
  return Object.fromEntries(Object.keys(shape).map((field) => [field, state[field as keyof RunState]])) as T;
}
