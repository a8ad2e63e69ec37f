/** Exact match: the given answer is the same as the expected one (method/answers.ts). Grades every question. */
import { sameAnswer } from '../answers.js';
import { parseAnswer } from '../parse.js';
import type { Grader } from './index.js';

export const exact: Grader = {
  grades: () => true,
  ask: ({ question }) => question,
  read: (reply, _, templates) => parseAnswer(reply, templates),
  isRight: (given, { answer }) => sameAnswer(given, answer),
};
