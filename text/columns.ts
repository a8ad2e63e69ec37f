/** Text in columns of a terminal: widths, clipping, wrapping, tables. Throws nothing. */
import { createRequire } from 'node:module';
import type stringWidth from 'string-width';
import type wrapAnsi from 'wrap-ansi';
import { visible } from './text.js';

// Loaded for a text that needs them: the tables of Unicode take as long as all else that `srlm --help` loads.
const load = createRequire(__filename);
const loaded = <T>(name: string): T => (load(name) as { default: T }).default;
const ASCII = /^[ -~]*$/;

const graphemes = new Intl.Segmenter('en');
const MIN_WRAP_COLUMNS = 8;
/** The widest column of a table. */
const MAX_COLUMN = 80;

/** Columns that a terminal gives to a text: a wide letter or an emoji takes 2, whatever it is composed of. */
export const columns = (text: string): number =>
  ASCII.test(text) ? text.length : loaded<typeof stringWidth>('string-width')(text);

/** At most `width` columns; a text that is cut ends in an ellipsis. */
export function clip(text: string, width: number): string {
  if (columns(text) <= width) return text;
  if (width <= 0) return '';
  // Not `cli-truncate`: where a wide letter is at the cut, it returns one column too many.
  let kept = '';
  let used = columns('…');
  for (const { segment } of graphemes.segment(text)) {
    used += columns(segment);
    if (used > width) break;
    kept += segment;
  }
  return `${kept}…`;
}

/** Lines of at most `width` columns, or of 8 where `width` is less; a longer word is broken. */
export function wrap(text: string, width: number): string[] {
  return text.trim() === ''
    ? []
    : loaded<typeof wrapAnsi>('wrap-ansi')(visible(text), Math.max(MIN_WRAP_COLUMNS, width), { hard: true }).split(
        '\n',
      );
}

export const pad = (text: string, width: number) => text + ' '.repeat(Math.max(0, width - columns(text)));
const padLeft = (text: string, width: number) => ' '.repeat(Math.max(0, width - columns(text))) + text;

/** Each column is as wide as its widest cell, with two spaces between columns; numbers are aligned to the right. */
export function table(head: readonly string[], given: readonly (readonly string[])[]): string[] {
  const rows = given.map((row) => row.map(visible));
  // A cell may be longer than its column: others choose the ids of runs, and they are shown whole.
  const widthOf = (cell = '') => Math.min(columns(cell), MAX_COLUMN);
  const widths = head.map((name, i) => Math.max(columns(name), ...rows.map((row) => widthOf(row[i]))));
  const numeric = head.map(
    (_, i) => rows.length > 0 && rows.every((row) => /^(?:[-+]?[\d.,]+)?(?: ?%)?$/.test(row[i] ?? '')),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => (numeric[i] ? padLeft(cell, widths[i]!) : pad(cell, widths[i]!)))
      .join('  ')
      .trimEnd();
  return [line(head), ...rows.map(line)];
}
