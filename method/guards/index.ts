/**
 * Guards [ours]: which sampled rationales are degenerate and take part in no selection. No guard looks at whether the
 * answer is right, and none assumes an instruction type. Never throws.
 * A new guard: its name in contracts/rows.ts (GUARDS, whose order is the order in which guards are asked), a file here
 * and a line in RULES.
 */
import { GUARDS, type Guard } from '../../contracts/rows.js';
import { copiedPrompt } from './copied-prompt.js';
import { empty } from './empty.js';
import type { GuardContext, GuardRule, Parsed } from './guard.js';
import { pastedAnswer } from './pasted-answer.js';
import { repetition } from './repetition.js';
import { truncated } from './truncated.js';
import { unchanged } from './unchanged.js';

export type { GuardContext, GuardRule, Parsed };

/** One version for all guards. Enters the keys of log-probabilities and selections. */
export const VERSION = 1;

const RULES: Record<Guard, GuardRule> = {
  empty,
  truncated,
  repetition,
  unchanged,
  'copied-prompt': copiedPrompt,
  'pasted-answer': pastedAnswer,
};

/** The first guard that the candidate does not pass; null: the candidate is sound. */
export function guardOf(candidate: Parsed, context: GuardContext): Guard | null {
  return GUARDS.find((name) => RULES[name](candidate, context)) ?? null;
}
