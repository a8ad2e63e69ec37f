/**
 * References: what history carries instead of rows. A reference is the digest of what it points to, so a reader can
 * prove that it read what was written, and the place of an object is derived from its digest, never read from outside.
 * Also the record that a step is done. Sizes are bounded: a reference is at most 250 bytes of JSON.
 */
import { z } from 'zod';

/** Lower-case hex SHA-256. */
export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'a SHA-256 in lower-case hex');
export type Sha256 = z.infer<typeof Sha256>;

const Count = z.int().min(0);

/** No payload of a history is larger: data, prompts and states of any size are objects of the store. */
export const MAX_PAYLOAD_BYTES = 4096;

export const jsonBytes = (value: unknown): number => new TextEncoder().encode(JSON.stringify(value)).length;

/** One immutable object of the store. `rows` is 0 where the object is not made of rows. */
export const ObjectRef = z.strictObject({ sha256: Sha256, rows: Count, bytes: Count });
export type ObjectRef = z.infer<typeof ObjectRef>;

/** A table kept as JSONL chunks. The object itself is a DatasetIndex; `rows` and `chunks` are totals. */
export const DatasetRef = ObjectRef.extend({ chunks: Count });
export type DatasetRef = z.infer<typeof DatasetRef>;

/** Chunks listed on one page: a shard reads the pages of its own chunks, not the list of all. */
export const CHUNKS_PER_PAGE = 256;

/** What a DatasetRef points to: pages of CHUNKS_PER_PAGE chunks each; the last may hold fewer. */
export const DatasetIndex = z.strictObject({ version: z.literal(2), pages: z.array(ObjectRef) });
export type DatasetIndex = z.infer<typeof DatasetIndex>;
/** `rows` of a page's own reference are the rows of its chunks. */
export const ChunkPage = z.strictObject({
  version: z.literal(2),
  chunks: z.array(ObjectRef).min(1).max(CHUNKS_PER_PAGE),
});
export type ChunkPage = z.infer<typeof ChunkPage>;

/**
 * A path below one of the deployment's model roots: relative, so that hosts may mount the roots at different places.
 * No empty, dot-led or parent segments.
 */
export const ModelPath = z
  .string()
  .max(200)
  .regex(/^(?!\.)[^/\\\p{Cc}]+(\/(?!\.)[^/\\\p{Cc}]+)*$/u, 'a path below a model root');

/**
 * A Hugging Face model folder. `sha256` is the digest of all its files (storage/models.ts), never a name: names stay
 * while weights change. `path` is null for a model that the store holds, else where it is below a model root.
 */
export const ModelRef = z.strictObject({ sha256: Sha256, bytes: Count, path: ModelPath.nullable() });
export type ModelRef = z.infer<typeof ModelRef>;

/** What work cost. `tokens`: generated, read for log-probabilities, or trained on. `money`: by the deployment's prices. */
export const Usage = z.strictObject({
  tokens: z.number().min(0),
  gpuSeconds: z.number().min(0),
  money: z.number().min(0),
});
export type Usage = z.infer<typeof Usage>;

/** Measured while a step ran; never part of a key or of a digest. */
export const RecordMeta = z.strictObject({
  seconds: z.number().min(0),
  host: z.string(),
  endedAt: z.string(),
  /** Id of the run that did the work. */
  run: z.string(),
  usage: Usage.nullable(),
});
export type RecordMeta = z.infer<typeof RecordMeta>;

/** What must exist for a record to count. A dataset includes its pages and chunks. */
export const StoredRef = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('rows'), ref: ObjectRef }),
  z.strictObject({ kind: z.literal('dataset'), ref: DatasetRef }),
  z.strictObject({ kind: z.literal('model'), ref: ModelRef }),
]);
export type StoredRef = z.infer<typeof StoredRef>;

/** The record that a step, or one chunk of it, is done. Written last: if it exists, what it names exists. */
export const StepRecord = z.strictObject({
  version: z.literal(2),
  step: z.string(),
  key: Sha256,
  /** Everything that decided the result, in clear text: the key is the digest of `step` and this. */
  inputs: z.json(),
  /** A missing or short one voids the record. */
  holds: z.array(StoredRef),
  /** What the step returns. */
  output: z.json(),
  meta: RecordMeta,
  /** The digest of the canonical JSON of all other fields: a record proves that it is as it was written. */
  sha256: Sha256,
});
export type StepRecord = z.infer<typeof StepRecord>;
