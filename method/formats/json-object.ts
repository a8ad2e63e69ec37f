/**
 * A file that begins with an object: JSON Lines, or one object that holds the list of rows (`{"data": [...]}`), or whose
 * members are the rows, by their ids (`{"17": {...}, "18": {...}}`). The rows are read as those of an array, so there may be
 * more of them than the memory holds. An object that is none of these is named for what it is.
 */
import { dataUnusable } from '../../contracts/errors.js';
import { type Container, isBlank, LF, notJson, type Row, type RowReader } from './container.js';
import { Elements } from './json-array.js';
import { Lines } from './json-lines.js';

/** The list under the first of these is the list of rows; without them, the only list of objects. */
const LISTS = ['data', 'rows', 'examples', 'train', 'items', 'questions', 'records', 'instances'];
/** An object on one line that has one of these is a row. */
const ROW = [
  'instruction',
  'question',
  'prompt',
  'query',
  'input',
  'messages',
  'conversations',
  'conversation',
  'problem',
];
const DECIDE_BYTES = 2 ** 20;
const [QUOTE, BACKSLASH, COLON] = [0x22, 0x5c, 0x3a];
const isOpening = (byte: number) => byte === 0x7b || byte === 0x5b;

interface List {
  name: string;
  /** Where its bracket is. */
  at: number;
  line: number;
  hasObjects: boolean;
}

export const jsonObject: Container = {
  fits: (start) => start.startsWith('{'),
  open: (file, line) => new ObjectFile(file, line),
};

class ObjectFile implements RowReader {
  /** Reads the file, once it is known what it is. */
  private reader: RowReader | null = null;
  private parts: Uint8Array[] = [];
  private size = 0;
  private depth = 0;
  private inString = false;
  private escaped = false;
  private isOver = false;
  private lines = 0;
  private lastByte = 0;
  private lastAt = 0;
  private beside: string[] = [];
  /** The text that is being read, or was the last one, in the outermost object. */
  private name: number[] = [];
  private lists: List[] = [];
  private names: string[] = [];
  /** Those of its members that are objects. */
  private objects = 0;

  constructor(
    private readonly file: string,
    private readonly firstLine: number,
  ) {}

  *push(chunk: Uint8Array): Generator<Row> {
    if (this.reader) return yield* this.reader.push(chunk) as Iterable<Row>;
    this.parts.push(chunk);
    for (let at = 0; at < chunk.length && !this.reader; at++) this.see(chunk[at]!, this.size + at);
    this.size += chunk.length;
    if (!this.reader && this.size > DECIDE_BYTES) this.decide();
    if (this.reader) yield* this.handOver();
  }

  *end(): Generator<Row> {
    if (!this.reader) {
      this.decide();
      yield* this.handOver();
    }
    yield* this.reader!.end() as Iterable<Row>;
  }

  /** Follows the first object; what comes after it decides that these are JSON Lines. */
  private see(byte: number, at: number): void {
    if (this.inString) {
      if (byte === LF) this.useLines();
      if (this.depth === 1) this.name.push(byte);
      if (this.escaped) this.escaped = false;
      else if (byte === BACKSLASH) this.escaped = true;
      else if (byte === QUOTE) this.inString = false;
      return;
    }
    if (byte === LF && !this.isOver) {
      // A line of JSON Lines that is cut does not end where a printer breaks lines.
      if (!'{[,:'.includes(String.fromCharCode(this.lastByte)) && this.lines === 0) this.useLines();
      else this.lines++;
    }
    if (isBlank(byte)) return;
    if (this.isOver) {
      if (this.lines > 0) throw this.refused('there is more after it');
      this.useLines();
      return;
    }
    const list = this.lists.at(-1);
    if (list && this.depth === 2 && this.lastByte === 0x5b && list.at === this.lastAt) list.hasObjects = byte === 0x7b;
    if (byte === QUOTE) {
      this.inString = true;
      if (this.depth === 1) this.name = [];
    } else if (byte === COLON && this.depth === 1) {
      this.names.push(nameOf(this.name));
    } else if (isOpening(byte)) {
      if (byte === 0x5b && this.depth === 1) {
        this.lists.push({ name: this.names.at(-1) ?? '', at, line: this.firstLine + this.lines, hasObjects: false });
      }
      if (byte === 0x7b && this.depth === 1) this.objects++;
      this.depth++;
    } else if (byte === 0x7d || byte === 0x5d) {
      this.depth--;
      this.isOver = this.depth === 0;
    }
    [this.lastByte, this.lastAt] = [byte, at];
  }

  /** The object is over with the file, or larger than what is held of it. */
  private decide(): void {
    const found = this.lists.filter(({ hasObjects }) => hasObjects);
    const rows = LISTS.map((name) => found.find((list) => list.name === name)).find((list) => list) ?? found[0];
    const isAmbiguous = found.length > 1 && rows !== undefined && !LISTS.includes(rows.name);
    const isRow = this.names.some((name) => ROW.includes(name));
    const whole = this.isOver ? this.parsed() : null;
    if (whole && isByColumns(whole)) {
      throw dataUnusable(
        this.file,
        'this is a table by columns, as pandas and datasets hold it.',
        "Write it by rows: df.to_json(FILE, orient='records', lines=True).",
      );
    }
    if (rows && !isAmbiguous && !isRow) {
      this.beside = found.flatMap(({ name }) => (name === rows.name || name === 'features' ? [] : [name]));
      this.reader = new Elements(this.file, rows.line, { othersAreKnown: this.isOver });
      this.skip(rows.at);
    } else if (
      !isRow &&
      (whole ? isRows(whole, this.lines > 0) : this.objects === this.names.length && this.objects > 1)
    ) {
      this.reader = new Elements(this.file, this.firstLine, null, true);
    } else if (this.lines === 0) this.useLines();
    else if (!this.isOver && this.size > DECIDE_BYTES) throw this.refused('it begins with no list of objects');
    else if (!this.isOver) throw notJson(this.file, this.firstLine, 'the file ends inside the object');
    else throw this.refused(`there ${found.length > 1 ? 'are several lists' : 'is no list'} of objects in it`);
  }

  private parsed(): Record<string, unknown> | null {
    try {
      return JSON.parse(Buffer.concat(this.parts).toString('utf8'));
    } catch {
      return null;
    }
  }

  private refused(why: string) {
    const lists = this.lists.map(({ name }) => name);
    const names = this.names.slice(0, 8).map((name) => (lists.includes(name) ? `${name} (a list)` : name));
    return dataUnusable(
      this.file,
      `this is one JSON object over ${this.lines + 1} lines, and ${why}; its fields are ${names.join(', ') || 'none'}.`,
      'Write one row on each line (JSONL), or the rows as a list.',
    );
  }

  private useLines(): void {
    this.reader = new Lines(this.file, this.firstLine);
  }

  private skip(bytes: number): void {
    let left = bytes;
    while (left >= this.parts[0]!.length) left -= this.parts.shift()!.length;
    this.parts[0] = this.parts[0]!.subarray(left);
  }

  private *handOver(): Generator<Row> {
    const parts = this.parts;
    this.parts = [];
    if (this.beside.length > 0) yield { line: this.firstLine, beside: this.beside };
    for (const part of parts) yield* this.reader!.push(part) as Iterable<Row>;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isScalar = (value: unknown) => typeof value !== 'object' || value === null;

/** The members are rows: objects, of which each holds some value, and has names in common with the next one. */
function isRows(whole: Record<string, unknown>, isPrinted: boolean): boolean {
  const rows = Object.values(whole);
  if (!rows.every((row) => isObject(row) && Object.values(row).some(isScalar))) return false;
  const [first, second] = rows.slice(0, 2).map((row) => Object.keys(row as object));
  if (!first) return false;
  return second ? first.some((name) => second.includes(name)) : isPrinted;
}

/** {"a": {"0": 1, "1": 2}, ...}, {"a": [1, 2], ...} and {"columns": [...], "data": [...]}, as pandas and datasets write. */
function isByColumns(whole: Record<string, unknown>): boolean {
  if (Array.isArray(whole.columns) && Array.isArray(whole.data) && whole.data.every(Array.isArray)) return true;
  const columns = Object.values(whole);
  if (columns.length < 2) return false;
  const isList = (column: unknown) => Array.isArray(column) && column.length > 1 && !column.some(isObject);
  const isNumbered = (column: unknown) => isObject(column) && Object.keys(column).every((name) => /^\d+$/.test(name));
  const sizes = new Set(columns.map((column) => Object.keys(column ?? {}).length));
  return sizes.size === 1 && !sizes.has(0) && (columns.every(isList) || columns.every(isNumbered));
}

/** The characters between the quotation marks, of which the last one was seen. */
function nameOf(bytes: readonly number[]): string {
  try {
    return String(JSON.parse(`"${Buffer.from(bytes).toString('utf8')}`));
  } catch {
    return '';
  }
}
