/** Text for terminals: widths in columns, clipping, wrapping, tables, numbers with their units. Pure; throws nothing. */
import stringWidth from 'string-width';
import wrapAnsi from 'wrap-ansi';

const graphemes = new Intl.Segmenter('en');
const MIN_WRAP_COLUMNS = 8;
/** The widest column of a table. */
const MAX_COLUMN = 80;

/** Columns that a terminal gives to a text: a wide letter or an emoji takes 2, whatever it is composed of. */
export const columns = (text: string): number => stringWidth(text);

/**
 * Control characters, which steer a terminal; line and paragraph separators; what changes the direction of text, or is
 * not seen at all, except what emoji and scripts are composed with (200C, 200D, FE0E, FE0F); half of a surrogate pair.
 * A tab is none.
 */
const STEERING =
  /(?!\t|\u200c|\u200d|\ufe0e|\ufe0f)[\p{Cc}\p{Cs}\p{Default_Ignorable_Code_Point}\u2028-\u202e\ufff9-\ufffb]/gu;

/** The same text on one line, with a mark for each character that a terminal would obey or hide. */
export const visible = (text: string): string => text.replace(STEERING, '\uFFFD');

/** JSON in which such characters are escapes of JSON: the value is the same, and a terminal shows it as it is. */
export const visibleJson = (value: unknown, indent?: number): string =>
  JSON.stringify(value, null, indent).replace(STEERING, (found) =>
    found === '\n' ? found : [...Array(found.length).keys()].map((i) => escaped(found.charCodeAt(i))).join(''),
  );
const escaped = (unit: number) => `\\u${unit.toString(16).padStart(4, '0')}`;

/** A message that may contain what a model or a server wrote, on one line: white space is a single space. */
export const printable = (text: string): string => visible(text.replace(/\s+/g, ' ')).trim();

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
    : wrapAnsi(visible(text), Math.max(MIN_WRAP_COLUMNS, width), { hard: true }).split('\n');
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

/** Two units at most: `0.4 s`, `41 s`, `3 min 20 s`, `14 min`, `2 h 5 min`, `3 d 4 h`. */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1).replace(/\.0$/, '')} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 10 && s % 60 > 0) return `${min} min ${s % 60} s`;
  if (min < 60) return `${Math.round(s / 60)} min`;
  const [big, bigUnit, small, smallUnit] =
    min < 48 * 60
      ? ([Math.floor(min / 60), 'h', min % 60, 'min'] as const)
      : ([Math.floor(min / 1440), 'd', Math.floor((min % 1440) / 60), 'h'] as const);
  return small > 0 ? `${big} ${bigUnit} ${small} ${smallUnit}` : `${big} ${bigUnit}`;
}

/** At most three significant digits: `0.42`, `8.2`, `512`. */
export function rate(perSecond: number): string {
  if (perSecond >= 99.5) return perSecond.toFixed(0);
  return perSecond >= 0.995 ? perSecond.toFixed(1) : perSecond.toFixed(2);
}

/** A share as a percentage, without the sign: `61.4`. */
export const percent = (share: number) => (100 * share).toFixed(1);
