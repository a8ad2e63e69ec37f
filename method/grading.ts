/**
 * Is a reply right? Only for held-out questions: the loop itself never checks an answer. Multiple choice by its letter
 * or its text; everything else by exact match, numbers as numbers. Never throws.
 * Not done: units ("18 dollars" is not "18"), fractions, equations, and anything that would need a judge.
 */
import type { Grade, Question } from '../contracts/records.js';
import type { Prompts } from '../contracts/spec.js';
import { parseAnswer } from './parse.js';
import { letter } from './prompts.js';

export function grade(question: Question, text: string, prompts: Prompts): Grade {
  const said = parseAnswer(text, prompts);
  const given = said !== null && question.choices ? (chosenLetter(said, question.choices) ?? said) : said;
  const correct = given !== null && (question.choices ? given === question.answer : matches(given, question.answer));
  return { id: question.id, correct, given, expected: question.answer };
}

/** "B", "(b)", "B.", "B) text", "option B", or the text of a choice. null: none of the choices. */
function chosenLetter(said: string, choices: readonly string[]): string | null {
  // A bare letter before a text: choices may be letters themselves. A text before a lettered one: "A dog" is no A.
  const bare = /^(?:(?:option|choice) )?\(?([a-z])\)?[.:,]?$/i.exec(said)?.[1];
  const index = bare ? -1 : choices.findIndex((choice) => matches(said, choice));
  if (index >= 0) return letter(index);
  const named = (bare ?? /^\(?([a-z])(?:\)|[.:]| -)/i.exec(said)?.[1])?.toUpperCase();
  return named !== undefined && named < letter(choices.length) ? named : null;
}

function matches(given: string, expected: string): boolean {
  const [a, b] = [decimal(given), decimal(expected)];
  return a !== null && b !== null ? a === b : plain(given) === plain(expected);
}

/** A number in one spelling: "$1,000.0" -> "1000". Digits are compared, so no precision is lost. null: no number. */
function decimal(text: string): string | null {
  const bare = text
    .replace(/\u2212/g, '-')
    .replace(/[.\s]+$/, '')
    .replace(/\\?[$%]|[€£]|\s/g, '');
  const parts = /^([-+]?)(\d{1,3}(?:,\d{3})+|\d*)(?:\.(\d+))?$/.exec(bare);
  if (!parts || (!parts[2] && !parts[3])) return null;
  const whole = parts[2]!.replace(/,/g, '').replace(/^0+/, '') || '0';
  const fraction = (parts[3] ?? '').replace(/0+$/, '');
  const size = fraction ? `${whole}.${fraction}` : whole;
  return parts[1] === '-' && size !== '0' ? `-${size}` : size;
}

/** Case, white space, quotes around, articles and end punctuation do not count. */
function plain(text: string): string {
  const words = text.normalize('NFKC').toLowerCase().split(/\s+/).join(' ').trim();
  const bare = words.replace(/^["'“‘]+/, '').replace(/["'”’.,;:!?]+$/, '');
  const short = bare.split(' ').filter((word) => !['a', 'an', 'the'].includes(word));
  return short.join(' ') || bare || words;
}
