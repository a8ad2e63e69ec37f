/**
 * A user's row -> ours. Which field holds what is found by the names below, unless the spec maps it under `fields`.
 * Known besides: chat `messages`, self-instruct `instances` (the first), and answers that end in a line `#### x`
 * (GSM8K: what stands before is the rationale). Inside a text nothing is changed but lone surrogates, which cannot be
 * stored; white space around it is cut. A number is taken for its text. Throws data.invalid with line and field.
 */
import { type Position, rowInvalid, show } from '../contracts/errors.js';
import type { Catalyst, Example, Prompt, Question } from '../contracts/records.js';
import type { Fields } from '../contracts/spec.js';
import { chatTexts } from './chat.js';
import { answerLetter, choiceTexts } from './choices.js';
import { toText } from './text.js';

/** The first of these that the row holds. SVAMP's context and chain_of_thought, for one, are left to `fields`. */
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

type RowAt = { file: string; line: number };

export function toExample(value: unknown, at: RowAt, fields: Fields, fallbackId: string): Example {
  const row = new UserRow(value, at, fields);
  return { id: idOf(row, fallbackId), instruction: instructionOf(row), ...answerOf(row) };
}

export function toCatalyst(value: unknown, at: RowAt, fields: Fields, fallbackId: string): Catalyst {
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

export function toQuestion(value: unknown, at: RowAt, fields: Fields, fallbackId: string): Question {
  const row = new UserRow(value, at, fields);
  const question = instructionOf(row);
  const found = row.find('choices');
  const choices = choiceTexts(found.value, row.at(found.name));
  const answer = choices
    ? answerLetter(row.find('answer').value, choices, row.at(row.find('answer').name))
    : answerOf(row).answer;
  return { id: idOf(row, fallbackId), question, choices: choices?.texts ?? null, answer };
}

export function toPrompt(value: unknown, at: RowAt, fields: Fields, fallbackId: string): Prompt {
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

/** `#### x` is only taken for an answer on the last line: in other texts it is a heading. */
function answerOf(row: UserRow): { rationale: string | null; answer: string } {
  const text = row.required('answer');
  const rationale = row.optional('rationale');
  const marked = /(?:^|\n)####[ \t]*(?=\S)([^\n]+)$/.exec(text);
  if (!marked) return { rationale, answer: text };
  const before = text
    .slice(0, marked.index)
    .replace(/<<[^<>\n]*>>/g, '')
    .trim();
  return { rationale: rationale ?? (before || null), answer: marked[1]!.trim() };
}

function skillsOf(row: UserRow): string[] {
  const { name, value } = row.find('skills');
  if (value === undefined || value === null) return [];
  const skills = typeof value === 'string' ? value.split(',') : value;
  if (!Array.isArray(skills)) throw rowInvalid(row.at(name), `expected a list of texts, found ${show(value)}.`);
  return skills.map((skill) => toText(skill, row.at(name)).trim()).filter((skill) => skill !== '');
}

class UserRow {
  private readonly row: Record<string, unknown>;
  private readonly given: string[];

  constructor(
    value: unknown,
    private readonly rowAt: RowAt,
    private readonly fields: Fields,
    wanted: 'answer' | 'prompt' = 'answer',
  ) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw rowInvalid(rowAt, `expected an object, found ${show(value)}.`);
    }
    const row = value as Record<string, unknown>;
    this.given = Object.keys(row);
    const instance = Array.isArray(row.instances) ? row.instances[0] : undefined;
    if (Array.isArray(row.messages) && fields.instruction === undefined) {
      const { input: _, ...rest } = row;
      this.row = { ...rest, ...chatTexts(row.messages, rowAt, wanted) };
    } else if (typeof instance === 'object' && instance !== null) {
      this.row = { ...row, ...(instance as object) };
    } else this.row = row;
  }

  at(field: string): Position {
    return { ...this.rowAt, field };
  }

  find(what: keyof Fields): { name: string; value: unknown } {
    const names = NAMES[what].filter((name) => Object.hasOwn(this.row, name));
    const name = this.fields[what] ?? names.find((name) => this.row[name] !== null) ?? names[0] ?? what;
    return { name, value: Object.hasOwn(this.row, name) ? this.row[name] : undefined };
  }

  /** null: not there, null, or nothing but white space. */
  optional(what: keyof Fields): string | null {
    const { name, value } = this.find(what);
    if (value === undefined || value === null) return null;
    return toText(value, this.at(name)).trim() || null;
  }

  required(what: keyof Fields): string {
    const { name, value } = this.find(what);
    if (value === undefined) {
      const has =
        this.given.length > 0 ? `has ${cut(this.given.join(', '))}; the spec can map them under fields` : 'is empty';
      throw rowInvalid(this.at(name), `expected text, found nothing (the row ${has}).`);
    }
    const text = toText(value, this.at(name)).trim();
    if (text === '') throw rowInvalid(this.at(name), `expected text, found ${show(value)}.`);
    return text;
  }
}

const cut = (text: string) => (text.length > 100 ? `${text.slice(0, 97)}...` : text);
