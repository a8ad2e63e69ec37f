/**
 * Scores of how likely the answer is after a rationale: a model, a reduction of its tokens' probabilities to one number,
 * and what is subtracted. With p_t the probability of token t given the question, the rationale and the tokens before:
 *   mean-logprob      mean_t log p_t                 [ours]
 *   mean-prob         mean_t p_t                     RLPR, arXiv 2506.18254
 *   sequence-prob     prod_t p_t = p(y | x, r)       VeriFree, arXiv 2505.21493
 *   weighted-logprob  sum_t w_t log p_t, w_t in proportion to the standard deviation of log p_t over the rationales of
 *                     the question: tokens that vary with the rationale count   after R3 of DRO, arXiv 2506.13351
 * Minus the value without a rationale, a score is cut at zero, as RLPR cuts its reward: a rationale that does not help is
 * not better than another one.
 */
import type { ScoreName } from '../../contracts/rows.js';
import type { AnswerScore } from '../../contracts/spec.js';
import type { CandidateRow, Measured, Table } from './selector.js';

const COLUMN: Record<AnswerScore['model'], ScoreName> = { reference: 'off-policy', current: 'on-policy' };

export function answerScore({ model, reduce, minus }: AnswerScore): Measured {
  const column = COLUMN[model];
  const isSubtracted = minus === 'no-rationale';
  return {
    reads: [column],
    tokens: reduce !== 'mean-logprob',
    withoutRationale: isSubtracted,
    values(table_N) {
      const weights_T = reduce === 'weighted-logprob' ? spread(table_N, column) : [];
      const reduced = (row: CandidateRow) =>
        reduce === 'mean-logprob' ? row.scores[column]! : REDUCE[reduce](row.logprobs![column]!, weights_T);
      const values_N = table_N.map(reduced);
      if (!isSubtracted) return values_N;
      const alone = REDUCE[reduce](table_N.at(-1)!.withoutRationale![column]!, weights_T);
      return values_N.map((value) => Math.max(0, value - alone));
    },
  };
}

type Reduction = (logprobs_T: readonly number[], weights_T: readonly number[]) => number;

const REDUCE: Record<AnswerScore['reduce'], Reduction> = {
  'mean-logprob': mean,
  'mean-prob': (logprobs_T) => mean(logprobs_T.map(Math.exp)),
  'sequence-prob': (logprobs_T) => Math.exp(sum(logprobs_T)),
  'weighted-logprob': (logprobs_T, weights_T) => sum(logprobs_T.map((value, t) => value * weights_T[t]!)),
};

/** Standard deviations over the rows, as shares of their sum; equal shares where nothing varies. */
function spread(table_N: Table, column: ScoreName): number[] {
  const logprobs_NT = table_N.map(({ logprobs }) => logprobs![column]!);
  const deviations_T = logprobs_NT[0]!.map((_, t) => {
    const values_N = logprobs_NT.map((row_T) => row_T[t]!);
    const middle = mean(values_N);
    return Math.sqrt(mean(values_N.map((value) => (value - middle) ** 2)));
  });
  const total = sum(deviations_T);
  return deviations_T.map((deviation) => (total === 0 ? 1 / deviations_T.length : deviation / total));
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
function mean(values: readonly number[]): number {
  return sum(values) / values.length;
}
