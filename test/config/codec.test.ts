/** The codecs of the user, as clients use them. */
import type { Payload, PayloadCodec } from '@temporalio/common';
import { expect, it } from 'vitest';
import { guarded } from '../../config/codec.js';
import { resolveDeployment } from '../../config/load.js';
import type { DeploymentInput } from '../../contracts/deployment.js';

const same = async (payloads: Payload[]) => payloads;
const payload: Payload = { data: Buffer.from('x') };

it.each<[string, Partial<PayloadCodec>, string, string]>([
  [
    'throws',
    { decode: async () => Promise.reject(new Error('no key.\nstack')) },
    'decode',
    'cannot be decoded: no key. ',
  ],
  [
    'throws nothing',
    { decode: async () => Promise.reject(undefined) },
    'decode',
    'cannot be decoded: it gave no reason. ',
  ],
  [
    'throws at once',
    {
      encode: () => {
        throw new Error('kms is down');
      },
    },
    'encode',
    'A payload cannot be encoded: kms is down. The codec of the dataConverter in temporal.config.ts says so; nothing was sent. [payload.not-encoded]',
  ],
  [
    'loses payloads',
    { decode: async () => [] },
    'decode',
    'cannot be decoded: the codec did not return 1 payload for 1.',
  ],
  ['returns none', { encode: async () => null as never }, 'encode', 'the codec did not return 1 payload for 1.'],
  ['never answers', { decode: () => new Promise(() => {}) }, 'decode', 'the codec did not answer in 0.02 s.'],
])('one that %s ends in a sentence', async (_, broken, work, says) => {
  const { payloadCodecs } = guarded({ payloadCodecs: [{ encode: same, decode: same, ...broken }] }, 20);
  await expect(payloadCodecs![0]![work as 'encode' | 'decode']([payload])).rejects.toThrow(says);
});

it('what is no codec is refused with the configuration', () => {
  const config = { dataConverter: { payloadCodecs: ['x'] } } as unknown as DeploymentInput;
  expect(() => resolveDeployment(config, '/')).toThrow(
    'the deployment config: dataConverter.payloadCodecs: it must be a list of objects with encode and decode. [config.invalid]',
  );
});
