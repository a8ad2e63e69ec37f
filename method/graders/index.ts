/**
 * Is a reply right? Only for held-out questions: the method itself never checks an answer. Never throws.
 * A new grader: a file here and a line in GRADERS; the first one that grades a question decides.
 */
import type { Grade, Question } from '../../contracts/rows.js';
import type { PromptTemplates } from '../../contracts/spec.js';
import { parseAnswer } from '../parse.js';
import { choice } from './choice.js';
import { exact } from './exact.js';
import type { Grader } from './grader.js';

/** One version for all graders. Enters the keys of grades. */
export const VERSION = 1;

const GRADERS: readonly Grader[] = [choice, exact];

export function grade(question: Question, text: string, templates: PromptTemplates): Grade {
  const grader = GRADERS.find((candidate) => candidate.grades(question))!;
  const answer = parseAnswer(text, templates);
  const given = answer === null ? null : grader.read(answer, question);
  const correct = given !== null && grader.isRight(given, question);
  return { id: question.id, correct, given, expected: question.answer };
}
