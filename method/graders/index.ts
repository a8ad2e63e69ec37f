/**
 * Held-out questions: how each kind is asked, and whether a reply to it is right. The method itself never checks an
 * answer. Never throws.
 */
import type { Grade, Message, Question } from '../../contracts/rows.js';
import type { PromptTemplates } from '../../contracts/spec.js';
import { type Asked, answerMessages } from '../prompts.js';
import { choice } from './choice.js';
import { exact } from './exact.js';

/** One version for all graders. Enters the keys of grades. How questions are asked has the version of prompts.ts. */
export const VERSION = 1;

export interface Grader {
  /** Whether this is the grader of the question. */
  grades(question: Question): boolean;
  /** The question as text. A change of it needs another VERSION in prompts.ts, since samples are reused by that. */
  ask(question: Question): string;
  /** The answer that a reply gives, as it is recorded; null: none. */
  read(reply: string, question: Question, templates: PromptTemplates): string | null;
  /** Whether an answer that `read` found is right. */
  isRight(given: string, question: Question): boolean;
}

/** The first one that grades a question decides. */
const GRADERS: readonly Grader[] = [choice, exact];

const graderOf = (question: Question) => GRADERS.find((grader) => grader.grades(question))!;

/** The question with its choices, as it is asked. */
export const questionText = (question: Question): string => graderOf(question).ask(question);

/** What is asked in an evaluation: the question with its choices, where training has the instruction. */
export const evaluateMessages = (templates: PromptTemplates, question: Question): Message[] =>
  answerMessages(templates, askedOf(question));

/** The question as an instruction is asked. */
export function askedOf(question: Question): Asked {
  const { turns } = question;
  const instruction = questionText({ ...question, question: turns?.at(-1)?.content ?? question.question });
  const last: Message = { role: 'user', content: instruction };
  return { instruction, turns: turns && [...turns.slice(0, -1), last] };
}

export function grade(question: Question, reply: string, templates: PromptTemplates): Grade {
  const grader = graderOf(question);
  const given = grader.read(reply, question, templates);
  const correct = given !== null && grader.isRight(given, question);
  return { id: question.id, correct, given, expected: question.answer };
}
