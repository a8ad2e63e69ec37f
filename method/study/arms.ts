/**
 * Ready-made arms: patches of a run spec by name. A patch is a map of dotted fields; null takes a field away, so that its
 * default holds. Pure.
 */
import { SELECTORS } from '../../contracts/spec.js';

export type Patch = Record<string, unknown>;

export interface Preset {
  what: string;
  patch: Patch;
  /** The catalysts are replaced by what is derived of them (format-only.ts). */
  derives?: 'format-only';
}

const limited = (limit: number): [string, Preset] => [
  `catalysts-${limit}`,
  { what: `the first ${limit} of the catalysts`, patch: { 'catalysts.limit': limit } },
];

export const PRESETS: Readonly<Record<string, Preset>> = {
  method: { what: 'the base spec as it is', patch: {} },
  ...Object.fromEntries(
    SELECTORS.map((selector): [string, Preset] => [
      selector,
      {
        what: selector === 'random' ? 'a random candidate that no guard excludes' : `the selector ${selector}`,
        patch: { 'selection.selector': selector, 'selection.minGain': null },
      },
    ]),
  ),
  'no-catalysts': { what: 'the loop without catalysts', patch: { catalysts: 'none' } },
  ...Object.fromEntries([1, 10, 100].map(limited)),
  'catalysts-all': { what: 'all catalysts of the file', patch: { 'catalysts.limit': null } },
  'format-only': {
    what: 'catalysts of the same form and length, each with the reasoning of another row',
    patch: {},
    derives: 'format-only',
  },
  'no-loop': {
    what: 'the catalysts as answers in round 0, and no other round',
    patch: { 'catalysts.use': 'answer', rounds: 0 },
  },
  'no-selection': {
    what: 'one sampled candidate a row, trained on without a comparison (SSD)',
    patch: { 'selection.selector': 'random', 'selection.minGain': null, 'sampling.k': 1 },
  },
  lora: { what: 'LoRA in place of full fine-tuning', patch: { 'training.method': 'lora' } },
  'from-previous': { what: "each round trained from the last one's weights", patch: { 'training.from': 'previous' } },
  'enrich-current': { what: 'each round enriches the current rationale', patch: { enrichFrom: 'current' } },
};

/** Why an arm that one may expect is not there: a clause. */
export const NOT_READY: Readonly<Record<string, string>> = {
  'equal-compute': 'it needs several samples a question in an evaluation, which a study does not compare yet',
  'self-written': 'build the catalysts with the starting model as teacher, and set catalysts.path of the arm to them',
};

/** A spec with a patch applied: a scalar on the way (`catalysts: none`) is replaced by a map. Throws a plain Error. */
export function patched(base: Record<string, unknown>, patch: Patch): Record<string, unknown> {
  const spec = structuredCloneOf(base);
  for (const [field, value] of Object.entries(patch)) {
    const path = field.split('.');
    if (path.some((key) => key in {})) throw new Error(`${field}: there is no such field`);
    let at = spec;
    for (const key of path.slice(0, -1)) {
      const next = at[key];
      if (typeof next !== 'object' || next === null || Array.isArray(next)) {
        if (value === null) break;
        at[key] = {};
      }
      at = (at[key] ?? {}) as Record<string, unknown>;
    }
    const last = path.at(-1)!;
    if (value === null) delete at[last];
    else at[last] = value;
  }
  return spec;
}

const structuredCloneOf = (value: Record<string, unknown>): Record<string, unknown> =>
  JSON.parse(JSON.stringify(value));
