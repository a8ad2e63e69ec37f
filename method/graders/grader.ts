/** What a grader is. */
import type { Question } from '../../contracts/rows.js';

export interface Grader {
  /** Whether this is the grader of the question. */
  grades(question: Question): boolean;
  /** The answer as it is recorded, from the answer found in the reply. */
  read(answer: string, question: Question): string;
  /** Whether what `read` returned is right. */
  isRight(given: string, question: Question): boolean;
}
