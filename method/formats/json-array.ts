/** A JSON array: one row an element. It is not read as a whole, so it may be larger than the memory. */
import { type Container, isBlank, jsonRow, LF, notJson, type Row, RowBuffer, type RowReader } from './container.js';

const [OPENING_BRACKET, OPENING_BRACE, QUOTE, BACKSLASH, COMMA] = [0x5b, 0x7b, 0x22, 0x5c, 0x2c];
const isOpening = (byte: number) => byte === OPENING_BRACKET || byte === 0x7b;
const isClosing = (byte: number) => byte === 0x5d || byte === 0x7d;

export const jsonArray: Container = {
  fits: (start) => start.startsWith('['),
  open: (file, line) => new Elements(file, line),
};

/** The array is part of an object; what follows it there is no row, and another list is reported, unless it is known. */
interface Place {
  othersAreKnown: boolean;
}

/**
 * Cuts at the commas and the end of the outermost array, or of an object whose members are the rows. The parser checks
 * whether an element is JSON.
 */
export class Elements implements RowReader {
  private readonly row = new RowBuffer();
  private depth = 0;
  private inString = false;
  private escaped = false;
  private closed = false;
  private lastByte = 0;
  private hasMore = false;
  private elements = 0;
  /** null until the first character of the element. */
  private startLine: number | null = null;

  constructor(
    private readonly file: string,
    private line: number,
    private readonly inObject: Place | null = null,
    private readonly isMembers = false,
  ) {}

  *push(chunk: Uint8Array): Generator<Row> {
    let from = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at]!;
      if (byte === LF) this.line++;
      if (this.inString) {
        if (this.escaped) this.escaped = false;
        else if (byte === BACKSLASH) this.escaped = true;
        else if (byte === QUOTE) this.inString = false;
        continue;
      }
      if (isBlank(byte)) continue;
      if (this.closed && this.inObject) {
        this.inString = byte === QUOTE;
        this.hasMore ||= this.lastByte === OPENING_BRACKET && byte === OPENING_BRACE;
        this.lastByte = byte;
        continue;
      }
      if (this.closed) throw notJson(this.file, this.line, 'there is more after the end of the array');
      if (this.depth === 0) {
        this.depth = 1;
        from = at + 1;
        continue;
      }
      const ends = this.depth === 1 && (byte === COMMA || isClosing(byte));
      if (ends) {
        this.row.add(chunk.subarray(from, at), this.file, this.line);
        from = at + 1;
        this.closed = byte !== COMMA;
        const bytes = this.row.take();
        if (this.startLine !== null) yield* this.rowOf(this.startLine, bytes);
        else if (!this.closed || this.elements > 0) throw notJson(this.file, this.line, 'there is a comma too many');
        this.elements++;
        this.startLine = null;
        continue;
      }
      if (this.startLine === null) {
        // Only blanks are collected so far; without them the bytes begin on the line that is reported.
        this.row.take();
        [this.startLine, from] = [this.line, at];
      }
      if (byte === QUOTE) this.inString = true;
      else if (isOpening(byte)) this.depth++;
      else if (isClosing(byte)) this.depth--;
    }
    if (!this.closed) this.row.add(chunk.subarray(from), this.file, this.startLine ?? this.line);
  }

  end(): Row[] {
    if (!this.closed) throw notJson(this.file, this.startLine ?? this.line, 'the file ends inside the array');
    const isReported = this.hasMore && !this.inObject?.othersAreKnown;
    return isReported ? [{ line: this.line, beside: ['what follows its rows'] }] : [];
  }

  private *rowOf(line: number, bytes: Uint8Array): Generator<Row> {
    if (!this.isMembers) return yield* jsonRow(this.file, line, bytes);
    for (const row of jsonRow(this.file, line, Buffer.concat([Buffer.from('{'), bytes, Buffer.from('}')])))
      yield row.problem ? row : { line: row.line, value: Object.values(row.value as object)[0] };
  }
}
