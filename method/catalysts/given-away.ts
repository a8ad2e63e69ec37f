/**
 * Whether an enriched rationale gives the answer away where the short one does not: what it would teach is to guess the
 * answer first. An answer of one short word, such as a letter or "yes", occurs in any text; it counts where it is called
 * the answer. An answer of many words counts when most of its runs of three words occur. Pure. Throws nothing.
 */
import { grams, hasRun, words } from './ngrams.js';

const LONG_WORDS = 6;
const COPIED = 0.8;
const RUN = 3;
const SHORT_CHARS = 3;
const CALLED = new Set(['answer', 'choice', 'option', 'result', 'solution']);

/** `answer` null: the data has none. */
export function givesAway(answer: string | null, rationale: string, enriched: string): boolean {
  const answer_T = words(answer ?? '');
  if (answer_T.length === 0) return false;
  return shows(words(enriched), answer_T) && !shows(words(rationale), answer_T);
}

function shows(text_T: readonly string[], answer_T: readonly string[]): boolean {
  const [only] = answer_T;
  if (answer_T.length === 1 && only!.length <= SHORT_CHARS && !/^\p{N}+$/u.test(only!)) return isCalled(text_T, only!);
  if (answer_T.length < LONG_WORDS) return hasRun(text_T, answer_T);
  const own = grams(answer_T, RUN);
  const known = grams(text_T, RUN);
  let found = 0;
  for (const gram of own) if (known.has(gram)) found++;
  return found >= COPIED * own.size;
}

/** `the answer is (B)`, `answer: yes`, `option B`. */
function isCalled(text_T: readonly string[], answer: string): boolean {
  return text_T.some((word, t) => {
    if (word !== answer) return false;
    const before = text_T[t - 1] === 'is' || text_T[t - 1] === 'be' ? text_T[t - 2] : text_T[t - 1];
    return before !== undefined && CALLED.has(before);
  });
}
