/**
 * Multiple choice: the user's choices and answer -> texts and the letter of the right one. Choices are a list of texts,
 * {text: [...], label: [...]} as in ARC, a list of {label, text}, or {A: "...", B: "..."}. An answer is a label, a
 * letter, an index from 0, or the text of a choice.
 * Throws data.invalid, also for an answer that can be read as two different choices: there is no guessing.
 */
import { type Position, rowInvalid, show } from '../../contracts/errors.js';
import { letter } from '../prompts.js';
import type { UserObject } from './form.js';
import { isMissing, toText } from './text.js';

export interface Choices {
  texts: string[];
  /** The names that the data set gives to its choices. */
  labels: string[] | null;
}

/** null: the question has no choices. */
export function choiceTexts(value: unknown, at: Position): Choices | null {
  if (typeof value === 'object' && value !== null && Object.keys(value).length === 0) return null;
  const [texts, labels] = divided(value) ?? [];
  if (!texts) throw rowInvalid(at, `expected a list of texts, found ${show(value)}.`);
  if (texts.length < 2 || texts.length > 26) {
    throw rowInvalid(at, `expected 2 to 26 choices, found ${texts.length}.`);
  }
  return {
    texts: texts.map((text) => toText(text, at).trim()),
    labels: labels?.map((label) => toText(label, at).trim()) ?? null,
  };
}

/** Texts and labels; null: these are no choices. */
function divided(value: unknown): [unknown[], unknown[] | null] | null {
  if (Array.isArray(value)) {
    const items = value as (UserObject | null)[];
    if (!items.every((item) => typeof item === 'object' && item !== null && !Array.isArray(item))) return [value, null];
    const labels = items.map((item) => item!.label ?? item!.key);
    const texts = items.map((item) => item!.text ?? item!.value ?? item!.content);
    return texts.includes(undefined) ? null : [texts, labels.includes(undefined) ? null : labels];
  }
  if (typeof value !== 'object' || value === null) return null;
  const { text, label } = value as UserObject;
  if (Array.isArray(text)) {
    if (label === undefined || label === null) return [text, null];
    return Array.isArray(label) && label.length === text.length ? [text, label] : null;
  }
  const texts = Object.values(value);
  return texts.every((item) => typeof item !== 'object') ? [texts, Object.keys(value)] : null;
}

export function answerLetter(value: unknown, { texts, labels }: Choices, at: Position): string {
  const refused = () => rowInvalid(at, `expected one of the ${texts.length} choices, found ${show(value)}.`);
  if (isMissing(value)) throw refused();
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
