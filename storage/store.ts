/**
 * The artifact store: a local or shared folder, safe with many processes at once.
 *
 *   objects/ab/<sha256>.jsonl   rows        objects/ab/<sha256>.json   dataset index     objects/ab/<sha256>.raw  a file
 *   models/<sha256>/            a Hugging Face model folder            jobs/<key>/       a trainer's folder
 *   steps/<step>/<key>.json     the record that a step is done; written last
 *
 * Content decides the name, so two writers of one object write the same bytes. Every read is checked against its
 * digest: an altered file is set aside (damaged/) and reported as `artifact.damaged`, and the step that made it,
 * whose record no longer counts, makes it again. Nothing is ever trained on unchecked.
 */

import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, statfs } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import canonicalize from 'canonicalize';
import type { z } from 'zod';
import {
  type Dataset,
  DatasetIndex,
  type Manifest,
  type Measured,
  type Model,
  StepRecord,
} from '../contracts/artifacts.js';
import { artifactDamaged, modelChanged, rootNotWritable } from '../contracts/errors.js';
import { sha256, sweep, syncFolder, temporaryName, writeWhole } from './files.js';
import { modelDigest, modelFiles } from './model-folder.js';

export class ArtifactStore {
  readonly root: string;
  private readonly tmp: string;
  /** Model folders digested by this process, by size and time of their files. */
  private readonly verifiedModels = new Map<string, string>();

  private constructor(root: string) {
    this.root = resolve(root);
    this.tmp = join(this.root, 'tmp');
  }

  /** Creates the folder where needed. Throws storage.not-writable. */
  static open(root: string): ArtifactStore {
    const store = new ArtifactStore(root);
    const probe = join(store.tmp, temporaryName());
    try {
      mkdirSync(store.tmp, { recursive: true });
      writeFileSync(probe, '');
      rmSync(probe);
    } catch (error) {
      throw rootNotWritable(store.root, (error as NodeJS.ErrnoException).code ?? String(error));
    }
    sweep(store.tmp);
    return store;
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.root);
    return bavail * bsize;
  }

  path(uri: string): string {
    return join(this.root, uri);
  }

  // --- objects ------------------------------------------------------------------------------------------------------

  async putRows(rows: readonly unknown[]): Promise<Manifest> {
    return this.putText(rows.map((row) => `${JSON.stringify(row)}\n`).join(''), 'jsonl', rows.length);
  }

  private async putText(text: string, ending: string, rows: number): Promise<Manifest> {
    const digest = sha256(text);
    const manifest = {
      uri: `objects/${digest.slice(0, 2)}/${digest}.${ending}`,
      sha256: digest,
      rows,
      bytes: Buffer.byteLength(text),
    };
    if (!(await this.has(manifest))) await writeWhole(this.path(manifest.uri), text, this.tmp);
    return manifest;
  }

  /** Copies a file of the user's into the store, byte for byte. */
  async putFile(source: string): Promise<Manifest> {
    const temporary = join(this.tmp, temporaryName());
    const hash = createHash('sha256');
    let bytes = 0;
    const measure = new Transform({
      transform(part: Buffer, _encoding, done) {
        hash.update(part);
        bytes += part.length;
        done(null, part);
      },
    });
    try {
      await pipeline(createReadStream(source), measure, createWriteStream(temporary, { flush: true }));
      const digest = hash.digest('hex');
      const manifest = { uri: `objects/${digest.slice(0, 2)}/${digest}.raw`, sha256: digest, rows: 0, bytes };
      await mkdir(dirname(this.path(manifest.uri)), { recursive: true });
      await rename(temporary, this.path(manifest.uri));
      await syncFolder(dirname(this.path(manifest.uri)));
      return manifest;
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  /** The whole object, checked. Throws artifact.damaged. */
  async read(manifest: Manifest): Promise<Buffer> {
    let content: Buffer;
    try {
      content = await readFile(this.path(manifest.uri));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      throw artifactDamaged(manifest.uri, 'the file is gone.');
    }
    const found = sha256(content);
    if (found === manifest.sha256) return content;
    await this.setAside(manifest.uri);
    throw artifactDamaged(
      manifest.uri,
      `expected ${manifest.bytes} bytes with digest ${manifest.sha256.slice(0, 12)}, found ${content.length} with ${found.slice(0, 12)}.`,
    );
  }

  async readRows<T>(manifest: Manifest, schema: z.ZodType<T>): Promise<T[]> {
    const rows: T[] = [];
    for (const line of (await this.read(manifest)).toString('utf8').split('\n')) {
      if (line !== '') rows.push(schema.parse(JSON.parse(line)));
    }
    return rows;
  }

  // --- datasets -----------------------------------------------------------------------------------------------------

  async putDataset(chunks: readonly Manifest[]): Promise<Dataset> {
    const index: DatasetIndex = { version: 1, chunks: [...chunks] };
    const rows = chunks.reduce((sum, chunk) => sum + chunk.rows, 0);
    const file = await this.putText(canonical(index), 'json', rows);
    return { ...file, chunks: chunks.length };
  }

  async chunksOf(dataset: Dataset): Promise<Manifest[]> {
    return DatasetIndex.parse(JSON.parse((await this.read(dataset)).toString('utf8'))).chunks;
  }

  /** All rows of a dataset, a chunk in memory at a time. */
  async *rowsOf<T>(dataset: Dataset, schema: z.ZodType<T>): AsyncGenerator<T> {
    for (const chunk of await this.chunksOf(dataset)) yield* await this.readRows(chunk, schema);
  }

  // --- steps --------------------------------------------------------------------------------------------------------

  /** The record of a step that is done, or null. A record whose files are gone or cut short does not count. */
  async findStep(step: string, key: string): Promise<StepRecord | null> {
    let text: string;
    try {
      text = await readFile(this.recordPath(step, key), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
    let record: StepRecord;
    try {
      record = StepRecord.parse(JSON.parse(text));
    } catch {
      return null; // An unreadable record is no record: the step is done again and writes it anew.
    }
    for (const file of record.files) {
      if (!(await this.has(file))) return null;
      if ('chunks' in file) {
        const chunks = await this.chunksOf(file).catch(() => null);
        if (!chunks) return null;
        for (const chunk of chunks) if (!(await this.has(chunk))) return null;
      }
    }
    return record;
  }

  /** Written last: from now on the step is done. */
  async recordStep(
    step: string,
    inputs: unknown,
    result: { files: Manifest[]; output: unknown; measured: Measured },
  ): Promise<StepRecord> {
    const record = StepRecord.parse({
      version: 1,
      step,
      key: stepKey(step, inputs),
      inputs,
      ...result,
    });
    await writeWhole(this.recordPath(step, record.key), `${canonical(record)}\n`, this.tmp);
    return record;
  }

  /** Where the record of a step is, if it is done. */
  recordPath(step: string, key: string): string {
    return join(this.root, 'steps', step, key.slice(0, 2), `${key}.json`);
  }

  /** There, and of the right length: what can be told without reading it. */
  private async has(file: Manifest): Promise<boolean> {
    try {
      return (await stat(this.path(file.uri))).size === file.bytes;
    } catch {
      return false;
    }
  }

  private async setAside(uri: string): Promise<void> {
    const aside = join(this.root, 'damaged');
    await mkdir(aside, { recursive: true });
    // Another reader may have been first.
    await rename(this.path(uri), join(aside, `${Date.now()}-${basename(uri)}`)).catch(() => {});
  }

  // --- models and jobs ----------------------------------------------------------------------------------------------

  /** Takes a finished folder over, by rename: it must be on this root's file system. */
  async adoptModel(folder: string, digest: string): Promise<Model> {
    const uri = `models/${digest}`;
    await mkdir(join(this.root, 'models'), { recursive: true });
    if (!(await this.findModel(digest))) {
      // Rename first: it never replaces a folder with files in it, so that of two attempts of one step (a worker that
      // was frozen, and the one that took over) neither can set aside what the other has just brought.
      try {
        await rename(folder, this.path(uri));
      } catch (error) {
        if (!(await this.findModel(digest))) {
          if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw error;
          await this.setAside(uri);
          await rename(folder, this.path(uri));
        }
      }
      await syncFolder(join(this.root, 'models'));
    }
    return { sha256: digest, bytes: (await modelDigest(this.path(uri))).bytes, uri };
  }

  /** The model with this digest, if the store has it whole. */
  async findModel(digest: string): Promise<Model | null> {
    const uri = `models/${digest}`;
    const found = await modelDigest(this.path(uri), this.verifiedModels).catch(() => null);
    return found?.sha256 === digest ? { sha256: digest, bytes: found.bytes, uri } : null;
  }

  /** The files of a stored model, for a step's record. */
  async filesOf(model: Model): Promise<Manifest[]> {
    return modelFiles(this.modelPath(model), model.uri ?? '');
  }

  modelPath(model: Model): string {
    if (model.uri) return this.path(model.uri);
    if (model.path) return model.path;
    throw new Error('a model has a uri or a path');
  }

  /** The folder of a model, its digest checked (once for each state of its files). Throws artifact.damaged, model.changed. */
  async verifiedModel(model: Model): Promise<string> {
    const folder = this.modelPath(model);
    const found = await modelDigest(folder, this.verifiedModels).catch(() => null);
    if (found?.sha256 === model.sha256) return folder;
    // What the store does not own it cannot make again: the run parks until the folder is as it was.
    if (!model.uri) throw modelChanged(folder, model.sha256);
    await this.setAside(model.uri);
    throw artifactDamaged(
      model.uri,
      found ? 'its weights are not those that were trained.' : 'the model folder is gone.',
    );
  }

  jobFolder(key: string): string {
    return join(this.root, 'jobs', key);
  }
}

/** Canonical JSON (RFC 8785): equal values give equal bytes. */
export function canonical(value: unknown): string {
  const text = canonicalize(value);
  if (text === undefined) throw new Error('not a JSON value');
  return text;
}

/** The key of a step: the digest of its name and of all that decides its result. */
export function stepKey(step: string, inputs: unknown): string {
  return sha256(canonical({ step, inputs }));
}
