/**
 * Decodes a history by the data converter of a client: its codecs, its payload converter, and messages of failures that
 * an encoding failure converter has put aside. The readers of a history then find plain JSON. A payload that cannot be
 * decoded is left out, and a sentence counts them. The history as Temporal has it is not changed.
 */
import type { Client } from '@temporalio/client';
import { defaultPayloadConverter, type Payload, type SerializationContext } from '@temporalio/common';
import { decode } from '@temporalio/common/lib/internal-non-workflow/index.js';
import pLimit from 'p-limit';
import type { Problem } from '../contracts/errors.js';
import { printable } from '../text/text.js';
import { decoded, type Event, type Execution } from './events.js';
import { decodingProblem, type JsonPayload, payloadFromJson, payloadToJson } from './payload-json.js';

/** What of a client decodes: the client may be one that was never connected. */
export type Decoding = Pick<Client['options'], 'namespace' | 'loadedDataConverter'>;

/** A codec may ask a key service each time. */
const AT_ONCE = 64;

/** Search attributes are never encoded, and headers are those of interceptors. */
const LEFT_ALONE = new Set(['searchAttributes', 'upsertedSearchAttributes', 'header']);

/** With one of these encodings, and without a codec, a payload is plain JSON, or nothing. */
const PLAIN = new Set(['json/plain', 'json/protobuf', 'binary/null']);

/** One field of an event: its payloads are encoded and decoded together. */
interface Site {
  holder: Record<string, unknown>;
  field: string;
  payloads: JsonPayload[];
}

export async function decodeExecution(execution: Execution, decoding: Decoding): Promise<Execution> {
  const { history, workflowId, runId } = execution;
  if (!history) return execution;
  const { loadedDataConverter } = decoding;
  if (![...sitesIn(history.events)].some((site) => needsDecoding(site, loadedDataConverter))) return execution;
  const events = structuredClone(history.events);
  const contextOf = contexts(events, workflowId, decoding.namespace);
  const limit = pLimit(AT_ONCE);
  let total = 0;
  let missing = 0;
  let problem: Problem | null = null;
  const decodeSite = async (site: Site, context: SerializationContext) => {
    total += site.payloads.length;
    const plain = await plainOf(site.payloads, loadedDataConverter, context).catch((error: unknown) => {
      problem ??= decodingProblem(error);
      missing += site.payloads.length;
      return null;
    });
    put(site, plain ?? site.payloads.map(() => ({})));
  };
  await Promise.all(
    events.flatMap((event) => [...sitesIn(event)].map((site) => limit(() => decodeSite(site, contextOf(event))))),
  );
  const undecoded = problem && unreadable(runId, missing, total, problem);
  return { ...execution, history: { events }, encoded: history, ...(undecoded ? { undecoded } : {}) };
}

const unreadable = (runId: string, missing: number, total: number, { reason }: Problem): string =>
  `Of execution ${runId}, ${missing} of ${total} payloads are not shown. ${printable(reason)}`;

function* sitesIn(value: unknown): Generator<Site> {
  if (typeof value !== 'object' || value === null) return;
  const holder = value as Record<string, unknown>;
  for (const [field, inner] of Object.entries(holder)) {
    if (LEFT_ALONE.has(field)) continue;
    if (isPayload(inner)) yield { holder, field, payloads: [inner] };
    else if (Array.isArray(inner) && inner.some(isPayload)) yield { holder, field, payloads: inner };
    else yield* sitesIn(inner);
  }
}

const isPayload = (value: unknown): value is JsonPayload =>
  typeof (value as { metadata?: { encoding?: unknown } } | null)?.metadata?.encoding === 'string';

const encodingOf = ({ metadata }: JsonPayload): string => Buffer.from(metadata?.encoding ?? '', 'base64').toString();

type Converter = Decoding['loadedDataConverter'];

const needsDecoding = ({ field, payloads }: Site, { payloadCodecs, payloadConverter }: Converter): boolean =>
  field === 'encodedAttributes' ||
  payloadCodecs.length > 0 ||
  payloadConverter !== defaultPayloadConverter ||
  payloads.some((payload) => !PLAIN.has(encodingOf(payload)));

async function plainOf(
  payloads: JsonPayload[],
  { payloadCodecs, payloadConverter }: Converter,
  context: SerializationContext,
): Promise<JsonPayload[]> {
  const plain = await decode(payloadCodecs, payloads.map(payloadFromJson), context);
  return plain.map((payload: Payload) => {
    const json = payloadToJson(payload);
    if (payloadConverter === defaultPayloadConverter && PLAIN.has(encodingOf(json))) return json;
    const text = JSON.stringify(payloadConverter.fromPayload(payload, context));
    return text === undefined ? {} : { data: Buffer.from(text).toString('base64') };
  });
}

function put({ holder, field }: Site, payloads: JsonPayload[]): void {
  holder[field] = Array.isArray(holder[field]) ? payloads : payloads[0];
  if (field !== 'encodedAttributes') return;
  // As DefaultFailureConverter of Temporal's SDK writes them.
  const { message, stack_trace: stackTrace } = (decoded(payloads[0]) ?? {}) as Record<string, unknown>;
  if (typeof message === 'string') holder.message = message;
  if (typeof stackTrace === 'string') holder.stackTrace = stackTrace;
}

/** Whose the payloads of an event are: the SDK passes the same to the codec that encodes them. */
function contexts(events: readonly Event[], workflowId: string, namespace: string) {
  const activities = new Map<string, string>();
  for (const { eventId, activityTaskScheduledEventAttributes: scheduled } of events)
    if (scheduled?.activityId) activities.set(eventId, scheduled.activityId);
  return (event: Event): SerializationContext => {
    const closed =
      event.activityTaskStartedEventAttributes ??
      event.activityTaskCompletedEventAttributes ??
      event.activityTaskFailedEventAttributes ??
      event.activityTaskTimedOutEventAttributes ??
      event.activityTaskCanceledEventAttributes;
    const activityId = activities.get(closed?.scheduledEventId ?? event.eventId);
    if (activityId === undefined) return { type: 'workflow', namespace, workflowId };
    return { type: 'activity', namespace, workflowId, activityId, isLocal: false };
  };
}
