/**
 * Guard: "38", "The answer is 38.", or mostly the text of a longer answer. Working that ends in the answer is not caught.
 */
import type { GuardRule } from './index.js';
import { copies, tokens } from './tokens.js';

const LEAD = /^(?:(?:so|thus|therefore|hence|the|final|correct|answer|result|is|it|s) )+/;

export const pastedAnswer: GuardRule = ({ rationale }, { example: { answer } }) =>
  words(rationale).replace(LEAD, '') === words(answer) || (tokens(answer).length >= 3 && copies(rationale, answer));

const words = (text: string) =>
  tokens(text)
    .filter((token) => /[\p{L}\p{N}]/u.test(token))
    .join(' ');
