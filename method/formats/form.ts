/** What a form is: how a known data set writes its rows, where field names do not suffice to read them. */
import type { Message } from '../../contracts/rows.js';
import type { Fields } from '../../contracts/spec.js';

/** The line of a row in the user's file. */
export interface RowPosition {
  file: string;
  line: number;
}

/** A JSON object of the user's file. */
export type UserObject = Record<string, unknown>;

export interface RowContext {
  at: RowPosition;
  /** Names of fields by the spec. */
  fields: Fields;
  /** Whether an answer will be read, or only a prompt. */
  wanted: 'answer' | 'prompt';
}

/** What a row consists of. `before`: the turns that precede the instruction, as `Message[]`. */
export type Part = keyof Fields | 'before';

/** `name`: where the value is in the row, for messages. `fields`: the fields of the row that it is in. */
export interface Found {
  name: string;
  fields: readonly string[];
  value: unknown;
}

export type Parts = Partial<Record<Part, Found>>;

export interface Form {
  /**
   * The parts that the form finds in the row, and names do not; null: this is not the form of the row. Throws
   * data.invalid for a row that has the form and cannot be used.
   */
  row?(row: UserObject, context: RowContext): Parts | null;
  /** The parts of an answer, which may be empty where the text has none; null: this is not the form of the text. */
  answer?(text: string): { rationale: string | null; answer: string } | null;
}

export const before = (field: string, turns: Message[]): Parts =>
  turns.length > 0 ? { before: { name: field, fields: [field], value: turns } } : {};
