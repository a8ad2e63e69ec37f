/** Multiple choice: the choices are listed below the question, and a reply names one by its letter or by its text. */
import { sameAnswer } from '../answers.js';
import { parseAnswer } from '../parse.js';
import { letter } from '../prompts.js';
import type { Grader } from './index.js';

/** Also how an example with choices is asked. A change needs another VERSION in prompts.ts. */
export const withChoices = (question: string, choices: readonly string[]): string =>
  question + choices.map((choice, i) => `\n${letter(i)}. ${choice}`).join('');

export const choice: Grader = {
  grades: ({ choices }) => choices !== null,
  ask: ({ question, choices }) => withChoices(question, choices ?? []),
  read(reply, { choices }, templates) {
    const answer = parseAnswer(reply, templates);
    return answer === null ? null : (chosenLetter(answer, choices ?? []) ?? answer);
  },
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
