/** Text for terminals: what is safe to show, and numbers with their units. Pure; throws nothing. */

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
