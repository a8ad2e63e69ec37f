/**
 * The table of a round as a Parquet file: a line a rationale, and the log-probabilities of the answer's tokens as lists. A
 * group of rows is in memory.
 */
import { fileWriter, parquetWriteRows } from 'hyparquet-writer';
import { SCORES } from '../contracts/rows.js';
import type { ScoredLine } from './scores.js';

const ROWS_PER_GROUP = 10_000;

const text = (name: string) => ({ name, type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' });
const scalar = (name: string, type: string) => ({ name, type, repetition_type: 'OPTIONAL' });
const list = (name: string) => [
  { name, repetition_type: 'OPTIONAL', num_children: 1, converted_type: 'LIST' },
  { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
  scalar('element', 'DOUBLE'),
];

/** Columns by name; those of a score are named after it: `off_policy`, `off_policy_tokens`, `off_policy_alone`. */
const COLUMNS: { schema: object[]; name: string; of: (line: ScoredLine) => unknown }[] = [
  { name: 'round', schema: [scalar('round', 'INT32')], of: ({ round }) => round },
  { name: 'id', schema: [text('id')], of: ({ id }) => id },
  { name: 'k', schema: [scalar('k', 'INT32')], of: ({ k }) => k },
  { name: 'rationale', schema: [text('rationale')], of: ({ rationale }) => rationale },
  { name: 'guard', schema: [text('guard')], of: ({ guard }) => guard },
  { name: 'chars', schema: [scalar('chars', 'INT32')], of: ({ chars }) => chars },
  { name: 'chosen', schema: [scalar('chosen', 'BOOLEAN')], of: ({ chosen }) => chosen },
  ...SCORES.flatMap((score) => {
    const name = score.replace('-', '_');
    const [tokens, alone] = [`${name}_tokens`, `${name}_alone`];
    return [
      { name, schema: [scalar(name, 'DOUBLE')], of: ({ scores }: ScoredLine) => scores[score] ?? null },
      { name: tokens, schema: list(tokens), of: ({ logprobs }: ScoredLine) => logprobs?.[score] ?? null },
      { name: alone, schema: list(alone), of: ({ withoutRationale }: ScoredLine) => withoutRationale?.[score] ?? null },
    ];
  }),
  { name: 'judge', schema: [scalar('judge', 'DOUBLE')], of: ({ scores }) => scores.judge ?? null },
];

/** Writes a new file, and returns the number of its lines. */
export async function writeParquet(path: string, lines: AsyncIterable<ScoredLine>): Promise<number> {
  let count = 0;
  async function* rows() {
    for await (const line of lines) {
      count++;
      yield Object.fromEntries(COLUMNS.map(({ name, of }) => [name, of(line)]));
    }
  }
  const schema = [{ name: 'root', num_children: COLUMNS.length }, ...COLUMNS.flatMap((column) => column.schema)];
  await parquetWriteRows({
    writer: fileWriter(path),
    rows: rows(),
    columns: COLUMNS.map(({ name }) => ({ name })),
    schema: schema as never,
    rowGroupSize: ROWS_PER_GROUP,
  });
  return count;
}
