/**
 * Encrypts every payload, and messages and stack traces of failures, with AES-256-GCM: for `dataConverter` in
 * temporal.config.ts. Payloads have the form of Temporal's own samples (`binary/encrypted`), so that codecs in other
 * languages can read them. What was written before encryption was switched on is still read.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { DataConverter, Payload, PayloadCodec } from '@temporalio/common';
import { isPassed } from '../contracts/environment.js';
import { payloadUnreadable } from '../contracts/errors.js';
import { packageRoot } from '../processes/python.js';

export interface EncryptionOptions {
  /**
   * Names of environment variables, each with a key of 32 bytes in base64 or hex. The first encrypts, all decrypt: a new
   * one is put in front, and an old one stays until no history needs it.
   */
  keys: readonly string[];
}

/** Throws an Error with one sentence where a key is missing or is no key. No message holds a key. */
export function encryption(options: EncryptionOptions): DataConverter {
  const names = Array.isArray(options?.keys) ? options.keys : [];
  if (names.length === 0) throw new Error('encryption: keys has to name at least one environment variable');
  const byName = new Map(names.map((name) => [name, readKey(name)]));
  return {
    payloadCodecs: [new EncryptionCodec(names[0]!, byName)],
    // Temporal's SDK loads it by its path, in the worker and in the bundle of the workflows.
    failureConverterPath: join(packageRoot, 'dist', 'encryption', 'failure-converter.js'),
  };
}

// --- keys -------------------------------------------------------------------------------------------------------------
const KEY_BYTES = 32;
const VARIABLE = /^[A-Za-z_]\w{0,99}$/;
/** A key, or a part of one, in hex or base64: long, and without what names are made of. */
const LIKE_A_KEY = /^(?:[0-9a-fA-F]{16,}|(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9]{20,})$/;

function readKey(name: unknown): Buffer {
  // A key that is given instead of its name must not be shown, and one in hex may look like a name.
  if (typeof name !== 'string' || !VARIABLE.test(name) || LIKE_A_KEY.test(name) || parseKey(name))
    throw new Error('encryption: keys has to hold names of environment variables, not the keys themselves');
  if (isPassed(name))
    throw new Error(`encryption: trainers and model servers get the variable ${name}; use one with KEY in its name`);
  const text = Object.hasOwn(process.env, name) ? process.env[name]?.trim() : undefined;
  if (!text)
    throw new Error(
      `encryption: the environment variable ${name} is not set; it has to hold a key: 32 bytes in base64 or hex, as \`openssl rand -base64 32\` makes them`,
    );
  const key = parseKey(text);
  if (!key) throw new Error(`encryption: the environment variable ${name} has to hold 32 bytes in base64 or hex`);
  return key;
}

/** null: not exactly 32 bytes in base64 or hex. */
function parseKey(text: string): Buffer | null {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex');
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return null;
  const key = Buffer.from(text, 'base64');
  return key.length === KEY_BYTES ? key : null;
}

// --- payloads ---------------------------------------------------------------------------------------------------------
const ENCODING = 'binary/encrypted';
const ALGORITHM = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

class EncryptionCodec implements PayloadCodec {
  constructor(
    /** The name of the key that encrypts. */
    private readonly name: string,
    private readonly keys: ReadonlyMap<string, Buffer>,
  ) {}

  async encode(payloads: Payload[]): Promise<Payload[]> {
    const { Payload: Message } = await messages();
    const metadata = { encoding: Buffer.from(ENCODING), 'encryption-key-id': Buffer.from(this.name) };
    return payloads.map((payload) => ({
      metadata,
      data: sealed(Message.encode(payload).finish(), this.keys.get(this.name)!),
    }));
  }

  /** Throws payload.unreadable. */
  async decode(payloads: Payload[]): Promise<Payload[]> {
    const { Payload: Message } = await messages();
    return payloads.map((payload) => {
      if (textOf(payload.metadata?.encoding) !== ENCODING) return payload;
      return Message.decode(this.open(textOf(payload.metadata?.['encryption-key-id']), payload.data)) as Payload;
    });
  }

  private open(name: string, data: Uint8Array | null | undefined): Uint8Array {
    const key = this.keys.get(name);
    if (!key) {
      // The name is part of the payload, and so may be any text.
      const shown = VARIABLE.test(name) ? `the key ${name}` : 'a key of another name';
      throw payloadUnreadable(`it is encrypted with ${shown}, which encryption() does not name`);
    }
    try {
      return opened(data ?? new Uint8Array(), key);
    } catch {
      throw payloadUnreadable(`it was altered, or ${name} holds another key than the one that encrypted it`);
    }
  }
}

/** Loaded when the first payload comes: a command that needs no Temporal does without. */
const messages = async () => (await import('@temporalio/proto')).default.temporal.api.common.v1;

const textOf = (bytes: Uint8Array | null | undefined): string => Buffer.from(bytes ?? []).toString();

/** Nonce, ciphertext, tag: as Web Crypto, Go and Python put them. */
function sealed(plain: Uint8Array, key: Buffer): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES });
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** Throws where anything was altered. */
function opened(data: Uint8Array, key: Buffer): Uint8Array {
  const bytes = Buffer.from(data);
  const decipher = createDecipheriv(ALGORITHM, key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
}
