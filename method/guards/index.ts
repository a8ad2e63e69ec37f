/**
 * Guards [ours]: which sampled rationales are degenerate and take part in no selection. No guard looks at whether the
 * answer is right, and none assumes an instruction type. Never throws.
 */
import { type Example, GUARDS, type Guard, type ParsedCandidate } from '../../contracts/rows.js';
import type { PromptTemplates } from '../../contracts/spec.js';
import type { EnrichFrom } from '../../contracts/steps.js';
import { enrichPrompt } from '../prompts.js';
import { copiedPrompt } from './copied-prompt.js';
import { empty } from './empty.js';
import { pastedAnswer } from './pasted-answer.js';
import { repetition } from './repetition.js';
import { Source, tokens } from './tokens.js';
import { truncated } from './truncated.js';
import { unchanged } from './unchanged.js';

/** One version for all guards. Enters the keys of selections. */
export const VERSION = 1;

type Parsed = Pick<ParsedCandidate, 'rationale' | 'truncated'>;

/** What the candidates of an example were sampled for. */
interface Sampled {
  example: Example;
  templates: PromptTemplates;
  enrichFrom: EnrichFrom;
}

/** A candidate, and its text as tokens. */
type Taken = Parsed & { text_T: readonly string[] };

interface GuardContext {
  example: Example;
  prompt: Source;
  answer: Source;
}

/** true: the candidate is degenerate. Pure; never throws; the time is proportional to the length of the text. */
export type GuardRule = (candidate: Taken, context: GuardContext) => boolean;

const RULES: Record<Guard, GuardRule> = {
  empty,
  truncated,
  repetition,
  unchanged,
  'copied-prompt': copiedPrompt,
  'pasted-answer': pastedAnswer,
};

/** For the candidates of one example: the first guard that one does not pass; null: it is sound. */
export function guardsFor({ example, templates, enrichFrom }: Sampled): (candidate: Parsed) => Guard | null {
  const prompt = new Source(enrichPrompt(templates, example, enrichFrom));
  const context = { example, prompt, answer: new Source(example.answer) };
  return (candidate) => {
    const taken = { ...candidate, text_T: tokens(candidate.rationale) };
    return GUARDS.find((name) => RULES[name](taken, context)) ?? null;
  };
}
