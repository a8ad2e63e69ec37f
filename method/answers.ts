/**
 * When are two answers the same? The only rule for it, used by graders and by the vote. Equal answers have one normal
 * form, so equality is an equivalence relation. Never throws.
 * The time is proportional to the length of the text: a run is looked for at its beginning only, by `(?<!x)x+$`.
 * Not done: units ("18 dollars" is not "18"), fractions, equations, and anything that would need a judge.
 */

/** Enters the keys of grades. */
export const VERSION = 1;

/** How many quotes within quotes are taken off: a reply of 100,000 must not occupy a worker for minutes. */
const MAX_LAYERS = 20;

const ARTICLES = ['a', 'an', 'the'];

export const sameAnswer = (a: string, b: string): boolean => normaliseAnswer(a) === normaliseAnswer(b);

/** A number in one spelling, else the plain form. Normalising a normal form changes nothing, up to MAX_LAYERS. */
export function normaliseAnswer(text: string): string {
  // Simplifying may uncover a number or more to simplify, as in `the "50"`.
  let form = text;
  for (let layers = 0; layers < MAX_LAYERS; layers++) {
    const number = decimal(form);
    if (number !== null) return number;
    const simpler = plain(form);
    if (simpler === form) break;
    form = simpler;
  }
  return form;
}

/** A number in one spelling: "$1,000.0" -> "1000". Digits are compared, so no precision is lost. null: no number. */
function decimal(text: string): string | null {
  const bare = text
    .replace(/\u2212/g, '-')
    .replace(/(?<![.\s])[.\s]+$/, '')
    .replace(/\\?[$%]|[€£]|\s/g, '');
  const parts = /^([-+]?)(\d{1,3}(?:,\d{3})+|\d*)(?:\.(\d+))?$/.exec(bare);
  if (!parts || (!parts[2] && !parts[3])) return null;
  const whole = parts[2]!.replace(/,/g, '').replace(/^0+/, '') || '0';
  const fraction = (parts[3] ?? '').replace(/(?<!0)0+$/, '');
  const size = fraction ? `${whole}.${fraction}` : whole;
  return parts[1] === '-' && size !== '0' ? `-${size}` : size;
}

/** Without case, repeated white space, quotes around, articles and end punctuation. */
function plain(text: string): string {
  const words = text.normalize('NFKC').toLowerCase().split(/\s+/).join(' ').trim();
  const bare = words.replace(/^["'“‘]+/, '').replace(/(?<!["'”’.,;:!?])["'”’.,;:!?]+$/, '');
  const short = bare.split(' ').filter((word) => !ARTICLES.includes(word));
  return short.join(' ') || bare || words;
}
