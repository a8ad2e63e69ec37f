/**
 * Changing the settings of a run while it runs: which field may still change at which step. The inputs of finished
 * steps cannot change; a fork is for that. Pure. Throws plain Errors whose message says why a setting is refused.
 */
import type { z } from 'zod';
import type { Settings } from './commands.js';
import { show } from './errors.js';
import { explain } from './issues.js';
import { STEPS, type Step } from './steps.js';

/**
 * Field, or a prefix of it -> the first step that uses it. The longest prefix wins. `any`: never too late. A field that
 * is not listed is settled when the run begins.
 */
const FIRST_USE: Record<string, Step | 'begin' | 'any'> = {
  rationalizeEngine: 'rationalize',
  'sampling.chunkSize': 'begin',
  'sampling.maxFailedShare': 'any',
  sampling: 'sample',
  // Which scores are computed depends on it.
  selection: 'logprob',
  'selection.judge': 'judge',
  'catalysts.copies': 'mix',
  'catalysts.use': 'mix',
  training: 'fineTune',
  'evaluation.maxTokens': 'evaluate',
  'evaluation.samples': 'curves',
  'evaluation.enrich': 'curves',
  'evaluation.temperature': 'curves',
  gate: 'gate',
  'gate.confidence': 'grade',
  // Where work is done, and how far: no artifact depends on these.
  engine: 'any',
  trainer: 'any',
  rounds: 'any',
  approvals: 'any',
  final: 'any',
  budget: 'any',
};

/** A map is one value of it: no field of its own is left out. */
const WHOLE = ['selection.selector', 'gate.watch'];

/** Round 0 trains on the data as it came: what these steps use is first needed in round 1. */
const ENRICHMENT: readonly Step[] = ['sample', 'parse', 'logprob', 'judge', 'select'];

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
      // Every map is there, with its defaults; `catalysts: none` has no fields to set.
      if (!isMap(at[key])) throw new Error(`${field}: there is no such field`);
      at = at[key];
    }
    const last = path.at(-1)!;
    // A map as a value would change fields that are settled, and reset those that it leaves out; no value resets all.
    if (!WHOLE.includes(field) && (isMap(wanted) || (wanted === null && isMap(at[last]))))
      throw new Error(`${field} has fields: set them one by one, such as ${field}.FIELD=VALUE`);
    if (wanted === null) delete at[last];
    else at[last] = wanted;
  }
  const parsed = schema.safeParse(changed, { reportInput: true });
  if (parsed.success) return parsed.data;
  const { field, reason } = explain(parsed.error.issues[0]!);
  throw new Error(`${field}: ${reason}`);
}

/** Refuses a setting that, from now on, would change what this run has decided already. */
export function assertUndecided(settings: Settings, { round, step, parked, evaluated }: Place): void {
  const at = positionOf(step);
  for (const field of Object.keys(settings)) {
    const first = firstUse(field);
    if (first === 'any') continue;
    if (first === 'begin') throw new Error(`${field} was settled when the run began: start another run`);
    if (COMPARED.includes(field) && evaluated)
      throw new Error(`${field} was settled by the first evaluation: start another run`);
    if (round === 0 && ENRICHMENT.includes(first)) continue;
    const use = positionOf(first);
    // The gate's set is evaluated before the further ones.
    const isPast = field === 'evaluation.maxTokens' && step !== 'evaluate';
    if (use > at || (use === at && parked && !isPast)) continue;
    const where = round === null ? first : `${first} of round ${round}`;
    const later = `set it from the next round on (--from-round ${Number(round) + 1}), or fork the run`;
    throw new Error(`${field} was settled by ${where}: ${round === null ? 'start another run' : later}`);
  }
}

/** Refuses a setting that cannot differ between rounds. */
export function assertPerRound(settings: Settings, evaluated: boolean): void {
  for (const field of Object.keys(settings)) {
    const first = firstUse(field);
    if (first === 'begin' || first === 'rationalize' || (COMPARED.includes(field) && evaluated))
      throw new Error(`${field} is the same in all rounds of a run: start another run to change it`);
  }
}

/** No artifact depends on it: where work is done, how far, and what it may cost. */
export const isAnyTime = (field: string): boolean => firstUse(field) === 'any';

function firstUse(field: string): Step | 'begin' | 'any' {
  const known = Object.keys(FIRST_USE).filter((name) => field === name || field.startsWith(`${name}.`));
  const longest = known.sort((a, b) => b.length - a.length)[0];
  return longest === undefined ? 'begin' : FIRST_USE[longest]!;
}

/** Before the first step: -1. */
const positionOf = (step: string | null): number => STEPS.indexOf((step ?? '').split(' ')[0] as Step);

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** `sampling.k = 8, ...`, for messages. */
export function describeSettings(settings: Settings): string {
  return Object.entries(settings)
    .map(([field, value]) => `${field} = ${show(value)}`)
    .join(', ');
}
