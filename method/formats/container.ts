/**
 * What a container is: how a file is divided into rows. Also what the containers of JSON share.
 * Throws file.not-utf8 and data.invalid (not JSON, or too large), each with its line.
 */
import { fileNotText, type Problem, rowInvalid } from '../../contracts/errors.js';

/** A row, or why there is none in its place; the rows after it can still be read. */
export interface Row {
  /** The line on which it starts. */
  line: number;
  value?: unknown;
  problem?: Problem;
  /** Lists of rows that the file has besides the one that is read; a row with these is no row of the file. */
  beside?: string[];
}

export interface Container {
  /** Whether the file is of this kind. `start`: its first characters, after a byte order mark and white space. */
  fits(start: string, file: string): boolean;
  /** `line`: that of the first character. */
  open(file: string, line: number, start: string): RowReader;
}

/** Reads one file, with one row in memory. */
export interface RowReader {
  /** The rows that end in this part of the file. */
  push(chunk: Uint8Array): Iterable<Row> | AsyncIterable<Row>;
  /** The rows that the end of the file completes. */
  end(): Iterable<Row> | AsyncIterable<Row>;
}

export const LF = 0x0a;
export const isBlank = (byte: number): boolean => byte === 0x20 || byte === 0x09 || byte === LF || byte === 0x0d;

/** Far above any sensible row. Its parsed value may take thirty times as much: a packed file of one row must not fill the memory. */
export const MAX_ROW_BYTES = 16 * 2 ** 20;

/** Collects the bytes of one row, which may come in many chunks. */
export class RowBuffer {
  private parts: Uint8Array[] = [];
  private size = 0;

  /** `line`: where the row starts. Throws data.invalid for a row that is too large. */
  add(part: Uint8Array, file: string, line: number): void {
    this.size += part.length;
    if (this.size > MAX_ROW_BYTES) throw rowInvalid({ file, line }, 'the row is larger than 16 MB.');
    this.parts.push(part);
  }

  take(): Uint8Array {
    const bytes = new Uint8Array(this.size);
    let at = 0;
    for (const part of this.parts) {
      bytes.set(part, at);
      at += part.length;
    }
    this.parts = [];
    this.size = 0;
    return bytes;
  }
}

/** The row in these bytes; none where they are blank. Throws file.not-utf8. */
export function* jsonRow(file: string, line: number, bytes: Uint8Array): Generator<Row> {
  const text = decode(file, line, bytes);
  if (text.trim() === '') return;
  try {
    yield { line, value: parsed(text) };
  } catch (error) {
    yield { line, problem: notJson(file, line, reason(error, text)) };
  }
}

/** Throws a SyntaxError. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const marked = withoutNaN(text);
    if (marked === null) throw error;
    return JSON.parse(marked, (_, value) => (value === NAN_MARK ? Number.NaN : value));
  }
}

const NAN_MARK = '\uE000NaN\uE000';

/** Python's JSON of a missing number, marked where it is outside of texts; null: there is none. */
function withoutNaN(text: string): string | null {
  if (!/\bNaN\b|Infinity\b/.test(text)) return null;
  const pieces: string[] = [];
  for (let at = 0; at < text.length; ) {
    const quote = text.indexOf('"', at);
    const between = text.slice(at, quote < 0 ? text.length : quote);
    pieces.push(between.replace(/\bInfinity\b/g, '1e999').replace(/\bNaN\b/g, JSON.stringify(NAN_MARK)));
    if (quote < 0) break;
    at = endOfText(text, quote);
    pieces.push(text.slice(quote, at));
  }
  return pieces.join('');
}

/** After the quotation mark that closes the text that begins at `from`. */
function endOfText(text: string, from: number): number {
  for (let at = text.indexOf('"', from + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let backslashes = 0;
    while (text[at - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return at + 1;
  }
  return text.length;
}

export const notJson = (file: string, line: number, why: string) =>
  rowInvalid({ file, line }, `this is not JSON (${why}).`);

const isPython = (text: string): boolean =>
  /^\s*\{\s*'/.test(text) || /^\s*\{[\s\S]*"\s*:\s*(?:None|True|False)\b/.test(text.slice(0, 10_000));

/** The message of V8, without the parts that differ between versions of Node. */
function reason(error: unknown, text: string): string {
  if (isPython(text)) return 'it is an object as Python prints it; write it with json.dumps';
  if (/^[{[]/.test(text.trim()) && /^Unexpected non-whitespace character after JSON/.test((error as Error).message))
    return 'there is more after the end of the row; write one row on each line, without commas between them';
  const message = String((error as Error).message)
    .replace(/ \(line \d+ column \d+\)$/, '')
    .replace(/(?: in JSON)? at position (\d+)$/, (_, position) => ` at character ${Number(position) + 1}`)
    .replace(/ is not valid JSON$/, '')
    .replace(/\p{C}/gu, '\uFFFD');
  return message.charAt(0).toLowerCase() + message.slice(1);
}

function decode(file: string, line: number, bytes: Uint8Array): string {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    return decoder.decode(bytes);
  } catch {
    throw fileNotText(file, line + linesBeforeError(bytes));
  }
}

/** An element of an array may span lines; a line end is never part of a longer UTF-8 sequence. */
function linesBeforeError(bytes: Uint8Array): number {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let lines = 0;
  for (let from = 0; ; lines++) {
    const end = bytes.indexOf(LF, from);
    if (end < 0) return lines;
    try {
      decoder.decode(bytes.subarray(from, end));
    } catch {
      return lines;
    }
    from = end + 1;
  }
}
