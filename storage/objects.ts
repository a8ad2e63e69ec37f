/**
 * Immutable objects, named by the SHA-256 of their content, so two writers of one object write the same bytes, and a
 * reference can lead to no other place.
 * Every read is checked. An object whose content does not have the digest in its own name is quarantined; the step that
 * made it then has no valid record (records.ts), and runs again. A reference that is wrong in any other way (bytes, rows,
 * schema) is refused, and the object stays where it is. Both throw artifact.damaged.
 * A write trusts the size of what is there: a damaged object of the right size is replaced once a read has found it.
 */
import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import type { z } from 'zod';
import { artifactDamaged, show } from '../contracts/errors.js';
import { type ObjectRef, Sha256 } from '../contracts/refs.js';
import type { Bucket } from './bucket.js';
import { sha256 } from './files.js';

/** rows: JSONL. json: one canonical JSON value. file: the bytes of a user's file. */
const ENDING = { rows: 'jsonl', json: 'json', file: 'raw' } as const;
export type ObjectKind = keyof typeof ENDING;

/** Throws artifact.damaged. */
export function checkDigest(digest: string): Sha256 {
  if (!Sha256.safeParse(digest).success) throw artifactDamaged('objects', `${show(digest)} is not a digest.`);
  return digest;
}

export function objectName(kind: ObjectKind, digest: string): string {
  return `objects/${checkDigest(digest).slice(0, 2)}/${digest}.${ENDING[kind]}`;
}

/** Canonical JSON (RFC 8785): equal values give equal bytes. */
export function canonical(value: unknown): string {
  const text = canonicalize(value);
  if (text === undefined) throw new Error('not a JSON value');
  return text;
}

export class Objects {
  constructor(private readonly bucket: Bucket) {}

  async putRows(rows: readonly unknown[]): Promise<ObjectRef> {
    const lines = rows.map((row) => `${JSON.stringify(row)}\n`).join('');
    return this.put('rows', Buffer.from(lines), rows.length);
  }

  async putJson(value: unknown): Promise<ObjectRef> {
    return this.put('json', Buffer.from(canonical(value)), 0);
  }

  async putFile(path: string): Promise<ObjectRef> {
    const { sha256, bytes } = await this.bucket.upload(path, (digest) => objectName('file', digest));
    return { sha256, rows: 0, bytes };
  }

  private async put(kind: ObjectKind, content: Buffer, rows: number): Promise<ObjectRef> {
    const ref = { sha256: sha256(content), rows, bytes: content.length };
    const name = objectName(kind, ref.sha256);
    if (await this.has(kind, ref)) await this.bucket.touch(name);
    else await this.bucket.write(name, content);
    return ref;
  }

  /** Present with the right size: what can be known without reading it. */
  async has(kind: ObjectKind, ref: ObjectRef): Promise<boolean> {
    return (await this.bucket.size(objectName(kind, ref.sha256))) === ref.bytes;
  }

  /** Throws artifact.damaged. */
  async read(kind: ObjectKind, ref: ObjectRef): Promise<Buffer> {
    const name = objectName(kind, ref.sha256);
    const content = await this.bucket.read(name);
    if (content === null) throw gone(name);
    await this.check(name, ref, { sha256: sha256(content), bytes: content.length });
    return content;
  }

  /** Throws artifact.damaged. */
  async readRows<T>(ref: ObjectRef, schema: z.ZodType<T>): Promise<T[]> {
    const name = objectName('rows', ref.sha256);
    const lines = (await this.read('rows', ref)).toString('utf8').split('\n');
    const rows = lines.filter(Boolean).map((line) => parsed(name, line, schema));
    if (rows.length === ref.rows) return rows;
    throw artifactDamaged(name, `the reference says ${ref.rows} rows, the object has ${rows.length}.`);
  }

  /** Throws artifact.damaged. */
  async readJson<T>(ref: ObjectRef, schema: z.ZodType<T>): Promise<T> {
    const content = await this.read('json', ref);
    return parsed(objectName('json', ref.sha256), content.toString('utf8'), schema);
  }

  /** The digest is checked after the last part: until then nothing that was read is certain. Throws artifact.damaged. */
  async *streamFile(ref: ObjectRef): AsyncGenerator<Uint8Array> {
    const name = objectName('file', ref.sha256);
    const parts = await this.bucket.stream(name);
    if (parts === null) throw gone(name);
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const part of parts) {
      hash.update(part);
      bytes += part.length;
      yield part;
    }
    await this.check(name, ref, { sha256: hash.digest('hex'), bytes });
  }

  /**
   * Reads a whole file. A reader that may stop early, or that would blame the user for a row that the disk has altered,
   * calls this first. Throws artifact.damaged.
   */
  async verifyFile(ref: ObjectRef): Promise<void> {
    for await (const _ of this.streamFile(ref));
  }

  private async check(name: string, ref: ObjectRef, found: { sha256: string; bytes: number }): Promise<void> {
    if (found.sha256 !== ref.sha256) {
      // A reader that may not write still reports the damage.
      await this.bucket.quarantine(name, (digest) => digest !== ref.sha256).catch(() => {});
      const want = `${ref.bytes} bytes with digest ${ref.sha256.slice(0, 12)}`;
      throw artifactDamaged(name, `expected ${want}, found ${found.bytes} with ${found.sha256.slice(0, 12)}.`);
    }
    if (found.bytes !== ref.bytes)
      throw artifactDamaged(name, `the reference says ${ref.bytes} bytes, the object has ${found.bytes}.`);
  }
}

const gone = (name: string) => artifactDamaged(name, 'the file is gone.');

/** The digest vouches for the bytes: if they do not fit the schema, the reference is one to something else. */
function parsed<T>(name: string, text: string, schema: z.ZodType<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw artifactDamaged(name, 'it is not JSON.');
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw artifactDamaged(name, `it holds something else (${issue.path.join('.') || 'value'}: ${issue.message}).`);
}
