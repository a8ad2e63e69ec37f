/** The prompts of a spec: what models are asked, and the form of a reply. All wording is [ours]; method/prompts.ts fills it. */
import { z } from 'zod';
import { template } from './text.js';

export const DEFAULT_ENRICH_PROMPT = `Below are a question and a short piece of reasoning about it. Rewrite the reasoning so that it is more comprehensive. Use whichever of these help: reflection, decomposition into steps, more detail, a summary, alternative thinking, backward thinking, an analogy, checking the result. Write the reasoning only, not the final answer.

Question: {instruction}
Short reasoning: {rationale}`;

export const DEFAULT_RATIONALIZE_PROMPT = `Question: {instruction}

Answer: {answer}

In one or two short sentences, say how one gets to this answer.`;

export const DEFAULT_JUDGE_PROMPT = `Below are a question, its answer, and two pieces of reasoning, A and B. Which one leads to the answer more surely? Judge whether the steps are right and complete. Neither length nor order is a merit.

Question: {instruction}

Answer: {answer}

A: {first}

B: {second}

Reply with one letter: A, B, or T for a tie.`;

export const PromptTemplates = z.strictObject({
  answer: template('instruction').default('{instruction}').describe('the user turn when a question is answered'),
  reply: template('rationale', 'answer')
    .refine(
      (value) => value.indexOf('{rationale}') < value.indexOf('{answer}'),
      'the rationale comes before the answer',
    )
    .refine((value) => value.endsWith('{answer}'), 'must end with {answer}')
    .default('{rationale}\nAnswer: {answer}')
    .describe('the reply a model is trained to give'),
  enrich: template('instruction', 'rationale')
    .refine((value) => !value.includes('{answer}'), 'must not show {answer}: it would leak into the rationale')
    .default(DEFAULT_ENRICH_PROMPT)
    .describe('the user turn when a rationale is enriched'),
  rationalize: template('instruction', 'answer')
    .default(DEFAULT_RATIONALIZE_PROMPT)
    .describe('the user turn when a missing first rationale is written'),
  judge: template('instruction', 'first', 'second')
    .default(DEFAULT_JUDGE_PROMPT)
    .describe('the user turn when a judge compares two rationales; its reply is A, B or T'),
});
export type PromptTemplates = z.infer<typeof PromptTemplates>;
