/**
 * A user's row -> a row of ours. Which field contains what is decided by the names below, unless the spec maps it under
 * `fields`; rows of known data sets that names do not suffice for are read by a form.
 * A text is changed only so that it can be stored (lone surrogates) and loses the white space around it. A number is
 * read as its text. Throws data.invalid with line and field.
 */
import { type Position, rowInvalid, show } from '../../contracts/errors.js';
import type { Catalyst, Example, PromptRow, Question } from '../../contracts/rows.js';
import type { Fields } from '../../contracts/spec.js';
import { chat } from './chat.js';
import { answerLetter, choiceTexts } from './choices.js';
import type { Form, RowPosition, UserObject } from './form.js';
import { gsm8k } from './gsm8k.js';
import { instances } from './instances.js';
import { toText } from './text.js';

/** The first form that fits reads the row, and the first that fits reads the answer. */
const FORMS: readonly Form[] = [chat, instances, gsm8k];

/** The first of these that the row has. SVAMP's context and chain_of_thought, for example, need `fields`. */
const NAMES = {
  id: ['id'],
  instruction: ['instruction', 'question', 'prompt', 'query', 'input'],
  input: ['input'],
  rationale: ['rationale'],
  answer: ['answer', 'output', 'completion', 'response', 'answerKey', 'target'],
  enriched: ['enriched'],
  skills: ['skills'],
  choices: ['choices', 'options'],
} satisfies Record<keyof Fields, string[]>;

export function toExample(value: unknown, at: RowPosition, fields: Fields, fallbackId: string): Example {
  const row = new UserRow(value, at, fields);
  const [id, instruction] = [idOf(row, fallbackId), instructionOf(row)];
  const { rationale, answer } = answerOf(row);
  return { id, instruction, original: rationale, rationale: rationale ?? '', answer, origin: null };
}

export function toCatalyst(value: unknown, at: RowPosition, fields: Fields, fallbackId: string): Catalyst {
  const row = new UserRow(value, at, fields);
  const instruction = instructionOf(row);
  const given = row.optional('answer') === null ? null : answerOf(row);
  return {
    id: idOf(row, fallbackId),
    instruction,
    rationale: given?.rationale ?? row.required('rationale'),
    enriched: row.required('enriched'),
    skills: skillsOf(row),
    answer: given?.answer ?? null,
  };
}

export function toQuestion(value: unknown, at: RowPosition, fields: Fields, fallbackId: string): Question {
  const row = new UserRow(value, at, fields);
  const question = instructionOf(row);
  const found = row.find('choices');
  const choices = choiceTexts(found.value, row.at(found.name));
  const answer = choices
    ? answerLetter(row.find('answer').value, choices, row.at(row.find('answer').name))
    : answerOf(row).answer;
  return { id: idOf(row, fallbackId), question, choices: choices?.texts ?? null, answer };
}

export function toPromptRow(value: unknown, at: RowPosition, fields: Fields, fallbackId: string): PromptRow {
  const row = new UserRow(value, at, fields, 'prompt');
  return { id: idOf(row, fallbackId), instruction: instructionOf(row) };
}

const idOf = (row: UserRow, fallbackId: string) => {
  const { value } = row.find('id');
  return typeof value === 'string' || typeof value === 'number' ? (row.optional('id') ?? fallbackId) : fallbackId;
};

function instructionOf(row: UserRow): string {
  const instruction = row.required('instruction');
  const input = row.find('input').name === row.find('instruction').name ? null : row.optional('input');
  return input === null ? instruction : `${instruction}\n\n${input}`;
}

/** A rationale in a field of its own takes precedence over one that is part of the answer. */
function answerOf(row: UserRow): { rationale: string | null; answer: string } {
  const text = row.required('answer');
  const rationale = row.optional('rationale');
  const parts = firstOf((form) => form.answer?.(text));
  return { rationale: rationale ?? parts?.rationale ?? null, answer: parts?.answer ?? text };
}

function skillsOf(row: UserRow): string[] {
  const { name, value } = row.find('skills');
  if (value === undefined || value === null) return [];
  const skills = typeof value === 'string' ? value.split(',') : value;
  if (!Array.isArray(skills)) throw rowInvalid(row.at(name), `expected a list of texts, found ${show(value)}.`);
  return skills.map((skill) => toText(skill, row.at(name)).trim()).filter((skill) => skill !== '');
}

function firstOf<T>(read: (form: Form) => T | null | undefined): T | null {
  for (const form of FORMS) {
    const found = read(form);
    if (found) return found;
  }
  return null;
}

class UserRow {
  private readonly row: UserObject;
  /** Names of the fields in the file, for messages. */
  private readonly fieldNames: string[];

  constructor(
    value: unknown,
    private readonly position: RowPosition,
    private readonly fields: Fields,
    wanted: 'answer' | 'prompt' = 'answer',
  ) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw rowInvalid(position, `expected an object, found ${show(value)}.`);
    }
    const row = value as UserObject;
    this.fieldNames = Object.keys(row);
    this.row = firstOf((form) => form.row?.(row, { at: position, fields, wanted })) ?? row;
  }

  at(field: string): Position {
    return { ...this.position, field };
  }

  find(what: keyof Fields): { name: string; value: unknown } {
    const names = NAMES[what].filter((name) => Object.hasOwn(this.row, name));
    const name = this.fields[what] ?? names.find((name) => this.row[name] !== null) ?? names[0] ?? what;
    return { name, value: Object.hasOwn(this.row, name) ? this.row[name] : undefined };
  }

  /** null: absent, null, or nothing but white space. */
  optional(what: keyof Fields): string | null {
    const { name, value } = this.find(what);
    if (value === undefined || value === null) return null;
    return toText(value, this.at(name)).trim() || null;
  }

  required(what: keyof Fields): string {
    const { name, value } = this.find(what);
    if (value === undefined) {
      const has =
        this.fieldNames.length > 0
          ? `has ${cut(this.fieldNames.join(', '))}; the spec can map them under fields`
          : 'is empty';
      throw rowInvalid(this.at(name), `expected text, found nothing (the row ${has}).`);
    }
    const text = toText(value, this.at(name)).trim();
    if (text === '') throw rowInvalid(this.at(name), `expected text, found ${show(value)}.`);
    return text;
  }
}

const cut = (text: string) => (text.length > 100 ? `${text.slice(0, 97)}...` : text);
