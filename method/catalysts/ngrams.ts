/**
 * Texts as sets of n-grams, for duplicates and overlap: words and numbers without regard to case, width and punctuation;
 * of scripts without spaces, each letter is a word. A gram is kept as a hash of 32 bits, so that a set of texts fits into
 * memory; two grams rarely share one, and the measures are shares of many grams. Pure. Throws nothing.
 */
import { hash32 } from '../random.js';

const WORD =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]\p{M}*|(?:(?![\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}])[\p{L}\p{M}]){1,64}|\p{N}{1,64}/gu;

export const words = (text: string): string[] => text.normalize('NFKC').toLowerCase().match(WORD) ?? [];

/** Each gram once. A text of fewer words is one gram. */
export function grams(words_T: readonly string[], n: number): Set<number> {
  const width = Math.min(n, words_T.length);
  const found = new Set<number>();
  if (width === 0) return found;
  for (let end = width; end <= words_T.length; end++) found.add(hash32(words_T.slice(end - width, end).join(' ')));
  return found;
}

/** Equal for texts that differ in case, width, spaces and punctuation only; '' for a text without words. */
export function wordPrint(words_T: readonly string[]): string {
  const text = words_T.join(' ');
  return text === '' ? '' : `${hash32(text).toString(36)}-${hash32(`\n${text}`).toString(36)}-${text.length}`;
}

/** Where `part` stands in `whole`, as a run of words. */
export function hasRun(whole_T: readonly string[], part_T: readonly string[]): boolean {
  return part_T.length > 0 && ` ${whole_T.join(' ')} `.includes(` ${part_T.join(' ')} `);
}
