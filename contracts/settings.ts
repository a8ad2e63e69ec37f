/**
 * Changing the settings of a run while it runs: which field may still change at which step. The inputs of finished
 * steps cannot change; a fork is for that. Pure. Throws plain Errors whose message says why a setting is refused.
 */
import type { z } from 'zod';
import type { Settings } from './commands.js';
import { show } from './errors.js';

/** Steps in the order in which a round does them; `begin` is before all of them, `any` is never too late. */
const ORDER = [
  'begin',
  'rationalize',
  'sample',
  'parse',
  'logprob',
  'select',
  'mix',
  'fineTune',
  'evaluate',
  'grade',
  'gate',
  'any',
];

/** Field, or a prefix of it -> the first step that uses it. The longest prefix wins; a field not listed is of `begin`. */
const FIRST_USE: Record<string, string> = {
  rationalizeEngine: 'rationalize',
  'sampling.chunkSize': 'begin',
  sampling: 'sample',
  // Which scores are computed depends on it.
  selection: 'logprob',
  'catalysts.copies': 'mix',
  'catalysts.use': 'mix',
  training: 'fineTune',
  'evaluation.maxTokens': 'evaluate',
  gate: 'gate',
  'gate.confidence': 'grade',
  // Where work is done, and how far: no artifact depends on these.
  engine: 'any',
  trainer: 'any',
  rounds: 'any',
  approvals: 'any',
  budget: 'any',
};

/** Evaluations of rounds are compared with each other, so the first one settles these. */
const COMPARED = ['evaluation.maxTokens', 'gate.confidence'];

export interface Place {
  /** null: before the first round. */
  round: number | null;
  /** Step that is running or parked; a parked one is done again. */
  step: string | null;
  parked: boolean;
  /** Some round has an evaluation. */
  evaluated: boolean;
}

/** `value` with `settings` applied, and checked by its schema. */
export function withSettings<T>(value: T, settings: Settings, schema: z.ZodType<T>): T {
  const changed = JSON.parse(JSON.stringify(value)) as Record<string, unknown>;
  for (const [field, wanted] of Object.entries(settings)) {
    const path = field.split('.');
    if (path.some((key) => key in {})) throw new Error(`${field}: there is no such field`);
    let at = changed;
    for (const key of path.slice(0, -1)) {
      if (typeof at[key] !== 'object' || at[key] === null) at[key] = {};
      at = at[key] as Record<string, unknown>;
    }
    if (wanted === null) delete at[path.at(-1)!];
    else at[path.at(-1)!] = wanted;
  }
  const parsed = schema.safeParse(changed);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const field = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0]].join('.') : issue.path.join('.');
  throw new Error(`${field}: ${issue.code === 'unrecognized_keys' ? 'there is no such field' : issue.message}`);
}

/** Refuses a setting that, from now on, would change what this run has decided already. */
export function assertUndecided(settings: Settings, { round, step, parked, evaluated }: Place): void {
  const at = ORDER.indexOf(orderOf(step));
  for (const field of Object.keys(settings)) {
    const first = firstUse(field);
    if (first === 'any') continue;
    if (first === 'begin') throw new Error(`${field} was settled when the run began: fork the run`);
    if (COMPARED.includes(field) && evaluated)
      throw new Error(`${field} was settled by the first evaluation: fork the run`);
    const use = ORDER.indexOf(first);
    if (use > at || (use === at && parked)) continue;
    const where = round === null ? first : `${first} of round ${round}`;
    const later = round === null ? '' : `set it from the next round on (--from-round ${round + 1}), or `;
    throw new Error(`${field} was settled by ${where}: ${later}fork the run`);
  }
}

/** Refuses a setting that cannot start to hold with a round. */
export function assertPerRound(settings: Settings, evaluated: boolean): void {
  for (const field of Object.keys(settings)) {
    const first = firstUse(field);
    if (first === 'begin' || first === 'rationalize' || (COMPARED.includes(field) && evaluated))
      throw new Error(`${field} is the same in all rounds of a run: start another run to change it`);
  }
}

/** No artifact depends on it: where work is done, how far, and what it may cost. */
export const isAnyTime = (field: string): boolean => firstUse(field) === 'any';

function firstUse(field: string): string {
  const known = Object.keys(FIRST_USE).filter((name) => field === name || field.startsWith(`${name}.`));
  const longest = known.sort((a, b) => b.length - a.length)[0];
  return longest === undefined ? 'begin' : FIRST_USE[longest]!;
}

/** Steps before the first round come before everything that a round uses. */
function orderOf(step: string | null): string {
  const name = step?.split(' ')[0] ?? 'begin';
  return ORDER.includes(name) ? name : 'begin';
}

/** `sampling.k = 8, ...`, for messages. */
export function describeSettings(settings: Settings): string {
  return Object.entries(settings)
    .map(([field, value]) => `${field} = ${show(value)}`)
    .join(', ');
}
