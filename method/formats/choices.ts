/**
 * Multiple choice: the user's choices and answer -> texts and the letter of the right one. Choices are a list of texts,
 * {text: [...], label: [...]} as in ARC, a list of {label, text}, {A: "...", B: "..."}, or one text that has a letter before
 * each ("a ) 38 , b ) 27"). An answer is a label, a letter, an index, or the text of a choice. What an index counts from,
 * a single row often does not show: the other rows of its file do (index-base.ts).
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
  /** As they are in the file: some have their letter before them. */
  written: string[];
  /** The index of the first one, where no other row of the file shows it. */
  first: Base;
}

export type Base = 0 | 1;

/** null: the question has no choices. */
export function choiceTexts(value: unknown, at: Position): Choices | null {
  if (typeof value === 'object' && value !== null && Object.keys(value).length === 0) return null;
  const [texts, labels] = divided(value) ?? [];
  if (!texts) throw rowInvalid(at, `expected a list of texts, found ${show(value)}.`);
  if (texts.length < 2 || texts.length > 26) {
    throw rowInvalid(at, `expected 2 to 26 choices, found ${texts.length}.`);
  }
  const written = texts.map((text) => toText(text, at).trim());
  const bare = withoutLetters(written);
  return {
    texts: bare ?? written,
    // A letter before each choice is its label.
    labels: labels?.map((label) => toText(label, at).trim()) ?? bare?.map((_, i) => letter(i)) ?? null,
    written,
    first: (value as { first?: unknown }).first === 1 ? 1 : 0,
  };
}

/** AQuA writes each choice with its letter, "A)21", which the list of choices would repeat. null: not all have theirs. */
function withoutLetters(texts: string[]): string[] | null {
  const bare = texts.map((text, i) => {
    const [mark, named] = /^\(?([a-z])\s?[).:]\s*(?=\S)/i.exec(text) ?? [];
    return named?.toUpperCase() === letter(i) ? text.slice(mark!.length) : null;
  });
  return bare.includes(null) ? null : (bare as string[]);
}

/** "a ) 38 , b ) 27" as its items; null: it has no letters in their order. */
function items(text: string): string[] | null {
  const found: { from: number; to: number }[] = [];
  for (const { 0: mark, 1: named, index } of text.matchAll(/(?:^|[\s,;])\(?([a-z])\s?[).:](?=\s|\S)/gi)) {
    if (named!.toUpperCase() === letter(found.length)) found.push({ from: index + mark.length, to: index });
  }
  if (found.length < 2 || text.slice(0, found[0]!.to).trim() !== '') return null;
  return found.map(({ from }, i) => text.slice(from, found[i + 1]?.to).replace(/[\s,;]+$/, ''));
}

/** Texts and labels; null: these are no choices. */
function divided(value: unknown): [unknown[], unknown[] | null] | null {
  if (typeof value === 'string') {
    const found = items(value);
    return found && [found, null];
  }
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

/** The index that an answer is; null: it is none, or names its choice without counting. */
export function answerIndex(value: unknown, { written, labels }: Choices): number | null {
  const given = String(value).trim();
  if (typeof value !== 'number' && (typeof value !== 'string' || written.includes(given))) return null;
  return /^\d{1,2}$/.test(given) && !labels?.includes(given) ? Number(given) : null;
}

/** `first`: what an index counts from; null: no row of the file shows it. */
export function answerLetter(value: unknown, choices: Choices, at: Position, first: Base | null): string {
  const { texts, labels, written } = choices;
  const from = first ?? choices.first;
  const refused = () => {
    const counted = answerIndex(value, choices) === null ? '' : `, counted from ${from}`;
    return rowInvalid(at, `expected one of the ${texts.length} choices${counted}, found ${show(value)}.`);
  };
  if (isMissing(value)) throw refused();
  const given = toText(value, at).trim();
  const label = labels?.indexOf(given) ?? -1;
  if (label >= 0) return letter(label);
  const index = /^\d{1,2}$/.test(given) ? Number(given) - from : -1;
  const isIndex = index >= 0 && index < texts.length;
  if (typeof value === 'number' && isIndex) return letter(index);

  const named = /^\(?([a-z])[).:]{0,2}$/i.exec(given)?.[1]?.toUpperCase();
  const readings = new Set(texts.flatMap((text, i) => ([text, written[i]].includes(given) ? [letter(i)] : [])));
  if (named !== undefined && named < letter(texts.length)) readings.add(named);
  if (readings.size === 0 && isIndex) readings.add(letter(index));
  if (readings.size === 0) throw refused();
  if (readings.size > 1) {
    throw rowInvalid(
      at,
      `${show(value)} can be read as ${[...readings].sort().join(' or ')}; give the index, from 0, as a number.`,
    );
  }
  return [...readings][0]!;
}
