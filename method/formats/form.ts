/** What a form is: how a known data set writes its rows, where field names do not suffice to read them. */
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

export interface Form {
  /**
   * The row with its texts under names that recognise.ts knows; null: this is not the form of the row. Throws
   * data.invalid for a row that has the form and cannot be used.
   */
  row?(row: UserObject, context: RowContext): UserObject | null;
  /** The parts of an answer; null: this is not the form of the text. */
  answer?(text: string): { rationale: string | null; answer: string } | null;
}
