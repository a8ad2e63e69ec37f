/** What to read before an approval: some catalysts, or some rows as they will be trained on. */
import { Catalyst, Example } from '../../contracts/rows.js';
import type { Waiting } from '../../contracts/run.js';
import type { Store } from '../../storage/store.js';
import { printable, wrap } from '../../text/text.js';

const SHOWN = 3;

/** Lines of at most `width` columns. Of rows to train on, only those that were enriched are shown. */
export async function reviewLines(store: Store, { approval, data }: Waiting, width: number): Promise<string[]> {
  if (!data) return [];
  const shown: Record<string, string>[] = [];
  if (approval === 'catalysts') {
    for await (const { instruction, rationale, enriched } of store.datasets.rows(data, Catalyst)) {
      shown.push({ question: instruction, short: rationale, enriched });
      if (shown.length === SHOWN) break;
    }
  } else {
    for await (const { instruction, original, rationale, answer, origin } of store.datasets.rows(data, Example)) {
      if (!origin) continue;
      shown.push({ question: instruction, before: original ?? '', now: rationale, answer });
      if (shown.length === SHOWN) break;
    }
  }
  return shown.flatMap((row) => ['', ...Object.entries(row).flatMap(([name, text]) => paragraph(name, text, width))]);
}

const paragraph = (name: string, text: string, width: number): string[] =>
  wrap(printable(text), width - 10).map((line, i) => `${(i === 0 ? name : '').padEnd(10)}${line}`);
