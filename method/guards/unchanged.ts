/** Guard: the incumbent, apart from white space. */
import type { GuardRule } from './index.js';
import { collapse } from './tokens.js';

export const unchanged: GuardRule = ({ rationale }, { example }) => collapse(rationale) === collapse(example.rationale);
