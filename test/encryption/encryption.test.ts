/** The codec of srlm/encryption: what it writes and reads, and its sentences, which never hold a key. */
import { randomBytes } from 'node:crypto';
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import {
  decodeOptionalFailureToOptionalError,
  encodeErrorToFailure,
  loadDataConverter,
} from '@temporalio/common/lib/internal-non-workflow/index.js';
import { afterEach, expect, it, vi } from 'vitest';
import { encryption } from '../../encryption/index.js';

const KEYS = { SRLM_KEY_NEW: randomBytes(32).toString('base64'), SRLM_KEY_OLD: randomBytes(32).toString('hex') };
for (const [name, key] of Object.entries(KEYS)) vi.stubEnv(name, key);
afterEach(() => {
  for (const [name, key] of Object.entries(KEYS)) vi.stubEnv(name, key);
});

const codecOf = (...keys: string[]) => encryption({ keys }).payloadCodecs![0]!;
const payload = defaultPayloadConverter.toPayload({ prompt: 'How many legs?' })!;
const value = (one: Payload | undefined) => defaultPayloadConverter.fromPayload(one!);
const textOf = (one: Payload) =>
  JSON.stringify(one, (_, inner) => (inner?.type === 'Buffer' ? Buffer.from(inner).toString('latin1') : inner));

it('encrypts with the first key, whose name the payload has, and never twice to the same bytes', async () => {
  const codec = codecOf('SRLM_KEY_NEW', 'SRLM_KEY_OLD');
  const [one, other] = await codec.encode([payload, payload]);
  expect(textOf(one!)).not.toMatch(/legs|json/);
  expect(Buffer.from(one!.metadata!['encryption-key-id']!).toString()).toBe('SRLM_KEY_NEW');
  expect(one!.data).not.toEqual(other!.data);
  expect((await codec.decode([one!, other!])).map(value)).toEqual([
    { prompt: 'How many legs?' },
    { prompt: 'How many legs?' },
  ]);
});

it('reads what an older key has encrypted, and what was never encrypted', async () => {
  const old = await codecOf('SRLM_KEY_OLD').encode([payload]);
  const read = await codecOf('SRLM_KEY_NEW', 'SRLM_KEY_OLD').decode([...old, payload]);
  expect(read.map(value)).toEqual([{ prompt: 'How many legs?' }, { prompt: 'How many legs?' }]);
});

it('refuses a payload of a key that it does not have, or that was altered anywhere', async () => {
  const [sealed] = await codecOf('SRLM_KEY_OLD').encode([payload]);
  const HINT =
    'temporal.config.ts needs the dataConverter that the workers of the run have, with its keys. [payload.unreadable]';
  await expect(codecOf('SRLM_KEY_NEW').decode([sealed!])).rejects.toThrow(
    `A payload cannot be decoded: it is encrypted with the key SRLM_KEY_OLD, which encryption() does not name. ${HINT}`,
  );
  for (let at = 0; at < sealed!.data!.length; at++) {
    const data = Buffer.from(sealed!.data!);
    data[at]! ^= 1;
    await expect(codecOf('SRLM_KEY_OLD').decode([{ ...sealed!, data }])).rejects.toThrow(
      `A payload cannot be decoded: it was altered, or SRLM_KEY_OLD holds another key than the one that encrypted it. ${HINT}`,
    );
  }
  for (const length of [0, 5, 12, 27])
    await expect(
      codecOf('SRLM_KEY_OLD').decode([{ ...sealed!, data: sealed!.data!.subarray(0, length) }]),
    ).rejects.toThrow('it was altered');
  const named = { ...sealed!.metadata, 'encryption-key-id': Buffer.from('\u001b[2J no name') };
  await expect(codecOf('SRLM_KEY_OLD').decode([{ ...sealed!, metadata: named }])).rejects.toThrow(
    'it is encrypted with a key of another name, which encryption() does not name.',
  );
});

it('is not switched on by nothing', () => {
  expect(() => encryption(undefined as never)).toThrow(
    'encryption: keys has to name at least one environment variable',
  );
  expect(() => encryption({ keys: ['__proto__'] })).toThrow('the environment variable __proto__ is not set');
});

const NAMES_ONLY = 'encryption: keys has to hold names of environment variables, not the keys themselves';
it.each([
  [[], {}, 'encryption: keys has to name at least one environment variable'],
  [
    ['SRLM_KEY_NONE'],
    {},
    'encryption: the environment variable SRLM_KEY_NONE is not set; it has to hold a key: 32 bytes in base64 or hex, as `openssl rand -base64 32` makes them',
  ],
  [
    ['SRLM_KEY_BAD'],
    { SRLM_KEY_BAD: 'c2hvcnQ=' },
    'encryption: the environment variable SRLM_KEY_BAD has to hold 32 bytes in base64 or hex',
  ],
  [
    ['SRLM_KEY_NEW', 'SRLM_KEY_BAD'],
    { SRLM_KEY_BAD: 'ab'.repeat(33) },
    'encryption: the environment variable SRLM_KEY_BAD has to hold 32 bytes in base64 or hex',
  ],
  [
    ['TORCH_HUSH_NOT'],
    {},
    'encryption: trainers and model servers get the variable TORCH_HUSH_NOT; use one with KEY in its name',
  ],
  [['a'.repeat(64)], {}, NAMES_ONLY],
  // A part of one.
  [['f3a1'.repeat(8)], {}, NAMES_ONLY],
  [['kP3xT9qLmZ7vB2nWc5RdYh8s'], {}, NAMES_ONLY],
  [[KEYS.SRLM_KEY_NEW], {}, NAMES_ONLY],
  [[KEYS.SRLM_KEY_OLD], {}, NAMES_ONLY],
])('%s with %s is refused: %s', (keys, environment, sentence) => {
  for (const [name, text] of Object.entries(environment)) vi.stubEnv(name, text);
  expect(() => encryption({ keys })).toThrow(new Error(sentence));
});

it('hides messages and stack traces of failures, causes too, and gives them back', async () => {
  const converter = loadDataConverter(encryption({ keys: ['SRLM_KEY_NEW'] }));
  const failure = await encodeErrorToFailure(
    converter,
    new Error('outer secret', { cause: new Error('inner secret') }),
  );
  expect(JSON.stringify(failure, (_, inner) => (inner instanceof Uint8Array ? '' : inner))).not.toMatch(
    /secret|encryption\.test/,
  );
  const error = await decodeOptionalFailureToOptionalError(converter, failure);
  expect([error!.message, error!.cause]).toMatchObject(['outer secret', { message: 'inner secret' }]);
  expect(error!.stack).toContain('encryption.test');
});
