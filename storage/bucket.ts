/**
 * Named blobs: the part of the store that a local folder, a shared folder or an object service can provide. Callers
 * never see a path, and no name leads out of the bucket. A new kind must pass test/storage/bucket.test.ts.
 */
export interface Bucket {
  /** Unchecked; null: there is none. */
  read(name: string): Promise<Buffer | null>;
  /** In bytes; null: there is none. */
  size(name: string): Promise<number | null>;
  /** Unchecked; null: there is none. */
  stream(name: string): Promise<AsyncIterable<Uint8Array> | null>;
  /** Creates or replaces a blob, completely or not at all. When it returns, the blob survives a power failure. */
  write(name: string, content: Uint8Array): Promise<void>;
  /** Writes the blob unless one exists: the first of several writers wins. False: one exists, and is as it was. */
  writeNew(name: string, content: Uint8Array): Promise<boolean>;
  /** The blob is used again: its age counts from now (client/gc.ts). Does nothing where that cannot be written down. */
  touch(name: string): Promise<void>;
  /** Stores a file of this host. `nameOf` gives its name from the SHA-256 of the bytes that were stored. */
  upload(source: string, nameOf: (sha256: string) => string): Promise<{ sha256: string; bytes: number }>;
  /**
   * Moves a blob out of the way, to damaged/, if `isDamaged` says so of the SHA-256 of its content. A blob that a
   * writer has put there since the caller read the damaged one stays or comes back.
   */
  quarantine(name: string, isDamaged: (sha256: string) => boolean): Promise<void>;
}

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;

/** Throws a plain Error for a name that is not one. */
export function checkName(name: string): string {
  if (!NAME.test(name)) throw new Error(`${JSON.stringify(name.slice(0, 100))} is not the name of a blob`);
  return name;
}
