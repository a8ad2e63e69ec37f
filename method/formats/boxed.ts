/**
 * MATH, NuminaMath and others: a solution that puts its answer into `\\boxed{...}`, the last one of which counts. The whole
 * solution is the rationale.
 */
import type { Form } from './form.js';

const MARK = /\\(?:boxed|fbox)\s*\{/g;

export const boxed: Form = {
  answer(text) {
    const last = [...text.matchAll(MARK)].at(-1);
    if (!last) return null;
    const from = last.index + last[0].length;
    const to = closing(text, from);
    const answer = text.slice(from, to ?? from).trim();
    if (to === null || answer === '') return null;
    const around = text.slice(0, last.index) + text.slice(to + 1);
    return { rationale: /[\p{L}\p{N}]/u.test(around) ? text.trim() : null, answer };
  },
};

/** Where the brace that is open at `from` closes; null: nowhere. */
function closing(text: string, from: number): number | null {
  let depth = 1;
  for (let at = from; at < text.length; at++) {
    const sign = text[at];
    if (sign === '\\') at++;
    else if (sign === '{') depth++;
    else if (sign === '}' && --depth === 0) return at;
  }
  return null;
}
