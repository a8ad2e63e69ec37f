/** Helpers of these tests: text or bytes as a stream in small pieces, and what a reader makes of it. */
import type { Fields } from '../../contracts/spec.js';
import type { DataKind } from '../../contracts/steps.js';
import { type DataRow, readData } from '../../method/formats/index.js';

export async function* stream(content: string | Uint8Array, chunkSize = 7): AsyncGenerator<Uint8Array> {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  for (let at = 0; at < bytes.length; at += chunkSize) yield bytes.subarray(at, at + chunkSize);
}

export async function all<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const row of rows) list.push(row);
  return list;
}

export const read = <K extends DataKind>(
  kind: K,
  content: string | Uint8Array,
  fields: Fields = {},
  limit: number | null = null,
) => all<DataRow[K]>(readData(kind, stream(content), 'data.jsonl', fields, limit));

/** The message a user reads, or 'no error'. */
export const message = (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    (error: Error) => error.message,
  );

export const messageOf = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return (error as Error).message;
  }
};
