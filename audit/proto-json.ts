/**
 * A history's events as Protobuf's JSON, which Temporal's own tools write and replay.
 *
 * `historyToJSON` of @temporalio/common does the same, but fails with "type must be a Type" where npm has given
 * @temporalio/common and @temporalio/proto a copy of protobufjs each, which it does in most installations with a worker
 * of their own; and until 1.22 it fails with "toProto3JSON: don't know how to convert value" for bytes. So the fields are
 * read here from the SDK's own description of them. Of Protobuf's well-known types it knows those that histories have,
 * Timestamp and Duration.
 */
import { createRequire } from 'node:module';
import type * as proto from '@temporalio/proto';
import type { Event } from './events.js';

/** What protobufjs 7 and 8 agree on. */
interface Type {
  fullName: string;
  fieldsArray: Field[];
}
interface Field {
  name: string;
  type: string;
  map: boolean;
  repeated: boolean;
  resolvedType: Type | { valuesById: Record<number, string> } | null;
  resolve(): Field;
}
interface Moment {
  seconds?: { toString(): string } | null;
  nanos?: number | null;
}
type Message = Record<string, unknown>;

const own = createRequire(__filename);
const { patchProtobufRoot } = own('@temporalio/proto/lib/patch-protobuf-root.js') as {
  patchProtobufRoot(root: unknown): { lookupType(name: string): Type };
};
const history = patchProtobufRoot(own('@temporalio/proto')).lookupType('temporal.api.history.v1.History');

export function eventsToJson(from: proto.temporal.api.history.v1.IHistory | null | undefined): Event[] {
  const { events } = messageToJson(history, { events: from?.events }) as { events?: Event[] };
  return events ?? [];
}

function messageToJson(type: Type, message: Message): unknown {
  if (type.fullName === '.google.protobuf.Timestamp') return timestampToJson(message);
  if (type.fullName === '.google.protobuf.Duration') return `${secondsToJson(message)}s`;
  const present = type.fieldsArray.filter((field) => isPresent(field, message));
  return Object.fromEntries(present.map((field) => [field.name, fieldToJson(field.resolve(), message[field.name])]));
}

/** Every message has its lists and maps, also those that were not sent. */
const isPresent = ({ name, map, repeated }: Field, message: Message): boolean =>
  Object.hasOwn(message, name) &&
  message[name] != null &&
  (!(map || repeated) || Object.keys(message[name] as object).length > 0);

function fieldToJson(field: Field, value: unknown): unknown {
  if (field.repeated) return (value as unknown[]).map((each) => valueToJson(field, each));
  if (!field.map) return valueToJson(field, value);
  return Object.fromEntries(Object.entries(value as Message).map(([key, each]) => [key, valueToJson(field, each)]));
}

function valueToJson({ type, resolvedType }: Field, value: unknown): unknown {
  if (type === 'bytes') return Buffer.from(value as Uint8Array).toString('base64');
  if (resolvedType && 'valuesById' in resolvedType) return resolvedType.valuesById[value as number] ?? value;
  if (resolvedType) return messageToJson(resolvedType, value as Message);
  // 64 bits are a Long, and a string in JSON.
  return /64$/.test(type) ? String(value) : value;
}

function timestampToJson({ seconds, nanos }: Moment): string {
  const toSecond = new Date(Number(seconds ?? 0) * 1000).toISOString().slice(0, -'.000Z'.length);
  return `${toSecond}${fraction(nanos)}Z`;
}

const secondsToJson = ({ seconds, nanos }: Moment): string => `${seconds ?? 0}${fraction(nanos)}`;

/** None, or three, six or nine digits. */
function fraction(nanos: number | null | undefined): string {
  if (!nanos) return '';
  return `.${String(nanos)
    .padStart(9, '0')
    .replace(/(000){1,2}$/, '')}`;
}
