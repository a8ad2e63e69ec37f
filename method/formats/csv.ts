/**
 * CSV and TSV: a header row, then one row a record; a quoted cell may span lines. The name of the file decides that it is
 * one, since no bytes do. A cell is text; one that holds a JSON list or object, as tables of nested data do, is read as
 * that. Empty lines are ignored.
 */
import { parse } from 'csv-parse';
import { dataUnusable, fileNotText, rowInvalid, show } from '../../contracts/errors.js';
import { type Container, MAX_ROW_BYTES, type Row, type RowReader } from './container.js';

const NAME = /\.(csv|tsv|tab)(?:\.(?:gz|zst|zstd))?$/i;

export const csv: Container = {
  // A file of JSON keeps its form under any name.
  fits: (start, file) => NAME.test(file) && !/^(?:\{|\[\s*[{\]])/.test(start),
  open: (file, line, start) => {
    // Excel's own line, which names the delimiter.
    const given = /^sep=(.)\r?\n/i.exec(start)?.[1];
    // Line ends of a Macintosh of old, which spreadsheets still write.
    const isOld = /\r(?!\n)/.test(start) && !start.includes('\n');
    return new Records(file, line, given ?? delimiterOf(file, start), isOld, given !== undefined);
  },
};

/** A semicolon where a comma is the decimal sign: spreadsheets of many countries. */
function delimiterOf(file: string, start: string): string {
  if (NAME.exec(file)![1]!.toLowerCase() !== 'csv') return '\t';
  const header = /^[^\r\n]*/.exec(start)![0].replace(/"[^"]*"/g, '');
  return [',', ';', '\t', '|'].find((sign) => header.includes(sign)) ?? ',';
}

interface Record {
  record: string[];
  info: { lines: number };
}

class Records implements RowReader {
  private readonly text = new TextDecoder('utf-8', { fatal: true });
  private readonly parser;
  private header: string[] | null = null;
  /** The last line of the record before. */
  private lastLine = 0;

  constructor(
    private readonly file: string,
    private readonly firstLine: number,
    private readonly delimiter: string,
    isOld: boolean,
    private isMarked: boolean,
  ) {
    this.parser = parse({
      ...{ delimiter, record_delimiter: isOld ? ['\r'] : ['\r\n', '\n'], info: true, skip_empty_lines: true },
      // A quote within a cell is a character; only one that begins a cell quotes it.
      ...{ relax_quotes: true, relax_column_count: true, max_record_size: MAX_ROW_BYTES },
      // Records of a part are taken when it is parsed. An option of Node's streams, which the types lack.
      ...({ readableHighWaterMark: Number.MAX_SAFE_INTEGER } as object),
    });
    // What it reports is thrown where the bytes are passed to it.
    this.parser.on('error', () => {});
  }

  async *push(chunk: Uint8Array): AsyncGenerator<Row> {
    this.decode(chunk);
    await this.parsed((done) => this.parser.write(chunk, done));
    yield* this.rows();
  }

  async *end(): AsyncGenerator<Row> {
    this.decode();
    await this.parsed((done) => {
      this.parser.once('error', done);
      this.parser.end(() => done(null));
    });
    yield* this.rows();
    if (!this.header) throw dataUnusable(this.file, 'it has no header row, which names the fields.');
  }

  private parsed(pass: (done: (error?: Error | null) => void) => void): Promise<void> {
    return new Promise<void>((resolve, reject) => pass((error) => (error ? reject(error) : resolve()))).catch(
      (error: Error & { code?: string }) => {
        const at = { file: this.file, line: this.firstLine + this.lastLine };
        if (error.code === 'CSV_QUOTE_NOT_CLOSED')
          throw rowInvalid(at, 'a quotation mark opens a cell in this row, and none closes it.');
        if (error.code === 'CSV_MAX_RECORD_SIZE')
          throw rowInvalid(at, 'the row is larger than 16 MB; a quotation mark may be missing.');
        throw error;
      },
    );
  }

  private *rows(): Generator<Row> {
    for (let next = this.parser.read(); next !== null; next = this.parser.read()) {
      const { record, info } = next as Record;
      const line = this.firstLine - 1 + info.lines - lineEnds(record);
      this.lastLine = info.lines;
      if (this.isMarked) {
        this.isMarked = false;
        continue;
      }
      if (!this.header) this.header = this.named(record, line);
      else yield this.row(this.header, record, line);
    }
  }

  private named(record: string[], line: number): string[] {
    const names = record.map((name) => name.trim());
    const twice = names.find((name, i) => name !== '' && names.indexOf(name) !== i);
    if (twice !== undefined) throw dataUnusable(this.file, `its header, line ${line}, names ${show(twice)} twice.`);
    return names;
  }

  private row(names: string[], cells: string[], line: number): Row {
    if (cells.length !== names.length) {
      const reason = `expected ${names.length} cells, as in the header, found ${cells.length}.`;
      return { line, problem: rowInvalid({ file: this.file, line }, reason) };
    }
    // Most tables with tabs quote nothing: a quotation mark that begins a cell would take all rows up to the next one.
    if (this.delimiter === '\t' && cells.some((cell) => /\t/.test(cell) && /\n/.test(cell))) {
      const reason =
        'a quotation mark opens a cell in this row, which has tabs and line ends in it; double the mark, or write the table as CSV or JSONL.';
      return { line, problem: rowInvalid({ file: this.file, line }, reason) };
    }
    // A column without a name is the index that pandas writes.
    const filled = names.flatMap((name, i) => (name === '' ? [] : [[name, cellValue(cells[i]!)] as const]));
    return { line, value: Object.fromEntries(filled) };
  }

  /** Throws file.not-utf8: the parser would replace what it cannot read. */
  private decode(chunk?: Uint8Array): void {
    try {
      this.text.decode(chunk, { stream: chunk !== undefined });
    } catch {
      throw fileNotText(this.file);
    }
  }
}

const lineEnds = (cells: readonly string[]) => cells.reduce((sum, cell) => sum + cell.split('\n').length - 1, 0);

function cellValue(cell: string): unknown {
  if (!/^\s*[[{]/.test(cell)) return cell;
  try {
    return JSON.parse(cell);
  } catch {
    return cell;
  }
}
