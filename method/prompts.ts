/**
 * What the model reads and is trained to write, from the templates of the spec: one function per prompt, used wherever
 * that prompt is needed. All wording is [ours]: the paper's prompts could not be obtained. A hole is filled once, so
 * braces inside a value are text and stay as they are. Throws nothing.
 */
import type { Example, Message, PromptRow } from '../contracts/rows.js';
import type { PromptTemplates } from '../contracts/spec.js';
import type { EnrichFrom } from '../contracts/steps.js';

/** Enters the keys of what is sampled, computed and trained with these prompts, or with the questions of graders/. */
export const VERSION = 1;

const RATIONALE = '{rationale}';
const ANSWER = '{answer}';

/** Fills the holes of a template. Holes without a value stay as they are. */
export function fill(template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(/\{(\w+)\}/g, (hole, name: string) => (Object.hasOwn(values, name) ? values[name]! : hole));
}

/** What is asked: one text, or a conversation whose last turn is the user's. */
export type Asked = Pick<PromptRow, 'instruction' | 'turns'>;

/**
 * What comes before an answer, wherever one is trained, scored, evaluated or asked for: the turns before the last one as
 * they are, and the last one by the template.
 */
export const answerMessages = (templates: PromptTemplates, asked: Asked): Message[] =>
  withLast(asked, (text) => fill(templates.answer, { instruction: text }));

function withLast({ instruction, turns }: Asked, asked: (text: string) => string): Message[] {
  const last = turns?.at(-1)?.content ?? instruction;
  return [...(turns ?? []).slice(0, -1), { role: 'user', content: asked(last) }];
}

/** The letter by which the choice at `index` is named: A, B, ... */
export const letter = (index: number) => String.fromCharCode(65 + index);

/** Never shows the answer (the spec forbids the hole): it would leak into the rationale. */
export function enrichPrompt(
  templates: PromptTemplates,
  example: Pick<Example, 'instruction' | 'original' | 'rationale'>,
  enrichFrom: EnrichFrom,
): string {
  const rationale = enrichFrom === 'original' ? (example.original ?? '') : example.rationale;
  return fill(templates.enrich, { instruction: example.instruction, rationale });
}

export function rationalizePrompt(
  templates: PromptTemplates,
  { instruction, answer }: Pick<Example, 'instruction' | 'answer'>,
): string {
  return fill(templates.rationalize, { instruction, answer });
}

/**
 * What a sample run asks. `template` null: the last turn as it is. A system message of the row follows that of the spec,
 * in one: many chat templates take no second one.
 */
export function sampleMessages(template: string | null, system: string | null, asked: Asked): Message[] {
  const messages = withLast(asked, (text) => (template === null ? text : fill(template, { instruction: text })));
  if (system === null) return messages;
  const own = messages[0]?.role === 'system' ? messages[0].content : null;
  const content = own === null ? system : `${system}\n\n${own}`;
  return [{ role: 'system', content }, ...messages.slice(own === null ? 0 : 1)];
}

/**
 * The reply up to where the answer begins, without white space at either end: tokenizers join a space to the word
 * after it, so the answer is scored together with the white space before it. Always: prefix + suffix = reply.
 */
export function replyPrefix(templates: PromptTemplates, rationale: string): string {
  return fill(beforeAnswer(templates), { rationale }).trim();
}

export function answerSuffix(templates: PromptTemplates, answer: string): string {
  const before = beforeAnswer(templates);
  const gap = before.slice(before.trimEnd().length);
  return gap + fill(templates.reply.slice(before.length), { answer });
}

export function reply(templates: PromptTemplates, rationale: string, answer: string): string {
  return replyPrefix(templates, rationale) + answerSuffix(templates, answer);
}

/** The words between rationale and answer ("Answer:"), where a candidate is cut. null: there are none. */
export function answerMark(templates: PromptTemplates): string | null {
  const before = beforeAnswer(templates);
  return before.slice(before.lastIndexOf(RATIONALE) + RATIONALE.length).trim() || null;
}

const beforeAnswer = ({ reply }: PromptTemplates) => reply.slice(0, reply.indexOf(ANSWER));
