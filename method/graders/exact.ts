/** Exact match: the given answer is the same as the expected one (method/answers.ts). */
import { sameAnswer } from '../answers.js';
import type { Grader } from './grader.js';

export const exact: Grader = {
  grades: () => true,
  read: (answer) => answer,
  isRight: (given, { answer }) => sameAnswer(given, answer),
};
