/** Multiple choice: by the letter of a choice, or by its text. */
import { sameAnswer } from '../answers.js';
import { letter } from '../prompts.js';
import type { Grader } from './grader.js';

export const choice: Grader = {
  grades: ({ choices }) => choices !== null,
  read: (answer, { choices }) => chosenLetter(answer, choices ?? []) ?? answer,
  isRight: (given, { answer }) => given === answer,
};

/** "B", "(b)", "B.", "B) text", "option B", or the text of a choice. null: none of the choices. */
function chosenLetter(given: string, choices: readonly string[]): string | null {
  // A bare letter is read before a text: choices may be letters themselves. A text before a lettered one: "A dog" is
  // not A.
  const bare = /^(?:(?:option|choice) )?\(?([a-z])\)?[.:,]?$/i.exec(given)?.[1];
  const index = bare ? -1 : choices.findIndex((text) => sameAnswer(given, text));
  if (index >= 0) return letter(index);
  const named = (bare ?? /^\(?([a-z])(?:\)|[.:]| -)/i.exec(given)?.[1])?.toUpperCase();
  return named !== undefined && named < letter(choices.length) ? named : null;
}
