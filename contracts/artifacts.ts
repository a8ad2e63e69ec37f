/**
 * Artifacts: what the store keeps and what history carries instead of rows.
 * Every reference holds the digest of what it points to, so a reader can prove that it read what was written.
 * A `uri` is relative to the artifact root and never leaves it.
 */
import { z } from 'zod';

/** Lower-case hex SHA-256. */
export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'a SHA-256 in lower-case hex');
export type Sha256 = z.infer<typeof Sha256>;

/** Relative POSIX path below the artifact root: no empty, dot-led or parent segments. */
export const ArtifactUri = z
  .string()
  .max(512)
  .regex(/^(?!\.)[A-Za-z0-9_.-]+(\/(?!\.)[A-Za-z0-9_.-]+)*$/, 'a path below the artifact root');

/** One immutable file. `rows` is 0 where the file is not made of rows. */
export const Manifest = z.strictObject({
  uri: ArtifactUri,
  sha256: Sha256,
  rows: z.int().min(0),
  bytes: z.int().min(0),
});
export type Manifest = z.infer<typeof Manifest>;

/** A table kept as JSONL chunks. The file itself is the list of its chunks; `rows` and `chunks` are totals. */
export const Dataset = Manifest.extend({ chunks: z.int().min(0) });
export type Dataset = z.infer<typeof Dataset>;

/** What a Dataset's file holds. */
export const DatasetIndex = z.strictObject({ version: z.literal(1), chunks: z.array(Manifest) });
export type DatasetIndex = z.infer<typeof DatasetIndex>;

/**
 * A Hugging Face model folder. `sha256` is the digest of all its files (engine/digest.ts), never a name: names stay
 * while weights change. `uri` is below the artifact root; `path` is absolute and below one of the deployment's model
 * roots, for a model the store does not own.
 */
export const Model = z.strictObject({
  sha256: Sha256,
  bytes: z.int().min(0),
  uri: ArtifactUri.optional(),
  path: z.string().optional(),
});
export type Model = z.infer<typeof Model>;

/** What work cost. `tokens`: generated, read for scores, or trained on. `money`: by the deployment's prices. */
export const Spent = z.strictObject({ tokens: z.number(), gpuSeconds: z.number(), money: z.number() });
export type Spent = z.infer<typeof Spent>;

/** Numbers measured while a step ran; they never take part in a key or a digest. */
export const Measured = z.strictObject({
  seconds: z.number().min(0),
  host: z.string(),
  endedAt: z.string(),
  /** The run that did it, and what it cost. */
  run: z.string().optional(),
  spent: Spent.optional(),
});
export type Measured = z.infer<typeof Measured>;

/** The record that a step (or one chunk of it) is done. Written last: if it exists, what it names exists. */
export const StepRecord = z.strictObject({
  version: z.literal(1),
  step: z.string(),
  key: Sha256,
  /** All that decided the result, in clear: the key is the digest of this. */
  inputs: z.json(),
  /** Files the record stands for; a missing or short one voids the record. A dataset stands for its chunks too. */
  files: z.array(z.union([Manifest, Dataset])),
  /** Whatever the step returns, besides. */
  output: z.json(),
  measured: Measured,
});
export type StepRecord = z.infer<typeof StepRecord>;
