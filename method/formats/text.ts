/** Text out of a user's JSON. Throws data.invalid for what is neither text nor a number. */
import { type Position, rowInvalid, show } from '../contracts/errors.js';

/** Always encodable: a lone surrogate, which no file can hold, becomes U+FFFD. */
export function toText(value: unknown, at: Position): string {
  if (typeof value === 'string') return value.replace(/\p{Surrogate}/gu, '\uFFFD');
  if (typeof value !== 'number') throw rowInvalid(at, `expected text, found ${show(value)}.`);
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw rowInvalid(at, `the number ${value} is too large to be read exactly; put it in quotes.`);
  }
  return String(value);
}
