/**
 * Guard: the text loops, or repeats its own sentences. Axis: T tokens.
 * Not caught: a loop that changes a little each time, such as a counter that never ends.
 */
import type { GuardRule } from './index.js';
import { collapse } from './tokens.js';

export const repetition: GuardRule = ({ rationale, text_T }) => loops(text_T) || repeatsSentences(rationale);

const MAX_UNIT = 128;

/**
 * The same unit at least three times in succession. A unit that makes a statement (it has a letter or an equals sign)
 * soon counts as a loop; one that does not, such as 7 + 7 + 7 or 0, 0, 0, may be the subject itself, and counts only
 * when it is long. Working that progresses (8+3=11, 11+8=19) differs in every unit and cannot loop.
 */
function loops(text_T: readonly string[]): boolean {
  for (let unit = 1; unit <= Math.min(MAX_UNIT, text_T.length / 3); unit++) {
    for (let t = unit, same = 0; t < text_T.length; t++) {
      same = text_T[t] === text_T[t - unit] ? same + 1 : 0;
      const stretch = same + unit;
      if (stretch < 12 || stretch < 3 * unit) continue;
      const states = text_T.slice(t - unit + 1, t + 1).some((token) => /[\p{L}=]/u.test(token));
      if (states ? stretch >= 24 || stretch > text_T.length / 2 : stretch >= 60) return true;
    }
  }
  return false;
}

/** More than half of the text is in sentences or lines that occurred before, whatever number or bullet precedes them. */
function repeatsSentences(text: string): boolean {
  const seen = new Set<string>();
  let chars = 0;
  let repeated = 0;
  for (const part of text.toLowerCase().split(/\n|(?<=[.!?])\s+|(?<=[。！？])/)) {
    const sentence = collapse(part).replace(/^(?:[-*•]|(?:step )?\d+[.:)])\s*/, '');
    if (!/\p{L}.*\p{L}|=/u.test(sentence)) continue;
    chars += sentence.length;
    if (seen.has(sentence)) repeated += sentence.length;
    seen.add(sentence);
  }
  return repeated > chars / 2;
}
