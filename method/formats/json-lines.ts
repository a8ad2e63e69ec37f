/** JSON Lines: one row a line, which ends in LF or CRLF; blank lines are ignored. Any file without another form. */
import { type Container, jsonRow, LF, type Row, RowBuffer, type RowReader } from './container.js';

export const jsonLines: Container = {
  fits: () => true,
  open: (file, line) => new Lines(file, line),
};

export class Lines implements RowReader {
  private readonly row = new RowBuffer();

  constructor(
    private readonly file: string,
    private line: number,
  ) {}

  *push(chunk: Uint8Array): Generator<Row> {
    let from = 0;
    for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, from)) {
      this.row.add(chunk.subarray(from, at), this.file, this.line);
      yield* jsonRow(this.file, this.line, this.row.take());
      this.line++;
      from = at + 1;
    }
    this.row.add(chunk.subarray(from), this.file, this.line);
  }

  *end(): Generator<Row> {
    yield* jsonRow(this.file, this.line, this.row.take());
  }
}
