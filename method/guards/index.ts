/**
 * Guards [ours]: which sampled rationales are degenerate and take part in no selection. No guard looks at whether the
 * answer is right, and none assumes an instruction type. Never throws.
 */
import { type Example, GUARDS, type Guard, type ParsedCandidate } from '../../contracts/rows.js';
import type { PromptTemplates } from '../../contracts/spec.js';
import type { EnrichFrom } from '../../contracts/steps.js';
import { copiedPrompt } from './copied-prompt.js';
import { empty } from './empty.js';
import { pastedAnswer } from './pasted-answer.js';
import { repetition } from './repetition.js';
import { truncated } from './truncated.js';
import { unchanged } from './unchanged.js';

/** One version for all guards. Enters the keys of selections. */
export const VERSION = 1;

type Parsed = Pick<ParsedCandidate, 'rationale' | 'truncated'>;

/** What the candidate was sampled for. */
interface GuardContext {
  example: Example;
  templates: PromptTemplates;
  enrichFrom: EnrichFrom;
}

/** true: the candidate is degenerate. Pure; never throws; the time is proportional to the length of the text. */
export type GuardRule = (candidate: Parsed, context: GuardContext) => boolean;

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
