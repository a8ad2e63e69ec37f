/**
 * Bytes -> JSON values with their lines. The container is JSONL, or a JSON array where the first character that is not
 * blank is `[`; a byte order mark, LF or CRLF and blank lines are allowed. Both are streamed: one row is in memory at a
 * time. Does not interpret rows, and does not unpack .gz.
 * Throws file.empty, file.not-utf8 and data.invalid (not JSON), each with its line.
 */
import { fileEmpty, fileNotText, rowInvalid } from '../../contracts/errors.js';

/** Far above any sensible row, and below the longest string: a file without line ends must not fill the memory. */
const MAX_ROW_BYTES = 256 * 2 ** 20;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];
const [LF, QUOTE, BACKSLASH, COMMA] = [0x0a, 0x22, 0x5c, 0x2c];
const isOpening = (byte: number) => byte === 0x5b || byte === 0x7b;
const isClosing = (byte: number) => byte === 0x5d || byte === 0x7d;
const isBlank = (byte: number) => byte === 0x20 || byte === 0x09 || byte === LF || byte === 0x0d;

interface Piece {
  line: number;
  bytes: Uint8Array;
}

/** `line`: where the row, or the element of the array, starts. */
export async function* readValues(
  bytes: AsyncIterable<Uint8Array>,
  file: string,
): AsyncGenerator<{ line: number; value: unknown }> {
  let splitter: Lines | Elements | undefined;
  let line = 1;
  let bytesSeen = 0;
  let markSeen = 0;
  for await (const chunk of bytes) {
    let at = 0;
    if (!splitter) {
      for (; at < chunk.length; at++, bytesSeen++) {
        const byte = chunk[at]!;
        if (markSeen === bytesSeen && byte === BYTE_ORDER_MARK[markSeen]) markSeen++;
        else if (byte === LF) line++;
        else if (!isBlank(byte)) break;
      }
      if (at === chunk.length) continue;
      if (markSeen === 1 || markSeen === 2) throw fileNotText(file, 1);
      splitter = chunk[at] === 0x5b ? new Elements(file, line) : new Lines(file, line);
    }
    for (const piece of splitter.push(chunk.subarray(at))) yield* parse(piece, file);
  }
  if (!splitter) throw fileEmpty(file);
  for (const piece of splitter.end()) yield* parse(piece, file);
}

function* parse(piece: Piece, file: string) {
  const text = decode(piece, file);
  if (text.trim() === '') return;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw notJson(file, piece.line, reason(error));
  }
  yield { line: piece.line, value };
}

const notJson = (file: string, line: number, why: string) => rowInvalid({ file, line }, `this is not JSON (${why}).`);

/** The message of V8, without the parts that differ between versions of Node. */
function reason(error: unknown): string {
  const message = String((error as Error).message)
    .replace(/ \(line \d+ column \d+\)$/, '')
    .replace(/(?: in JSON)? at position (\d+)$/, (_, position) => ` at character ${Number(position) + 1}`)
    .replace(/ is not valid JSON$/, '')
    .replace(/\p{C}/gu, '\uFFFD');
  return message.charAt(0).toLowerCase() + message.slice(1);
}

function decode({ line, bytes }: Piece, file: string): string {
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

/** Collects the bytes of one row, which may come in many chunks. */
class RowBuffer {
  private parts: Uint8Array[] = [];
  private size = 0;

  add(part: Uint8Array, file: string, line: number) {
    this.size += part.length;
    if (this.size > MAX_ROW_BYTES) throw rowInvalid({ file, line }, 'the row is larger than 256 MB.');
    this.parts.push(part);
  }

  take(): Uint8Array {
    const bytes = this.parts.length === 1 ? this.parts[0]! : new Uint8Array(this.size);
    if (this.parts.length > 1) {
      let at = 0;
      for (const part of this.parts) {
        bytes.set(part, at);
        at += part.length;
      }
    }
    this.parts = [];
    this.size = 0;
    return bytes;
  }
}

class Lines {
  private readonly row = new RowBuffer();

  constructor(
    private readonly file: string,
    private line: number,
  ) {}

  *push(chunk: Uint8Array): Generator<Piece> {
    let from = 0;
    for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, from)) {
      this.row.add(chunk.subarray(from, at), this.file, this.line);
      yield { line: this.line, bytes: this.row.take() };
      this.line++;
      from = at + 1;
    }
    this.row.add(chunk.subarray(from), this.file, this.line);
  }

  *end(): Generator<Piece> {
    yield { line: this.line, bytes: this.row.take() };
  }
}

/** Cuts at the commas and the end of the outermost array. The parser checks whether an element is JSON. */
class Elements {
  private readonly row = new RowBuffer();
  private depth = 0;
  private inString = false;
  private escaped = false;
  private closed = false;
  private elements = 0;
  /** null until the first character of the element. */
  private startLine: number | null = null;

  constructor(
    private readonly file: string,
    private line: number,
  ) {}

  *push(chunk: Uint8Array): Generator<Piece> {
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
        if (this.startLine !== null) yield { line: this.startLine, bytes };
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

  // biome-ignore lint/correctness/useYield: the counterpart of Lines.end, which yields the last line
  *end(): Generator<Piece> {
    if (!this.closed) throw notJson(this.file, this.startLine ?? this.line, 'the file ends inside the array');
  }
}
