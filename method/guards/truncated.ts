/** Guard: the text was cut by the limit of tokens before the rationale had ended (method/parse.ts). */
import type { GuardRule } from './index.js';

export const truncated: GuardRule = (candidate) => candidate.truncated;
