/** Text as tokens, for guards: words, numbers and marks, not the tokens of a model. Axis: T tokens. */

/** Words and numbers (in parts of at most 16 characters) and runs of one mark, in lower case. */
export const tokens = (text: string): string[] =>
  text.toLowerCase().match(/[\p{L}\p{M}]{1,16}|\p{N}{1,16}|([^\p{L}\p{M}\p{N}\s])\1*/gu) ?? [];

/** Every run of white space becomes one space. */
export const collapse = (text: string) => text.trim().replace(/\s+/g, ' ');

/** Share of a text's runs that must occur in the source, for the text to be a copy. */
const COPIED = 0.8;
const RUN_TOKENS = 3;

/** Most of the text occurs in the source, counted in runs of three tokens. */
export function copies(text: string, source: string): boolean {
  const text_T = tokens(text);
  const width = Math.min(RUN_TOKENS, text_T.length);
  const known = new Set(runs(tokens(source), width));
  const own = runs(text_T, width);
  return own.filter((run) => known.has(run)).length >= COPIED * own.length;
}

const runs = (text_T: readonly string[], width: number) =>
  text_T.slice(0, text_T.length - width + 1).map((_, t) => text_T.slice(t, t + width).join(' '));
