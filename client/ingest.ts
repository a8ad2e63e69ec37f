/**
 * Stores a user's file and its rows by the code and under the key of the run's own ingest step, so that the run finds
 * the step done. Throws what is wrong with the file, by line and field.
 */
import { resolve } from 'node:path';
import type { z } from 'zod';
import { ingestOnce } from '../activities/ingest.js';
import type { ObjectRef } from '../contracts/refs.js';
import { Catalyst, Example, PromptRow, Question } from '../contracts/rows.js';
import type { Fields } from '../contracts/spec.js';
import type { DataKind, IngestInput } from '../contracts/steps.js';
import type { Store } from '../storage/store.js';

interface Rows {
  examples: Example;
  catalysts: Catalyst;
  questions: Question;
  prompts: PromptRow;
}

const SCHEMAS: { [Kind in DataKind]: z.ZodType<Rows[Kind]> } = {
  ...{ examples: Example, catalysts: Catalyst, questions: Question, prompts: PromptRow },
};

/** What the files of one spec have in common. `folder`: what their paths are relative to; `run`: the run's id. */
export interface Ingest {
  store: Store;
  texts: ObjectRef;
  folder: string;
  run: string;
}

/** `onRow` is called for every row, also where the file was ingested before. */
export async function ingest<Kind extends DataKind>(
  { store, texts, folder, run }: Ingest,
  step: Pick<IngestInput, 'source' | 'chunkSize'> & { kind: Kind },
  source: { path: string; fields: Fields; limit?: number | undefined },
  onRow: (row: Rows[Kind]) => void,
): Promise<{ file: ObjectRef; rows: number }> {
  const file = await store.objects.putFile(resolve(folder, source.path));
  const input: IngestInput = { ...step, texts, file, limit: source.limit ?? null };
  const { output, reused } = await ingestOnce(store, input, source, run, (row) => onRow(row as Rows[Kind]));
  if (reused) {
    const schema: z.ZodType<Rows[Kind]> = SCHEMAS[step.kind];
    for await (const row of store.datasets.rows(output.dataset, schema)) onRow(row);
  }
  return { file, rows: output.dataset.rows };
}
