/** The selectors and measures that have a name, as what they are made of. docs/method.md lists them. */
import type { AnswerScore, Combination, Measure, MeasureName, SelectorName } from '../../contracts/spec.js';

const score = (
  model: AnswerScore['model'],
  reduce: AnswerScore['reduce'],
  minus: AnswerScore['minus'] = 'nothing',
): AnswerScore => ({ model, reduce, minus });

/** [ours]: off-policy and on-policy. The papers score under the model that is trained, which here is the current one. */
export const SCORES: Partial<Record<MeasureName, AnswerScore>> = {
  'off-policy': score('reference', 'mean-logprob'),
  'on-policy': score('current', 'mean-logprob'),
  verifree: score('current', 'sequence-prob'),
  rlpr: score('current', 'mean-prob', 'no-rationale'),
  r3: score('current', 'weighted-logprob'),
};

const BALLOTS: Measure[] = ['length', 'off-policy', 'on-policy'];

/** What a name stands for; a name that is that of a measure stands for it. */
export const COMBINATIONS: Partial<Record<SelectorName, Combination>> = {
  vote: { combine: 'vote', of: BALLOTS },
  'rank-sum': { combine: 'rank-sum', of: BALLOTS },
  nover: { combine: 'weights', of: ['likelihood-rank', 'efficiency'], weights: [1, 1] },
};
