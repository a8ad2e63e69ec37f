/** What a guard looks at. */
import type { Example, ParsedCandidate } from '../../contracts/rows.js';
import type { PromptTemplates } from '../../contracts/spec.js';
import type { EnrichFrom } from '../../contracts/steps.js';

/** A parsed candidate, of whichever example. */
export type Parsed = Pick<ParsedCandidate, 'rationale' | 'truncated'>;

/** What the candidate was sampled for. */
export interface GuardContext {
  example: Example;
  templates: PromptTemplates;
  enrichFrom: EnrichFrom;
}

/** true: the candidate is degenerate. Pure; never throws; the time is proportional to the length of the text. */
export type GuardRule = (candidate: Parsed, context: GuardContext) => boolean;
