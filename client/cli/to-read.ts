/** What somebody who is asked for an approval may want to read: some catalysts, or some rows as they will be trained on. */

import type { Waiting } from '../../contracts/progress.js';
import { Catalyst, Row } from '../../contracts/records.js';
import { ArtifactStore } from '../../storage/store.js';
import type { SrlmClient } from '../client.js';
import { printable, wrap } from './text.js';

const SHOWN = 3;

/** Lines of at most `width` columns. Rows whose rationale was enriched come first. */
export async function toRead(client: SrlmClient, { approval, data }: Waiting, width: number): Promise<string[]> {
  if (!data) return [];
  const store = ArtifactStore.open(client.deployment.artifactRoot);
  const texts: [string, string][][] = [];
  if (approval === 'catalysts') {
    for await (const { instruction, rationale, enriched } of store.rowsOf(data, Catalyst)) {
      texts.push([
        ['question', instruction],
        ['short', rationale],
        ['enriched', enriched],
      ]);
      if (texts.length === SHOWN) break;
    }
  } else {
    for await (const { instruction, original, rationale, answer, origin } of store.rowsOf(data, Row)) {
      if (!origin) continue;
      texts.push([
        ['question', instruction],
        ['before', original],
        ['now', rationale],
        ['answer', answer],
      ]);
      if (texts.length === SHOWN) break;
    }
  }
  return texts.flatMap((lines) => [
    '',
    ...lines.flatMap(([name, text]) =>
      wrap(printable(text), width - 10).map((line, i) => `${(i === 0 ? name : '').padEnd(10)}${line}`),
    ),
  ]);
}
