/** Histories that a codec or a converter of the user's own has encoded: they read like plain ones, as far as they can. */
import {
  defaultDataConverter,
  defaultPayloadConverter,
  type PayloadCodec,
  type SerializationContext,
} from '@temporalio/common';
import { expect, it } from 'vitest';
import { type Decoding, decodeExecution } from '../../audit/decode.js';
import type { Execution } from '../../audit/events.js';
import { buildTimeline } from '../../audit/history-reader.js';
import type { JsonPayload } from '../../audit/payload-json.js';
import { HistoryBuilder, payloads, prepare, runInput, WORKFLOW, wholeRun } from './histories.js';

const ENCODING = Buffer.from('test/turned').toString('base64');
const turned = (data: string) => Buffer.from(data, 'base64').reverse().toString('base64');

/** `value` with each payload replaced. */
function mapped<T>(value: T, change: (payload: Required<JsonPayload>) => JsonPayload): T {
  const { metadata, data } = (value ?? {}) as Required<JsonPayload>;
  if (typeof metadata?.encoding === 'string') return change({ metadata, data }) as T;
  if (Array.isArray(value)) return value.map((one) => mapped(one, change)) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, mapped(inner, change)])) as T;
}

/** As the codec below encodes. A payload keeps what it was in its metadata. */
const encoded = <T>(value: T): T =>
  mapped(value, ({ metadata, data }) => ({
    metadata: { encoding: ENCODING, was: metadata.encoding! },
    data: turned(data),
  }));

const contexts: SerializationContext[] = [];
const codec: PayloadCodec = {
  encode: async (given) => given,
  decode: async (given, context) => {
    contexts.push(context!);
    return given.map(({ metadata, data }) => {
      if (Buffer.from(data!).includes(0)) throw new Error('This is damaged.\nIndeed.');
      return { metadata: { encoding: metadata!.was! }, data: Buffer.from(data!).reverse() };
    });
  },
};

const decoding: Decoding = {
  namespace: 'mine',
  loadedDataConverter: { ...defaultDataConverter, payloadCodecs: [codec] },
};
const plain: Decoding = { namespace: 'mine', loadedDataConverter: defaultDataConverter };

const timelineOf = async (executions: Execution[], by: Decoding) => {
  const read = await Promise.all(executions.map((one) => decodeExecution(one, by)));
  return buildTimeline({ workflowId: WORKFLOW, firstRunId: 'exec-1', executions: read });
};

it('an encoded history reads like the plain one, and is kept as Temporal has it', async () => {
  const executions = wholeRun().map(({ execution }) => execution);
  const secret = encoded(executions);
  expect(await timelineOf(secret, decoding)).toEqual(await timelineOf(executions, plain));
  const read = await decodeExecution(secret[0]!, decoding);
  expect(read.encoded).toEqual(secret[0]!.history);
  expect(read.undecoded).toBeUndefined();
  expect(await decodeExecution(executions[0]!, plain)).toBe(executions[0]);
});

it('messages of failures are read where a failure converter has put them aside, causes too', async () => {
  const attributes = (message: string) => payloads({ message, stack_trace: 'at x' }).payloads[0];
  const inner = { message: 'Encoded failure', encodedAttributes: attributes('No memory is left.') };
  const outer = { message: 'Encoded failure', encodedAttributes: attributes('Activity task failed'), cause: inner };
  const event = { eventId: '1', eventTime: '', eventType: '', activityTaskFailedEventAttributes: { failure: outer } };
  const execution = { workflowId: WORKFLOW, runId: 'a', history: { events: [event] } } as unknown as Execution;
  for (const [given, by] of [
    [execution, plain],
    [encoded(execution), decoding],
  ] as const) {
    const { history } = await decodeExecution(given, by);
    expect(history!.events[0]!.activityTaskFailedEventAttributes!.failure).toMatchObject({
      message: 'Activity task failed',
      cause: { message: 'No memory is left.', stackTrace: 'at x' },
    });
  }
});

it('one payload that cannot be decoded is missing alone, and a sentence says so', async () => {
  const history = prepare(new HistoryBuilder('exec-1', [runInput()]))
    .command('pause')
    .command('set', { set: { 'sampling.k': 8 } });
  const whole = await timelineOf([history.execution], plain);
  const secret = encoded(history.execution);
  const update = secret.history!.events.findLast((event) => event.workflowExecutionUpdateAcceptedEventAttributes)!;
  update.workflowExecutionUpdateAcceptedEventAttributes!.acceptedRequest!.input!.args!.payloads![0]!.data = 'AAAA';
  const { entries } = await timelineOf([secret], decoding);
  expect(entries.filter(({ kind }) => kind === 'gap')).toMatchObject([
    {
      message: expect.stringMatching(
        /^Of execution exec-1, 1 of \d+ payloads are not shown\. A payload cannot be decoded: This is damaged\.$/,
      ),
    },
  ]);
  const others = whole.entries.filter((entry) => entry.kind !== 'intervention' || entry.command !== 'set');
  expect(entries.filter(({ kind }) => kind !== 'gap')).toEqual([
    ...others,
    expect.objectContaining({ kind: 'intervention', command: 'set', who: '', fields: {} }),
  ]);
});

it('a codec is given the context of each payload: the workflow, or the activity', async () => {
  contexts.length = 0;
  const events = [
    {
      eventId: '5',
      activityTaskScheduledEventAttributes: { activityType: { name: 'a' }, activityId: 'seven', input: payloads(1) },
    },
    { eventId: '6', activityTaskCompletedEventAttributes: { scheduledEventId: '5', result: payloads(2) } },
    { eventId: '7', workflowExecutionCompletedEventAttributes: { result: payloads(3) } },
  ];
  await decodeExecution(
    encoded({ workflowId: 'w', runId: 'a', history: { events } }) as unknown as Execution,
    decoding,
  );
  const activity = { type: 'activity', namespace: 'mine', workflowId: 'w', activityId: 'seven', isLocal: false };
  expect(contexts).toEqual([activity, activity, { type: 'workflow', namespace: 'mine', workflowId: 'w' }]);
});

it('values of a payload converter of the user’s own are read through it', async () => {
  const payloadConverter = {
    toPayload: defaultPayloadConverter.toPayload,
    fromPayload: <T>({ data }: { data?: Uint8Array | null }) => ({ own: Buffer.from(data!).toString() }) as T,
  };
  const event = {
    eventId: '1',
    workflowExecutionCompletedEventAttributes: {
      result: { payloads: [{ metadata: { encoding: ENCODING }, data: 'AAEC' }] },
    },
  };
  const execution = { workflowId: 'w', runId: 'a', history: { events: [event] } } as unknown as Execution;
  const own = { ...plain, loadedDataConverter: { ...defaultDataConverter, payloadConverter } };
  const { history } = await decodeExecution(execution, own);
  const { data } = history!.events[0]!.workflowExecutionCompletedEventAttributes!.result!.payloads![0]!;
  expect(JSON.parse(Buffer.from(data!, 'base64').toString())).toEqual({ own: '\u0000\u0001\u0002' });
});
