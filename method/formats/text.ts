/** Text from a user's JSON. Throws data.invalid for a value that is neither text nor a number. */
import { type Position, rowInvalid, show } from '../../contracts/errors.js';
import { encodable } from '../../contracts/rows.js';

/** The result can always be encoded: a lone surrogate, which no file can contain, becomes U+FFFD. */
export function toText(value: unknown, at: Position): string {
  if (typeof value === 'string') return encodable(value);
  if (typeof value !== 'number') throw rowInvalid(at, `expected text, found ${show(value)}.`);
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw rowInvalid(at, `the number ${value} is too large to be read exactly; put it in quotes.`);
  }
  if (!Number.isFinite(value)) throw rowInvalid(at, 'the number is too large; put it in quotes.');
  return String(value);
}
