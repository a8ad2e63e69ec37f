/** Finds the files of a store by what they are to the run: what a fault can damage, and whether it will be read again. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import { DatasetIndex, type DatasetRef, DatasetRef as DatasetSchema, type StepRecord } from '../../contracts/refs.js';
import { SpecTexts } from '../../contracts/spec.js';
import { AddRationalesOutput, Assembled, IngestOutput, RoundTable, ShardedStep } from '../../contracts/steps.js';
import { type ObjectKind, objectName } from '../../storage/objects.js';
import { recordName } from '../../storage/records.js';
import type { Harness } from '../support/harness.js';
import { filesBelow } from './probe.js';

export interface Unread {
  /** Paths of chunks, and of the objects that list them. */
  chunks: string[];
  lists: string[];
}

export class StoredFiles {
  constructor(private readonly harness: Harness) {}

  path(kind: ObjectKind, sha256: string): string {
    return join(this.harness.artifactRoot, objectName(kind, sha256));
  }

  /**
   * What a step before or at the selection of round 1 has yet to read: candidates while they are being made and until
   * they are parsed, then the parsed ones; before that, examples and questions. Empty: all of it has been read.
   */
  async unread(): Promise<Unread> {
    const { harness } = this;
    if ((await harness.records('select')).length > 0) return { chunks: [], lists: [] };
    const parsed = outputs(await harness.records('parse'), DatasetSchema);
    if (parsed.length > 0) return this.of(parsed);
    const samples = await harness.records('sample');
    const enrichments = samples.filter((record) => purposeOf(record) === 'enrich');
    if (enrichments.length > 0) return this.of(assembled(enrichments));
    const sets = outputs(await harness.records('addRationales'), AddRationalesOutput).map(({ set }) => set.dataset);
    const questions = await this.ingested('questions');
    const whole = await this.of([...sets, ...questions.map(({ dataset }) => dataset)]);
    const candidates = (await this.unfinishedChunks()).map(({ holds }) => this.path('rows', holds[0]!.ref.sha256));
    return candidates.length > 0 ? { ...whole, chunks: candidates } : whole;
  }

  /** Records of sampled chunks whose step is not finished. */
  async unfinishedChunks(): Promise<StepRecord[]> {
    const finished = assembled(await this.harness.records('sample'));
    const listed = new Set((await this.of(finished)).chunks);
    const all = await this.harness.records('sample-chunk');
    return all.filter(({ holds }) => !listed.has(this.path('rows', holds[0]!.ref.sha256)));
  }

  recordPath({ step, key }: StepRecord): string {
    return join(this.harness.artifactRoot, recordName(step, key));
  }

  /** Datasets made of uploaded files of one kind, and the digests of the files. */
  async ingested(kind: string): Promise<{ dataset: DatasetRef; file: string }[]> {
    const records = (await this.harness.records('ingest')).filter(({ inputs }) => fieldsOf(inputs).kind === kind);
    return records.map(({ inputs, output }) => ({
      dataset: IngestOutput.parse(output).dataset,
      file: String(fieldsOf(inputs).file),
    }));
  }

  /** Chunks and lists of these datasets; what is damaged already is left out. */
  async of(datasets: readonly DatasetRef[]): Promise<Unread> {
    const found: Unread = { chunks: [], lists: [] };
    for (const ref of datasets) {
      const index = this.json(this.path('json', ref.sha256), DatasetIndex);
      const chunks = await this.harness.store.datasets.chunks(ref).catch(() => null);
      if (!index || !chunks) continue;
      found.lists.push(...[ref, ...index.pages].map(({ sha256 }) => this.path('json', sha256)));
      found.chunks.push(...chunks.map(({ sha256 }) => this.path('rows', sha256)));
    }
    return found;
  }

  /** The input of the sharded step that was begun last. */
  stepInput = () => this.newest(ShardedStep);
  roundTable = () => this.newest(RoundTable);
  specTexts = () => this.newest(SpecTexts);

  private async newest(schema: z.ZodType<unknown>): Promise<string | null> {
    const paths = (await filesBelow(join(this.harness.artifactRoot, 'objects'))).filter((path) =>
      path.endsWith('.json'),
    );
    const whole = paths.filter((path) => this.json(path, schema) !== null);
    return whole.sort((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs).at(-1) ?? null;
  }

  /** null: missing, damaged, or something else. */
  private json<T>(path: string, schema: z.ZodType<T>): T | null {
    try {
      return schema.parse(JSON.parse(readFileSync(path, 'utf8')));
    } catch {
      return null;
    }
  }
}

const fieldsOf = (inputs: unknown) => inputs as Record<string, unknown>;
const purposeOf = ({ inputs }: StepRecord) => (fieldsOf(inputs).recipe as { purpose?: string }).purpose;
const outputs = <T>(records: readonly StepRecord[], schema: z.ZodType<T>): T[] =>
  records.map(({ output }) => schema.parse(output));
const assembled = (records: readonly StepRecord[]) => outputs(records, Assembled).map(({ dataset }) => dataset);
