/**
 * The codecs of a data converter, as clients and the codec server use them: one that fails, loses payloads or does not
 * answer ends in one sentence. Throws payload.unreadable, payload.not-encoded.
 */
import type { DataConverter, Payload, PayloadCodec } from '@temporalio/common';
import { Problem, payloadNotEncoded, payloadUnreadable, reasonOf } from '../contracts/errors.js';

/** A codec may ask a key service. */
const PATIENCE_MS = 30_000;

export function guarded(converter: DataConverter, patienceMs = PATIENCE_MS): DataConverter {
  const { payloadCodecs } = converter;
  return payloadCodecs
    ? { ...converter, payloadCodecs: payloadCodecs.map((one) => withSentences(one, patienceMs)) }
    : converter;
}

function withSentences(codec: PayloadCodec, patienceMs: number): PayloadCodec {
  const guard =
    (work: 'encode' | 'decode', problem: (reason: string) => Problem) =>
    async (...args: Parameters<PayloadCodec['encode']>): Promise<Payload[]> => {
      let made: Payload[];
      try {
        made = await within(patienceMs, Promise.resolve(codec[work](...args)));
      } catch (error) {
        throw error instanceof Problem ? error : problem(reasonOf(error));
      }
      const [{ length }] = args;
      if (!Array.isArray(made) || made.length !== length || made.some((one) => typeof one !== 'object' || one === null))
        throw problem(`the codec did not return ${length} payload${length === 1 ? '' : 's'} for ${length}`);
      return made;
    };
  return { encode: guard('encode', payloadNotEncoded), decode: guard('decode', payloadUnreadable) };
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the codec did not answer in ${ms / 1000} s`)), ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
