/**
 * Changing a spec while its run is under way: which field may still change at which step. What finished steps of this
 * run were made with cannot: a fork is for that. Pure.
 */
import type { z } from 'zod';
import { show } from './errors.js';
import type { Settings } from './steps.js';

/** Steps in the order in which a round does them; `begin` is before all, `any` never too late. */
const ORDER = [
  'begin',
  'rationalize',
  'sample',
  'score',
  'select',
  'mix',
  'fineTune',
  'evaluate',
  'grade',
  'gate',
  'any',
];

/** Field, or the beginning of its name -> the first step that works with it. The longest beginning counts. */
const FIRST_USE: Record<string, string> = {
  rationalizeEngine: 'rationalize',
  'sampling.chunkSize': 'begin',
  sampling: 'sample',
  prompt: 'sample',
  system: 'sample',
  // Which scores are wanted depends on it.
  selection: 'score',
  'catalysts.copies': 'mix',
  'catalysts.use': 'mix',
  training: 'fineTune',
  'evaluation.maxTokens': 'evaluate',
  gate: 'gate',
  'gate.confidence': 'grade',
  // Where work is done, and how far: nothing that was made depends on it.
  engine: 'any',
  trainer: 'any',
  rounds: 'any',
  approvals: 'any',
  budget: 'any',
};

/** Scores of rounds are compared with each other, so these are settled by the first score. */
const COMPARED = ['evaluation.maxTokens', 'gate.confidence'];

export interface Place {
  /** Where the run is; null: before its first round. */
  round: number | null;
  /** Step that is under way, or parked: then it will be done anew. */
  step: string | null;
  parked: boolean;
  /** Some round has a score. */
  scored: boolean;
}

/** `value` with `settings` applied, checked. Throws a plain Error that says why it cannot be. */
export function withSettings<T>(spec: T, settings: Settings, schema: z.ZodType<T>): T {
  const changed = structuredCopy(spec) as Record<string, unknown>;
  for (const [field, value] of Object.entries(settings)) {
    const path = field.split('.');
    if (path.some((key) => key in {})) throw new Error(`${field}: there is no such field`);
    let at = changed;
    for (const key of path.slice(0, -1)) {
      if (typeof at[key] !== 'object' || at[key] === null) at[key] = {};
      at = at[key] as Record<string, unknown>;
    }
    if (value === null) delete at[path.at(-1)!];
    else at[path.at(-1)!] = value;
  }
  const parsed = schema.safeParse(changed);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const field = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0]].join('.') : issue.path.join('.');
  throw new Error(`${field}: ${issue.code === 'unrecognized_keys' ? 'there is no such field' : issue.message}`);
}

/** Throws a plain Error if a setting, from now on, would change what this run has decided already. */
export function assertUndecided(settings: Settings, { round, step, parked, scored }: Place): void {
  const at = ORDER.indexOf(orderOf(step));
  for (const field of Object.keys(settings)) {
    const first = firstUse(field);
    if (first === 'any') continue;
    if (first === 'begin') throw new Error(`${field} was settled when the run began: fork the run`);
    if (COMPARED.includes(field) && scored) throw new Error(`${field} was settled by the first score: fork the run`);
    const use = ORDER.indexOf(first);
    if (use > at || (use === at && parked)) continue;
    const where = round === null ? first : `${first} of round ${round}`;
    const later = round === null ? '' : `set it from the next round on (--from-round ${round + 1}), or `;
    throw new Error(`${field} was settled by ${where}: ${later}fork the run`);
  }
}

/** Throws a plain Error if a setting cannot begin to hold with a round. */
export function assertPerRound(settings: Settings, scored: boolean): void {
  for (const field of Object.keys(settings)) {
    const first = firstUse(field);
    if (first === 'begin' || first === 'rationalize' || (COMPARED.includes(field) && scored))
      throw new Error(`${field} is the same in all rounds of a run: fork the run to change it`);
  }
}

/** Nothing that is made depends on it: where work is done, how far, and what it may cost. */
export const isAnyTime = (field: string): boolean => firstUse(field) === 'any';

function firstUse(field: string): string {
  const known = Object.keys(FIRST_USE).filter((name) => field === name || field.startsWith(`${name}.`));
  const longest = known.sort((a, b) => b.length - a.length)[0];
  return longest === undefined ? 'begin' : FIRST_USE[longest]!;
}

/** Steps before the first round come before all that a round uses. */
function orderOf(step: string | null): string {
  if (step === null) return 'begin';
  if (step.startsWith('score')) return 'score';
  return ORDER.includes(step) ? step : 'begin';
}

const structuredCopy = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

/** `sampling.k = 8, ...`, for messages. */
export function describeSettings(settings: Settings): string {
  return Object.entries(settings)
    .map(([field, value]) => `${field} = ${show(value)}`)
    .join(', ');
}
