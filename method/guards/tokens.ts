/** Text as tokens, for guards: words, numbers and marks, not the tokens of a model. Axis: T tokens. */

/** Words and numbers (in parts of at most 16 characters) and runs of one mark, in lower case. */
export const tokens = (text: string): string[] =>
  text.toLowerCase().match(/[\p{L}\p{M}]{1,16}|\p{N}{1,16}|([^\p{L}\p{M}\p{N}\s])\1*/gu) ?? [];

/** Every run of white space becomes one space. */
export const collapse = (text: string) => text.trim().replace(/\s+/g, ' ');

/** Share of a text's runs that must occur in the source, for the text to be a copy. */
const COPIED = 0.8;
const RUN_TOKENS = 3;

/** A text that others may be copied from. It is taken apart once, however many are compared with it. */
export class Source {
  private readonly known = new Map<number, Set<string>>();
  private text_T: string[] | null = null;

  constructor(private readonly text: string) {}

  get tokens_T(): readonly string[] {
    this.text_T ??= tokens(this.text);
    return this.text_T;
  }

  /** Most of the text occurs here, counted in runs of three tokens. */
  holds(text_T: readonly string[]): boolean {
    const width = Math.min(RUN_TOKENS, text_T.length);
    const known = this.runs(width);
    const own = runs(text_T, width);
    return own.filter((run) => known.has(run)).length >= COPIED * own.length;
  }

  private runs(width: number): Set<string> {
    let found = this.known.get(width);
    if (!found) {
      found = new Set(runs(this.tokens_T, width));
      this.known.set(width, found);
    }
    return found;
  }
}

/** No token holds a space. */
function runs(text_T: readonly string[], width: number): string[] {
  const found: string[] = [];
  for (let end = width; end <= text_T.length; end++) {
    let run = text_T[end - width] ?? '';
    for (let t = end - width + 1; t < end; t++) run += ` ${text_T[t]}`;
    found.push(run);
  }
  return found;
}
