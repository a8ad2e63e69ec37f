/**
 * Multiple choice: the user's choices and answer -> texts and the letter of the right one. Choices are a list of texts
 * or, as in ARC, {text: [...], label: [...]}. An answer is a label, a letter, an index from 0, or the text of a choice.
 * Throws data.invalid, also for an answer that can be read as two different choices: there is no guessing.
 */
import { type Position, rowInvalid, show } from '../../contracts/errors.js';
import { letter } from '../prompts.js';
import { toText } from './text.js';

interface Choices {
  texts: string[];
  /** The names that ARC gives to its choices. */
  labels: string[] | null;
}

/** null: the question has no choices. */
export function choiceTexts(value: unknown, at: Position): Choices | null {
  if (value === undefined || value === null) return null;
  const arc = value as { text?: unknown; label?: unknown };
  const [texts, labels] = Array.isArray(value) ? [value, null] : [arc.text, arc.label ?? null];
  if (!Array.isArray(texts) || !(labels === null || (Array.isArray(labels) && labels.length === texts.length))) {
    throw rowInvalid(at, `expected a list of texts, found ${show(value)}.`);
  }
  if (texts.length < 2 || texts.length > 26) {
    throw rowInvalid(at, `expected 2 to 26 choices, found ${texts.length}.`);
  }
  return {
    texts: texts.map((text) => toText(text, at).trim()),
    labels: labels?.map((label) => toText(label, at).trim()) ?? null,
  };
}

export function answerLetter(value: unknown, { texts, labels }: Choices, at: Position): string {
  const refused = () => rowInvalid(at, `expected one of the ${texts.length} choices, found ${show(value)}.`);
  if (value === undefined || value === null) throw refused();
  const given = toText(value, at).trim();
  const label = labels?.indexOf(given) ?? -1;
  if (label >= 0) return letter(label);
  const isIndex = /^\d{1,2}$/.test(given) && Number(given) < texts.length;
  if (typeof value === 'number' && isIndex) return letter(value);

  const named = /^\(?([a-z])[).:]{0,2}$/i.exec(given)?.[1]?.toUpperCase();
  const readings = new Set(texts.flatMap((text, i) => (text === given ? [letter(i)] : [])));
  if (named !== undefined && named < letter(texts.length)) readings.add(named);
  if (readings.size === 0 && isIndex) readings.add(letter(Number(given)));
  if (readings.size === 0) throw refused();
  if (readings.size > 1) {
    throw rowInvalid(
      at,
      `${show(value)} can be read as ${[...readings].sort().join(' or ')}; give the index, from 0, as a number.`,
    );
  }
  return [...readings][0]!;
}
