/**
 * The record that a step, or one chunk of it, is done. The key is the digest of everything that decided the result,
 * which the record states in clear text. A record is written after all that it holds, so if a record exists, what it
 * holds was stored.
 * A record does not count (is void) if it is torn or was changed (it holds the digest of its own content), if its step,
 * inputs and key do not agree with its name, or if something it holds is missing or short. Reading changes nothing but the time of use; `add` replaces a void record. Of several writers of
 * one record the first wins, and the others get its record. Concurrent writers that replace a void record may each
 * return their own; all of them are intact.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type RecordMeta, type Sha256, StepRecord, type StoredRef } from '../contracts/refs.js';
import type { Bucket } from './bucket.js';
import type { Datasets } from './datasets.js';
import { sha256 } from './files.js';
import type { Models } from './models.js';
import { canonical, type Objects } from './objects.js';

/** Together half a second; whoever asked tries again later. */
const UNSEEN_TRIES = 10;
const UNSEEN_WAIT_MS = 50;

export function keyOf(step: string, inputs: unknown): Sha256 {
  return sha256(canonical({ step, inputs }));
}

export function recordName(step: string, key: string): string {
  return `steps/${step}/${key.slice(0, 2)}/${key}.json`;
}

interface StepResult {
  holds: readonly StoredRef[];
  output: unknown;
  meta: RecordMeta;
  /** The digest of the record that was void when this work began. The work has made whole what it holds. */
  voided?: Sha256 | undefined;
}

export class Records {
  constructor(
    private readonly bucket: Bucket,
    private readonly objects: Objects,
    private readonly datasets: Datasets,
    private readonly models: Models,
  ) {}

  /** null: the step is not done, or something its record holds is missing. */
  async find(step: string, key: string): Promise<StepRecord | null> {
    const record = await this.read(step, key);
    if (!record || !(await this.isWhole(record))) return null;
    await this.bucket.touch(recordName(step, key));
    return record;
  }

  /** Whether or not what it holds is still present. */
  async read(step: string, key: string): Promise<StepRecord | null> {
    const text = await this.bucket.read(recordName(step, key));
    return text && parsed(text, step, key);
  }

  /** From now on the step is done. Returns the record that counts, which may be an earlier one. */
  async add(step: string, inputs: unknown, { holds, output, meta, voided }: StepResult): Promise<StepRecord> {
    const key = keyOf(step, inputs);
    const content = { version: 2, step, key, inputs, holds, output, meta };
    const text = canonical({ ...content, sha256: sha256(canonical(content)) });
    const record = StepRecord.parse(JSON.parse(text));
    const name = recordName(step, key);
    for (let tries = 1; !(await this.bucket.writeNew(name, Buffer.from(`${text}\n`))); tries++) {
      const stored = await this.bucket.read(name);
      if (!stored) {
        // A shared file system may show late what another host wrote; a link that leads nowhere stays as it is.
        if (tries === UNSEEN_TRIES) throw new Error(`${name}: a file of this name exists, but cannot be opened.`);
        await sleep(UNSEEN_WAIT_MS);
        continue;
      }
      const found = parsed(stored, step, key);
      if (found && found.sha256 !== voided && (await this.isWhole(found))) return found;
      // Another writer may replace the void record at the same moment: only the one that was read is moved.
      const seen = sha256(stored);
      await this.bucket.quarantine(name, (digest) => digest === seen);
    }
    return record;
  }

  private async isWhole({ holds }: StepRecord): Promise<boolean> {
    for (const stored of holds) if (!(await this.has(stored))) return false;
    return true;
  }

  private has(stored: StoredRef): Promise<boolean> {
    switch (stored.kind) {
      case 'rows':
        return this.objects.has('rows', stored.ref);
      case 'dataset':
        return this.datasets.has(stored.ref);
      case 'model':
        return this.models.has(stored.ref);
    }
  }
}

function parsed(text: Buffer, step: string, key: string): StepRecord | null {
  let record: StepRecord;
  try {
    record = StepRecord.parse(JSON.parse(text.toString('utf8')));
  } catch {
    return null;
  }
  const { sha256: digest, ...content } = record;
  const isWritten = sha256(canonical(content)) === digest;
  const isNamed = record.step === step && record.key === key && keyOf(step, record.inputs) === key;
  return isWritten && isNamed ? record : null;
}
