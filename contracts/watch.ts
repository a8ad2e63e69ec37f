/**
 * Collapse watch: the numbers that each round is watched by, and limits on them. METRICS is the one table of them: the
 * spec, the documentation and the terminal use its names. A RoundWatch is at most 800 bytes of JSON.
 */
import { z } from 'zod';
import { jsonBytes } from './refs.js';

interface MetricFacts {
  /** `share`: a fraction of 1. `nats`: per token. `value`: in whatever the selector compares. */
  unit: 'share' | 'bits' | 'chars' | 'nats' | 'value';
  /** How it moves when a run collapses; null: it explains, and has no bad direction. */
  collapse: 'falls' | 'rises' | null;
  /** A limit relative to another round makes no sense where the number may be zero or negative. */
  relative: boolean;
  /** A clause for the documentation. */
  what: string;
}

const share = (collapse: MetricFacts['collapse'], what: string): MetricFacts => ({
  ...{ unit: 'share', collapse, relative: true, what },
});

export const METRICS = {
  distinct1: share('falls', 'candidates: different words / all words'),
  distinct2: share('falls', 'candidates: different pairs of words / all pairs'),
  distinct4: share('falls', 'candidates: different runs of four words / all such runs'),
  entropy: {
    ...{ unit: 'bits', collapse: 'falls', relative: true },
    what: 'candidates: entropy of their words',
  },
  repeats: share('rises', 'candidates but the first of each row: those that are equal to an earlier one'),
  candidateChars: { unit: 'chars', collapse: null, relative: true, what: 'candidates: mean length' },
  chosenChars: { unit: 'chars', collapse: null, relative: true, what: 'candidates that were chosen: mean length' },
  setChars: { unit: 'chars', collapse: 'falls', relative: true, what: 'rationales of the training set: mean length' },
  shorter: share('rises', 'of the rationales that were replaced (20 at least), those that became shorter'),
  enriched: share(null, 'rows whose rationale is no longer the original one'),
  changed: share('falls', 'rows whose rationale changed in this round'),
  ownGain: {
    ...{ unit: 'value', collapse: null, relative: false },
    what: "the selector's value of what was chosen, minus that of the incumbent; mean over the rows",
  },
  guarded: share('rises', 'candidates that a guard excluded'),
  empty: share('rises', 'candidates that were empty'),
  truncated: share('rises', 'candidates that were cut'),
  repetition: share('rises', 'candidates that loop or repeat themselves'),
  unchanged: share('rises', 'candidates that are what they were made from'),
  copiedPrompt: share('rises', 'candidates that copy the prompt'),
  pastedAnswer: share('rises', 'candidates that paste the answer'),
  distance: {
    ...{ unit: 'nats', collapse: 'rises', relative: true },
    what: 'the model that wrote the candidates against the starting model: mean |difference| of the log-probability of the answers alone',
  },
  drift: { unit: 'nats', collapse: null, relative: false, what: 'the same with its sign' },
  replyDistinct1: share('falls', 'replies to the held-out questions: as distinct1'),
  replyDistinct2: share('falls', 'replies: as distinct2'),
  replyDistinct4: share('falls', 'replies: as distinct4'),
  replyEntropy: { unit: 'bits', collapse: 'falls', relative: true, what: 'replies: entropy of their words' },
  replyChars: { unit: 'chars', collapse: null, relative: true, what: 'replies: mean length' },
  heldOutGain: {
    ...{ unit: 'share', collapse: 'falls', relative: false },
    what: 'accuracy on the held-out questions, minus that of the round before',
  },
  watchGain: {
    ...{ unit: 'share', collapse: 'falls', relative: false },
    what: 'the worst of the evaluation sets that are watched: minus that of round 0',
  },
  majorityGain: {
    ...{ unit: 'share', collapse: 'falls', relative: false },
    what: 'accuracy by majority vote over samples, minus that of one sample',
  },
} as const satisfies Record<string, MetricFacts>;

export const MetricName = z.enum(Object.keys(METRICS) as [keyof typeof METRICS, ...(keyof typeof METRICS)[]]);
export type MetricName = z.infer<typeof MetricName>;
export const metricFacts = (name: MetricName): MetricFacts => METRICS[name];

/** The numbers of one round; one that cannot be computed is absent. */
export const RoundWatch = z.partialRecord(MetricName, z.number());
export type RoundWatch = z.infer<typeof RoundWatch>;

/** A limit on a number: absolute, or relative to the first round of the run that has it. */
export const WatchLimit = z
  .strictObject({
    min: z.number().optional().describe('it must not be below this'),
    max: z.number().optional().describe('it must not be above this'),
    drop: z
      .number()
      .gt(0)
      .lt(1)
      .optional()
      .describe('it must not fall by more than this share of its value in the first round that has it'),
    rise: z
      .number()
      .gt(0)
      .max(1000)
      .optional()
      .describe('it must not rise by more than this share of its value in the first round that has it'),
  })
  .refine((limit) => Object.values(limit).some((one) => one !== undefined), 'must hold min, max, drop or rise');
export type WatchLimit = z.infer<typeof WatchLimit>;

/** Limits are part of the payloads of a run, which are bounded. */
export const MAX_LIMITS = 6;
const MAX_LIMITS_BYTES = 200;
export const WatchLimits = z.partialRecord(MetricName, WatchLimit).superRefine((limits, { addIssue }) => {
  const named = Object.entries(limits) as [MetricName, WatchLimit][];
  if (named.length > MAX_LIMITS || jsonBytes(limits) > MAX_LIMITS_BYTES)
    addIssue({
      code: 'custom',
      message: `must be at most ${MAX_LIMITS} limits, and ${MAX_LIMITS_BYTES} bytes of JSON`,
      input: limits,
    });
  for (const [name, { drop, rise }] of named)
    if (!METRICS[name].relative && (drop !== undefined || rise !== undefined))
      addIssue({
        code: 'custom',
        path: [name],
        message: 'takes min and max only: it may be zero or negative',
        input: limits[name],
      });
});
export type WatchLimits = z.infer<typeof WatchLimits>;

/** A number beyond its limit: `limit` is absolute, and `value` is on the wrong side of it. */
export const Breach = z.strictObject({ metric: MetricName, value: z.number(), limit: z.number() });
export type Breach = z.infer<typeof Breach>;

/** `distinct2 is 0.21, below its limit of 0.3`. */
export const breachText = ({ metric, value, limit }: Breach): string =>
  `${metric} is ${metricText(metric, value)}, ${value < limit ? 'below' : 'above'} its limit of ${metricText(metric, limit)}`;

/** With its sign where the number is a difference; three digits. */
export function metricText(metric: MetricName, value: number): string {
  const digits = Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
  return !METRICS[metric].relative && value > 0 ? `+${digits}` : digits;
}
