/**
 * Guards [ours]: which sampled rationales are degenerate and take no part in any selection. None looks at whether the
 * answer is right, and none assumes an instruction type. Axes: T tokens (words, numbers, marks; not a model's tokens).
 * Not caught: a loop that changes a little each time, such as a counter that runs on for ever.
 */
import type { Candidate, Guard, Row } from '../contracts/records.js';
import type { Prompts, RunSpec } from '../contracts/spec.js';
import { parseRationale } from './parse.js';
import { answerMark, enrichPrompt } from './prompts.js';

/** A rationale is a copy when so much of it stands in the source, counted in runs of three tokens. */
const COPIED = 0.8;

/** `text` is the sample as it came. The first guard that holds, in the order below; null: the candidate is sound. */
export function guard(
  { text, finish }: Pick<Candidate, 'text' | 'finish'>,
  { prompts, row, enrichFrom }: { prompts: Prompts; row: Row; enrichFrom: RunSpec['enrichFrom'] },
): Guard | null {
  const rationale = parseRationale(text, prompts);
  const mark = answerMark(prompts);
  const cut = mark !== null && text.includes(mark);
  if (!/[\p{L}\p{N}]/u.test(rationale)) return 'empty';
  // Cut at the answer, the rationale itself was finished.
  if (finish === 'length' && !cut) return 'truncated';
  if (repeats(rationale)) return 'repetition';
  if (collapsed(rationale) === collapsed(row.rationale)) return 'unchanged';
  if (copies(rationale, enrichPrompt(prompts, row, enrichFrom))) return 'copied-prompt';
  if (isAnswer(rationale, row.answer)) return 'pasted-answer';
  return null;
}

const collapsed = (text: string) => text.trim().replace(/\s+/g, ' ');

/** Words and numbers (in parts of 16 characters at most) and runs of one mark, in lower case. */
const tokens = (text: string) =>
  text.toLowerCase().match(/[\p{L}\p{M}]{1,16}|\p{N}{1,16}|([^\p{L}\p{M}\p{N}\s])\1*/gu) ?? [];

export const repeats = (text: string) => loops(tokens(text)) || saysAgain(text);

/**
 * The same unit three times or more on end. A unit that states something (it has a letter or an equals sign) loops
 * soon; one that does not, such as 7 + 7 + 7 or 0, 0, 0, may be the matter itself, and loops only when it is long.
 * Working that moves on (8+3=11, 11+8=19) differs in every unit and cannot loop.
 */
function loops(text_T: readonly string[]): boolean {
  for (let unit = 1; unit <= Math.min(128, text_T.length / 3); unit++) {
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

/** More than half of the text lies in sentences or lines that stood before, whatever number or bullet leads them. */
function saysAgain(text: string): boolean {
  const seen = new Set<string>();
  let chars = 0;
  let again = 0;
  for (const sentence of text.toLowerCase().split(/\n|(?<=[.!?])\s+|(?<=[。！？])/)) {
    const said = collapsed(sentence).replace(/^(?:[-*•]|(?:step )?\d+[.:)])\s*/, '');
    if (!/\p{L}.*\p{L}|=/u.test(said)) continue;
    chars += said.length;
    if (seen.has(said)) again += said.length;
    seen.add(said);
  }
  return again > chars / 2;
}

/** Most of the text stands in the source. */
function copies(text: string, source: string): boolean {
  const from_T = tokens(source);
  const of_T = tokens(text);
  const width = Math.min(3, of_T.length);
  const runs = (text_T: readonly string[]) =>
    text_T.slice(0, text_T.length - width + 1).map((_, t) => text_T.slice(t, t + width).join(' '));
  const known = new Set(runs(from_T));
  const of = runs(of_T);
  return of.filter((run) => known.has(run)).length >= COPIED * of.length;
}

/** "38", "The answer is 38.", or mostly the text of a longer answer. Working that ends in the answer is none of these. */
function isAnswer(rationale: string, answer: string): boolean {
  const bare = (text: string) =>
    tokens(text)
      .filter((token) => /[\p{L}\p{N}]/u.test(token))
      .join(' ');
  const said = bare(rationale).replace(
    /^(?:(?:so|thus|therefore|hence|the|final|correct|answer|result|is|it|s) )+/,
    '',
  );
  return said === bare(answer) || (tokens(answer).length >= 3 && copies(rationale, answer));
}
