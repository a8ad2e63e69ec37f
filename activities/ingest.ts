/**
 * Ingest: an uploaded file becomes chunks of normalised rows. The client has checked the file before; here it is read
 * again, since the worker believes nothing it did not see.
 */

import type { Manifest } from '../contracts/artifacts.js';
import { uploadDamaged } from '../contracts/errors.js';
import { IngestInput, IngestOutput } from '../contracts/steps.js';
import { readData } from '../method/formats.js';
import { sha256File } from '../storage/files.js';
import { ingestInputs } from '../storage/keys.js';
import { readPlain } from '../storage/plain.js';
import { activity, type Deps, metered, once } from './activity.js';

export const srlmIngest = ({ store }: Deps) =>
  activity('ingest', IngestInput, async (input) => {
    const { name } = input;
    const record = await once(store, 'ingest', ingestInputs(input), () =>
      metered('ingest', 'rows', 0, async (meter) => {
        const path = store.path(input.file.uri);
        if ((await sha256File(path).catch(() => null)) !== input.file.sha256) throw uploadDamaged(name, input.file.uri);
        const chunks: Manifest[] = [];
        let rows: unknown[] = [];
        let missingRationales = 0;
        let total = 0;
        const flush = async () => {
          if (rows.length > 0) chunks.push(await store.putRows(rows));
          rows = [];
        };
        for await (const row of readData(input.kind, readPlain(path, name), name, input.fields, input.limit)) {
          if ('rationale' in row && row.rationale === null) missingRationales++;
          rows.push(row);
          meter.set(++total, 0);
          if (rows.length === input.chunkSize) await flush();
        }
        await flush();
        const data = await store.putDataset(chunks);
        return { files: [data], output: { data, missingRationales } };
      }),
    );
    return IngestOutput.parse(record.output);
  });
