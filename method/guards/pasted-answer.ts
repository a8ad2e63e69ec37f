/**
 * Guard: "38", "The answer is 38.", or mostly the text of a longer answer. Working that ends in the answer is not caught.
 */
import type { GuardRule } from './index.js';

const LEAD = /^(?:(?:so|thus|therefore|hence|the|final|correct|answer|result|is|it|s) )+/;

export const pastedAnswer: GuardRule = ({ text_T }, { answer }) =>
  words(text_T).replace(LEAD, '') === words(answer.tokens_T) || (answer.tokens_T.length >= 3 && answer.holds(text_T));

const words = (text_T: readonly string[]) => text_T.filter((token) => /[\p{L}\p{N}]/u.test(token)).join(' ');
