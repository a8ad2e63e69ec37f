/** Guard: most of the text is copied from the prompt it was sampled from, the short rationale in it included. */
import type { GuardRule } from './index.js';

export const copiedPrompt: GuardRule = ({ text_T }, { prompt }) => prompt.holds(text_T);
