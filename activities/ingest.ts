/**
 * Ingest: a user's file, already stored byte for byte, becomes chunks of normalised rows. The client does this while it
 * checks the file, so that a row is decoded once; the run's own step then finds the record, and decodes the stored file
 * again only when a chunk was damaged.
 */
import { inputInvalid, Problem, uploadDamaged } from '../contracts/errors.js';
import type { ObjectRef } from '../contracts/refs.js';
import { type Catalyst, type Example, encodable, type PromptRow, type Question } from '../contracts/rows.js';
import { OpenSetsInput, type OpenSetsOutput } from '../contracts/set-steps.js';
import type { Fields } from '../contracts/spec.js';
import { IngestInput, IngestOutput } from '../contracts/steps.js';
import { Chunker } from '../method/chunks.js';
import { readData } from '../method/formats/index.js';
import { Survey } from '../method/formats/survey.js';
import type { Store } from '../storage/store.js';
import { unpack } from '../storage/unpack.js';
import { activity, type Deps } from './activity.js';
import { ingestInputs } from './keys.js';
import { memoize, recorded } from './memoize.js';
import { setsOf, textsOf } from './texts.js';

type DataRow = Example | Catalyst | Question | PromptRow;

/** The user's name of the file, for messages, and the names of its fields. */
interface Source {
  path: string;
  fields: Fields;
  skipInvalid: boolean;
}

/** A payload stays small, whatever a file holds. */
const MOST = { reasons: 5, names: 15, nameChars: 60 };

export const srlmIngest = ({ store }: Deps) =>
  activity('ingest', IngestInput, async (input, progress) => {
    const texts = await textsOf(store, input.texts);
    const source = texts[input.source] ?? { path: input.source, fields: {}, skipInvalid: false };
    return memoize(store, 'ingest', ingestInputs(input, source), IngestOutput, async () => {
      await assertIntact(store, input, source);
      return ingested(store, input, source, () => progress.add(1));
    });
  });

/** The questions of each evaluation set beside the gate's, by the same records. */
export const srlmOpenSets = ({ store }: Deps) =>
  activity('open sets', OpenSetsInput, async ({ texts, sets }, progress): Promise<OpenSetsOutput> => {
    const { others = {} } = await textsOf(store, texts);
    const { files } = await setsOf(store, sets);
    const opened: OpenSetsOutput['sets'] = {};
    for (const [name, { limit = null, chunkSize, kind = null, watch, maxTokens, ...source }] of Object.entries(
      others,
    )) {
      const file = files[name];
      if (!file) throw inputInvalid('open sets', `${name}: its file is not stored`);
      const input = { kind: 'questions', source: 'evaluation', texts, file, limit, chunkSize } as const;
      const { output } = await memoize(store, 'ingest', ingestInputs(input, source), IngestOutput, async () => {
        await assertIntact(store, input, source);
        return ingested(store, input, source, () => progress.add(1));
      });
      opened[name] = { questions: output.dataset, kind, watch, maxTokens };
    }
    return { sets: opened };
  });

/**
 * The same for a client, before its run starts: `run` is the id the run will have. `onRow` sees each row if the file is
 * read now; it sees none if the file was ingested before (`reused`). Throws what is wrong with the file.
 */
export async function ingestOnce(
  store: Store,
  input: IngestInput,
  source: Source,
  run: string,
  onRow: (row: DataRow) => void = () => {},
): Promise<{ output: IngestOutput; reused: boolean }> {
  let reused = true;
  const work = () => {
    reused = false;
    return ingested(store, input, source, onRow);
  };
  const record = await recorded(store, 'ingest', ingestInputs(input, source), work, run);
  return { output: IngestOutput.parse(record.output), reused };
}

/** Before a row is read: a fault of the disk must not be reported as the user's. Throws data.damaged. */
async function assertIntact(store: Store, { file }: IngestInput, { path }: Source): Promise<void> {
  try {
    await store.objects.verifyFile(file);
  } catch (error) {
    if (error instanceof Problem && error.type === 'artifact.damaged') throw uploadDamaged(path, file.sha256);
    throw error;
  }
}

/** Throws what is wrong with the file, by line and field. */
async function ingested(
  store: Store,
  { kind, file, limit, chunkSize }: IngestInput,
  { path, fields, skipInvalid }: Source,
  onRow: (row: DataRow) => void,
) {
  const chunks: ObjectRef[] = [];
  const chunker = new Chunker<DataRow>(chunkSize);
  let total = 0;
  let missingRationales = 0;
  let rationaleChars = 0;
  const survey = new Survey();
  const watch = { onUses: survey.onUses, ...(skipInvalid ? { onFault: survey.onFault } : {}) };
  const put = async (made: DataRow[][]) => {
    for (const rows of made) chunks.push(await store.objects.putRows(rows));
  };
  const bytes = unpack(store.objects.streamFile(file), path);
  for await (const row of readData(kind, bytes, path, fields, limit, watch)) {
    if ('original' in row) {
      if (row.original === null) missingRationales++;
      rationaleChars += row.rationale.length;
    }
    total++;
    onRow(row);
    await put(chunker.add(row, charsOf(row)));
  }
  await put(chunker.end());
  const dataset = await store.datasets.put(chunks);
  const output: IngestOutput = {
    dataset,
    missingRationales,
    meanRationaleChars: rationaleChars / Math.max(1, total),
    ...seen(survey),
  };
  return { holds: [{ kind: 'dataset' as const, ref: dataset }], output };
}

/** About its size, in which conversations and choices count too. */
const charsOf = (row: DataRow): number =>
  Object.values(row).reduce(
    (sum, value) => sum + (typeof value === 'string' ? value : JSON.stringify(value)).length,
    0,
  );

function seen({ faults, reasons, unused }: Survey): Pick<IngestOutput, 'skipped' | 'unused'> {
  const skipped = {
    rows: faults,
    reasons: reasons.slice(0, MOST.reasons).map(({ reason, rows }) => ({ reason: encodable(reason), rows })),
  };
  const names = unused.slice(0, MOST.names).map((name) => encodable(name.slice(0, MOST.nameChars)));
  return { ...(faults > 0 ? { skipped } : {}), ...(names.length > 0 ? { unused: names } : {}) };
}
