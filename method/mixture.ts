/**
 * Rows -> lines that the trainer reads. [paper] Every training takes the answers with their rationales and the catalysts
 * together. How often a catalyst occurs in the mixture, and in which order, is not decided here.
 * Throws data.unusable for a catalyst without an answer where the answer is needed.
 */
import { dataUnusable, show } from '../contracts/errors.js';
import type { Catalyst, Example, Message, TrainingRow } from '../contracts/rows.js';
import type { PromptTemplates } from '../contracts/spec.js';
import type { MixInput } from '../contracts/steps.js';
import { answerMessages, enrichPrompt, reply } from './prompts.js';

/** Enters the keys of mixtures. */
export const VERSION = 1;

export function answerRow(example: Example, templates: PromptTemplates): TrainingRow {
  const { id, rationale, answer } = example;
  return {
    messages: [...answerMessages(templates, example), said(reply(templates, rationale, answer))],
    source: 'answer',
    id,
  };
}

/** enrich [paper]: (instruction, short rationale) -> enriched. answer [ours]: a control arm, the catalyst as an answer. */
export function catalystRow(catalyst: Catalyst, templates: PromptTemplates, use: MixInput['use']): TrainingRow {
  const { id, instruction, rationale, enriched, answer } = catalyst;
  if (use === 'enrich') {
    const prompt = enrichPrompt(templates, { instruction, original: rationale, rationale }, 'original');
    return { messages: [{ role: 'user', content: prompt }, said(enriched)], source: 'enrich', id };
  }
  if (answer === null) throw dataUnusable('catalysts', `catalyst ${show(id)} has no answer, which use: answer needs.`);
  return {
    messages: [...answerMessages(templates, { instruction, turns: null }), said(reply(templates, enriched, answer))],
    source: 'catalyst-answer',
    id,
  };
}

const said = (content: string): Message => ({ role: 'assistant', content });
