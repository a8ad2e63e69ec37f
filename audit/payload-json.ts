/**
 * Payloads as Protobuf's JSON has them, bytes in base64: histories hold them in this form, and codec servers speak it. And
 * why one could not be decoded.
 */
import type { Payload } from '@temporalio/common';
import { Problem, payloadUnreadable, reasonOf } from '../contracts/errors.js';

export interface JsonPayload {
  metadata?: Record<string, string>;
  data?: string;
}

export const payloadFromJson = ({ metadata = {}, data = '' }: JsonPayload): Payload => ({
  metadata: Object.fromEntries(Object.entries(metadata).map(([name, text]) => [name, Buffer.from(text, 'base64')])),
  data: Buffer.from(data, 'base64'),
});

export const payloadToJson = ({ metadata, data }: Payload): Required<JsonPayload> => ({
  metadata: Object.fromEntries(Object.entries(metadata ?? {}).map(([name, bytes]) => [name, base64(bytes)])),
  data: base64(data),
});

const base64 = (bytes: Uint8Array | null | undefined): string => Buffer.from(bytes ?? []).toString('base64');

/** A Problem for what a data converter threw, which may be anything. */
export const decodingProblem = (error: unknown): Problem =>
  error instanceof Problem ? error : payloadUnreadable(reasonOf(error));
