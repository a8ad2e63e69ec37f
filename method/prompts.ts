/**
 * What the model reads and is trained to write, from the templates of the spec. All wording is [ours]: the paper's
 * prompts could not be obtained. A hole is filled once, so braces inside a value are text and stay as they are.
 */
import type { Example, Question, Row } from '../contracts/records.js';
import type { Prompts, RunSpec } from '../contracts/spec.js';

const RATIONALE = '{rationale}';
const ANSWER = '{answer}';

/** Holes without a value stay as they are. */
export function fill(template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(/\{(\w+)\}/g, (hole, name: string) => (Object.hasOwn(values, name) ? values[name]! : hole));
}

export function answerPrompt(prompts: Prompts, instruction: string): string {
  return fill(prompts.answer, { instruction });
}

/** Never shows the answer (the spec forbids the hole): it would leak into the rationale. */
export function enrichPrompt(prompts: Prompts, row: Row, enrichFrom: RunSpec['enrichFrom']): string {
  const rationale = enrichFrom === 'original' ? row.original : row.rationale;
  return fill(prompts.enrich, { instruction: row.instruction, rationale });
}

export function rationalizePrompt(prompts: Prompts, example: Example): string {
  return fill(prompts.rationalize, { instruction: example.instruction, answer: example.answer });
}

export function questionPrompt(prompts: Prompts, { question, choices }: Question): string {
  const listed = (choices ?? []).map((choice, i) => `\n${letter(i)}. ${choice}`);
  return answerPrompt(prompts, question + listed.join(''));
}

export const letter = (index: number) => String.fromCharCode(65 + index);

/**
 * The reply up to where the answer begins, without white space at either end: tokenizers join a space to the word
 * after it, so the answer is scored together with the white space before it. Always: prefix + suffix = reply.
 */
export function replyPrefix(prompts: Prompts, rationale: string): string {
  return fill(beforeAnswer(prompts), { rationale }).trim();
}

export function answerSuffix(prompts: Prompts, answer: string): string {
  const before = beforeAnswer(prompts);
  const gap = before.slice(before.trimEnd().length);
  return gap + fill(prompts.reply.slice(before.length), { answer });
}

export function reply(prompts: Prompts, rationale: string, answer: string): string {
  return replyPrefix(prompts, rationale) + answerSuffix(prompts, answer);
}

/** The words between rationale and answer ("Answer:"): where a candidate is cut. null where there are none. */
export function answerMark(prompts: Prompts): string | null {
  const before = beforeAnswer(prompts);
  return before.slice(before.lastIndexOf(RATIONALE) + RATIONALE.length).trim() || null;
}

const beforeAnswer = ({ reply }: Prompts) => reply.slice(0, reply.indexOf(ANSWER));
