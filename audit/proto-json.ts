/**
 * A history's events as Protobuf's JSON, which Temporal's own tools write and replay.
 *
 * `historyToJSON` of @temporalio/common does the same, but fails with "type must be a Type" where npm has given
 * @temporalio/common and @temporalio/proto a copy of protobufjs each. It does that in most installations with a worker
 * of their own, so here everything is resolved from where @temporalio/proto is.
 */
import { createRequire } from 'node:module';
import type * as proto from '@temporalio/proto';
import type { Event } from './events.js';

type Protobuf = typeof proto & { lookupType(name: string): unknown };

const own = createRequire(__filename);
const besideProto = createRequire(own.resolve('@temporalio/proto'));
const { toJson } = besideProto('protobufjs/ext/protojson') as { toJson(type: unknown, message: unknown): unknown };
const { patchProtobufRoot } = own('@temporalio/proto/lib/patch-protobuf-root.js') as {
  patchProtobufRoot(root: unknown): Protobuf;
};
const root = patchProtobufRoot(own('@temporalio/proto'));
const { History } = root.temporal.api.history.v1;
const type = root.lookupType('temporal.api.history.v1.History');

export function eventsToJson(history: proto.temporal.api.history.v1.IHistory | null | undefined): Event[] {
  const { events } = toJson(type, History.fromObject({ events: history?.events ?? [] })) as { events?: Event[] };
  return events ?? [];
}
