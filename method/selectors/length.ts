/** Length [ours]: the longest candidate within the bounds; one outside of them is worth less than any other. */
import type { Bounds, Measured } from './selector.js';

export const length: Measured = {
  reads: [],
  values: (table_N, bounds) =>
    table_N.map(({ chars }, i) => (i === table_N.length - 1 ? chars : boundedChars(chars, bounds))),
};

const boundedChars = (chars: number, { minChars, maxChars }: Bounds) =>
  chars >= minChars && chars <= maxChars ? chars : -1;
