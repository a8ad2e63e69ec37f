/**
 * Rows of a data file in tokens of a model, encoded as its trainer will: how long they are, what does not fit maxLength,
 * and where the loss of the first one begins and ends. Throws what is wrong with the model, and python.missing.
 */
import type { z } from 'zod';
import type { Deployment } from '../contracts/deployment.js';
import type { Message } from '../contracts/rows.js';
import { Training } from '../contracts/training.js';
import { type EncodedRows, encodeRows } from '../processes/probe-model.js';
import { pythonPath } from '../processes/python.js';
import { openStore } from '../storage/store.js';
import type { Sample } from './check-file.js';
import { assertRoles } from './preflight.js';

export interface TokenReport extends EncodedRows {
  model: string;
  maxLength: number;
  overlong: Training['overlong'];
  warnings: string[];
  takesSystem: boolean;
  keepsTurns: boolean;
}

/** Rows that are encoded, and the length of their texts at most: the first ones of a file. */
const MOST_ROWS = 20_000;
const MOST_CHARS = 50_000_000;

/** The first rows of a file. */
export class FirstRows {
  readonly rows: Message[][] = [];
  private chars = 0;

  readonly add = ({ prompt, reply }: Sample): void => {
    if (this.rows.length === MOST_ROWS || this.chars > MOST_CHARS) return;
    const row = reply === null ? prompt : [...prompt, { role: 'assistant' as const, content: reply }];
    this.chars += row.reduce((sum, { content }) => sum + content.length, 0);
    this.rows.push(row);
  };
}

export async function checkTokens(
  model: string,
  { rows }: FirstRows,
  given: Pick<z.input<typeof Training>, 'maxLength'>,
  deployment: Deployment,
): Promise<TokenReport> {
  const { maxLength, overlong } = Training.parse({ maxLength: given.maxLength });
  const { folder } = await openStore(deployment).models.inspect(model);
  const { encoded, ...known } = await encodeRows(pythonPath(deployment), folder, rows, { maxLength, overlong });
  for (const row of rows) {
    const turns = row.at(-1)?.role === 'assistant' ? row.slice(0, -1) : row;
    assertRoles({ turns }, 'the file', folder, known);
  }
  return { model, maxLength, overlong, ...known, ...encoded };
}
