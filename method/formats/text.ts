/** Text from a user's JSON. Throws data.invalid for a value that is neither text nor a number, true or false. */
import { type Position, rowInvalid, show } from '../../contracts/errors.js';
import { encodable } from '../../contracts/rows.js';

/** The result can always be encoded: a lone surrogate, which no file can contain, becomes U+FFFD. */
export function toText(value: unknown, at: Position): string {
  if (typeof value === 'string') return encodable(value);
  if (typeof value === 'boolean') return String(value);
  if (typeof value !== 'number') throw rowInvalid(at, `expected text, found ${show(value)}.`);
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw rowInvalid(at, 'the number has more digits than can be read exactly; put it in quotes.');
  }
  if (!Number.isFinite(value)) throw rowInvalid(at, 'the number is too large; put it in quotes.');
  return String(value);
}

/** What a row has instead of a value: null, NaN (as pandas writes it), and a text of nothing but white space. */
export const isMissing = (value: unknown): boolean =>
  value === undefined || value === null || Number.isNaN(value) || (typeof value === 'string' && value.trim() === '');
