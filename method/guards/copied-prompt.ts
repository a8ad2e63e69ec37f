/** Guard: most of the text is copied from the prompt it was sampled from, the short rationale in it included. */
import { enrichPrompt } from '../prompts.js';
import type { GuardRule } from './index.js';
import { copies } from './tokens.js';

export const copiedPrompt: GuardRule = ({ rationale }, { example, templates, enrichFrom }) =>
  copies(rationale, enrichPrompt(templates, example, enrichFrom));
