/**
 * How a round selects: the values that selectors compare, selectors by name, scores and combinations of one's own, a
 * judge, a function of the user's. method/selectors/ has the code, docs/method.md the formulas.
 */
import { z } from 'zod';
import { Name } from './text.js';

/** Values that selectors compare, by name. docs/method.md has the formula and the source of each. */
export const MEASURES = [
  'length',
  'off-policy',
  'on-policy',
  'verifree',
  'rlpr',
  'r3',
  'likelihood-rank',
  'efficiency',
  'judge',
] as const;
export const MeasureName = z.enum(MEASURES);
export type MeasureName = z.infer<typeof MeasureName>;

/** A value made of the log-probabilities of the answer's tokens: three choices. */
export const AnswerScore = z.strictObject({
  model: z.enum(['reference', 'current']).describe('reference: the starting model; current: that of the round before'),
  reduce: z
    .enum(['mean-logprob', 'mean-prob', 'sequence-prob', 'weighted-logprob'])
    .default('mean-logprob')
    .describe('one number of the tokens; weighted-logprob weighs those most that vary with the rationale'),
  minus: z
    .enum(['nothing', 'no-rationale'])
    .default('nothing')
    .describe('no-rationale: minus the same without a rationale'),
});
export type AnswerScore = z.infer<typeof AnswerScore>;

export const Measure = z.union([MeasureName, AnswerScore]);
export type Measure = z.infer<typeof Measure>;

/** Several measures, each with the same say, or by weights. */
export const Combination = z
  .strictObject({
    combine: z.enum(['vote', 'rank-sum', 'weights']),
    of: z.array(Measure).min(2).max(8),
    weights: z.array(z.number()).min(2).max(8).optional().describe('of each measure; for weights only'),
  })
  .refine(
    ({ combine, of, weights }) => (combine === 'weights') === (weights?.length === of.length),
    'must hold one weight for each measure, and for combine: weights only',
  );
export type Combination = z.infer<typeof Combination>;

export const SELECTORS = [
  'length',
  'off-policy',
  'on-policy',
  'vote',
  'rank-sum',
  'verifree',
  'rlpr',
  'r3',
  'nover',
  'judge',
  'random',
] as const;
export const SelectorName = z.enum(SELECTORS);
export type SelectorName = z.infer<typeof SelectorName>;

/** A function of the user's: `selectors` of the deployment has it under this name. */
export const OwnSelector = z.strictObject({ own: Name.describe('a name in selectors of temporal.config.ts') });
export type OwnSelector = z.infer<typeof OwnSelector>;

const Selector = z.union([SelectorName, AnswerScore, Combination, OwnSelector]);
type Selector = z.infer<typeof Selector>;

/** Which kind of comparison it is: by a value, or `vote`, `rank-sum`, `random`, `own`. */
function comparisonOf(selector: Selector): string {
  if (typeof selector === 'string') return selector;
  if ('own' in selector) return 'own';
  return 'combine' in selector ? selector.combine : 'value';
}
const hasValue = (selector: Selector): boolean =>
  !['vote', 'rank-sum', 'random', 'own'].includes(comparisonOf(selector));
const readsJudge = (selector: Selector): boolean =>
  selector === 'judge' || (typeof selector === 'object' && 'of' in selector && selector.of.includes('judge'));

/** The model that compares rationales: any engine, also one without log-probabilities. */
export const Judge = z.strictObject({
  engine: Name.describe('an engine of temporal.config.ts; one that loads weights judges with the starting model'),
  maxTokens: z.int().min(1).max(8192).default(256).describe('of a reply; it is one letter, after whatever is thought'),
});
export type Judge = z.infer<typeof Judge>;

export const Selection = z
  .strictObject({
    selector: Selector.default('off-policy').describe(
      'a name of docs/method.md, a score, a combination, or a function of your own; random is a control arm, not part of the method',
    ),
    judge: Judge.optional().describe('compares each candidate with the incumbent, in both orders'),
    minChars: z.int().min(0).default(1).describe('the length selector takes no shorter rationale'),
    maxChars: z.int().min(1).default(8000).describe('the length selector takes no longer one'),
    minGain: z
      .number()
      .min(0)
      .default(0)
      .describe(
        'a rationale is replaced only by one whose value is higher by more than this; not for vote and rank-sum',
      ),
    scores: z
      .enum(['all', 'needed'])
      .optional()
      .describe(
        'log-probabilities to keep. all: both models, with and without a rationale, so that every selector can be tried later; needed: what the selector reads; left out: all if it reads any',
      ),
  })
  .superRefine(({ selector, minGain, judge }, { addIssue }) => {
    if (readsJudge(selector) && !judge)
      addIssue({
        code: 'custom',
        path: ['judge'],
        message: 'must be set for the selector judge: judge: { engine: NAME }',
        input: undefined,
      });
    const message = 'must be 0 for vote, rank-sum, random and a function of your own, which compare no values';
    if (minGain > 0 && !hasValue(selector)) addIssue({ code: 'custom', path: ['minGain'], message, input: minGain });
  });
export type Selection = z.infer<typeof Selection>;
