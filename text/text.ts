/** Text for terminals: widths in columns, clipping, wrapping, tables, durations. Pure. */

const WIDE =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\uff01-\uff60]/u;
const NO_WIDTH = /[\p{Mn}\p{Me}\p{Cf}]/u;

/** Columns a terminal gives to `text`. */
export function columns(text: string): number {
  let sum = 0;
  for (const letter of text) sum += NO_WIDTH.test(letter) ? 0 : WIDE.test(letter) ? 2 : 1;
  return sum;
}

/** A message may hold what a model or a server wrote: no control characters, which could steer the terminal. */
export function printable(text: string): string {
  return text
    .replace(/\s+/g, ' ')
    .replace(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, '\uFFFD')
    .trim();
}

/** At most `width` columns; what is cut ends in an ellipsis. */
export function clip(text: string, width: number): string {
  if (columns(text) <= width) return text;
  let kept = '';
  let used = 1;
  for (const letter of text) {
    used += columns(letter);
    if (used > width) break;
    kept += letter;
  }
  return width > 0 ? `${kept}…` : '';
}

/** Lines of at most `width` columns; a longer word is broken. */
export function wrap(text: string, width: number): string[] {
  const room = Math.max(8, width);
  const lines: string[] = [];
  let line = '';
  for (let word of text.split(' ')) {
    const joined = line === '' ? word : `${line} ${word}`;
    if (columns(joined) <= room) {
      line = joined;
      continue;
    }
    if (line !== '') lines.push(line);
    while (columns(word) > room) {
      let part = '';
      for (const letter of word) {
        if (columns(part + letter) > room) break;
        part += letter;
      }
      lines.push(part);
      word = word.slice(part.length);
    }
    line = word;
  }
  return line === '' ? lines : [...lines, line];
}

export const pad = (text: string, width: number) => text + ' '.repeat(Math.max(0, width - columns(text)));
const padLeft = (text: string, width: number) => ' '.repeat(Math.max(0, width - columns(text))) + text;

/** Columns as wide as their widest cell, two spaces between; numbers to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((name, i) => Math.max(columns(name), ...rows.map((row) => columns(row[i] ?? ''))));
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

/** Three digits that matter: `0.42`, `8.2`, `512`. */
export function rate(perSecond: number): string {
  if (perSecond >= 99.5) return perSecond.toFixed(0);
  return perSecond >= 0.995 ? perSecond.toFixed(1) : perSecond.toFixed(2);
}

export const percent = (share: number) => (100 * share).toFixed(1);
