/** What a judge says of a rationale: the share of both orders in which it is better than the incumbent. A tie is a half. */
import type { Measured } from './selector.js';

export const judge: Measured = {
  reads: [],
  judged: true,
  values: (table_N) => table_N.map(({ scores }) => scores.judge!),
};
