/**
 * Rows -> lines the trainer reads. [paper] Every training takes the answers with their rationales and the catalysts
 * together. How often a catalyst stands in the mixture, and in which order, is not decided here.
 * Throws data.unusable for a catalyst without an answer where the answer is needed.
 */
import { dataUnusable, show } from '../contracts/errors.js';
import type { Catalyst, Row, TrainingRow } from '../contracts/records.js';
import type { Prompts } from '../contracts/spec.js';
import { answerPrompt, fill, reply } from './prompts.js';

export function answerRow(row: Row, prompts: Prompts): TrainingRow {
  return {
    messages: turn(answerPrompt(prompts, row.instruction), reply(prompts, row.rationale, row.answer)),
    source: 'answer',
    id: row.id,
  };
}

/** enrich [paper]: (instruction, short rationale) -> enriched. answer [ours]: a control arm, the catalyst as an answer. */
export function catalystRow(catalyst: Catalyst, prompts: Prompts, use: 'enrich' | 'answer'): TrainingRow {
  const { id, instruction, rationale, enriched, answer } = catalyst;
  if (use === 'enrich') {
    return { messages: turn(fill(prompts.enrich, { instruction, rationale }), enriched), source: 'enrich', id };
  }
  if (answer === null) throw dataUnusable('catalysts', `catalyst ${show(id)} has no answer, which use: answer needs.`);
  return {
    messages: turn(answerPrompt(prompts, instruction), reply(prompts, enriched, answer)),
    source: 'catalyst-answer',
    id,
  };
}

const turn = (user: string, assistant: string): TrainingRow['messages'] => [
  { role: 'user', content: user },
  { role: 'assistant', content: assistant },
];
