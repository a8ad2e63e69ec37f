/**
 * The body of a reply as JSON: compressed or not, one object or a stream of events whose pieces are put together. What is
 * none of these is named for what it is.
 */
import { brotliDecompressSync, gunzipSync, inflateRawSync, inflateSync, type ZlibOptions } from 'node:zlib';

/**
 * A reply that is not an answer. `what`: a clause that names it. `beginning` is the server's, and may hold a key.
 */
export class NotUnderstood extends Error {
  constructor(
    readonly what: string,
    readonly beginning: string,
  ) {
    super(what);
  }
}

interface Body {
  headers: { readonly [name: string]: string | string[] | undefined };
  body: Buffer;
}

/** Longer than what is shown, so that a key is whole when it is looked for. */
const BEGINNING_CHARS = 2000;
const GZIP = Buffer.from([0x1f, 0x8b]);
const MAX_ENCODINGS = 3;

/** Throws NotUnderstood. */
export function jsonOf({ headers, body }: Body, maxBytes: number): unknown {
  const text = textOf(body, headers, maxBytes);
  const trimmed = text.trim();
  if (trimmed === '') throw new NotUnderstood('an empty reply', '');
  try {
    return JSON.parse(trimmed);
  } catch {
    if (/^(?::|data:|event:|id:|retry:)/.test(trimmed)) return eventsOf(trimmed);
    // The message of JSON.parse quotes the reply, and might end in the middle of a key.
    throw new NotUnderstood(nameOf(trimmed, body), trimmed.slice(0, BEGINNING_CHARS));
  }
}

/** The text of a body; one that is not compressed as it says is taken as it is. */
export function textOf(body: Buffer, headers: Body['headers'], maxBytes = 2 ** 20): string {
  const encodings = String(headers['content-encoding'] ?? '')
    .toLowerCase()
    .split(',')
    .slice(-MAX_ENCODINGS);
  const options = { maxOutputLength: maxBytes };
  let bytes = body;
  try {
    // The last one was applied last.
    for (const encoding of encodings.reverse()) bytes = decompressed(bytes, encoding.trim(), options);
  } catch {
    // It is what it is.
  }
  const text = bytes.toString('utf8');
  return text.startsWith('\uFEFF') ? text.slice(1) : text;
}

function decompressed(body: Buffer, encoding: string, options: ZlibOptions): Buffer {
  if (encoding === 'br') return brotliDecompressSync(body, options);
  if (body.subarray(0, 2).equals(GZIP)) return gunzipSync(body, options);
  if (encoding !== 'deflate') return body;
  try {
    return inflateSync(body, options);
  } catch {
    // Without the header of zlib, as some servers send it.
    return inflateRawSync(body, options);
  }
}

function nameOf(text: string, body: Buffer): string {
  if (/^<(?:!doctype html|html|head|body|!--)/i.test(text)) return 'an HTML page';
  if (text.startsWith('<')) return 'XML or HTML';
  if (body.subarray(0, 2).equals(GZIP)) return 'compressed bytes that cannot be read';
  if (/[\0\uFFFD]/.test(text.slice(0, 100))) return 'bytes that are no text';
  if (/^[[{]/.test(text)) return 'JSON that is broken or cut off';
  return 'a text that is no JSON';
}

interface Piece {
  /** Pieces of a text, or parts. */
  content: unknown[];
  reasoning: string;
  refusal: string;
  finish_reason: unknown;
}

/** What the events of a stream make up: a chat completion. The first error ends it. Throws NotUnderstood. */
function eventsOf(text: string): unknown {
  const choices: Piece[] = [];
  let usage: unknown;
  let events = 0;
  let isDone = false;
  for (const line of text.split(/\r\n|\r|\n/)) {
    const data = /^data:\s?(.*)$/.exec(line)?.[1]?.trim();
    isDone ||= data === '[DONE]';
    if (!data || data === '[DONE]') continue;
    const event = eventOf(data, text);
    // What came before it is half a text.
    if (event.error) return { error: event.error };
    if (!Array.isArray(event.choices))
      throw new NotUnderstood('events of another kind', text.slice(0, BEGINNING_CHARS));
    events++;
    usage = event.usage ?? usage;
    for (const choice of event.choices) add(choices, choice);
  }
  if (events === 0) throw new NotUnderstood('a stream without events', text.slice(0, BEGINNING_CHARS));
  // A proxy that loses its connection ends the stream as if it were whole.
  if (!isDone && choices.some(({ finish_reason }) => finish_reason === null)) throw cutOff(text);
  const whole = choices.map(({ content, reasoning, refusal, finish_reason }) => ({
    message: { content, reasoning, refusal },
    finish_reason,
  }));
  return { choices: whole, usage };
}

function eventOf(data: string, text: string): Record<string, unknown> {
  try {
    const event: unknown = JSON.parse(data);
    if (typeof event === 'object' && event !== null) return event as Record<string, unknown>;
  } catch {
    // Not this one either.
  }
  throw cutOff(text);
}

const cutOff = (text: string) =>
  new NotUnderstood('a stream of events that is broken or cut off', text.slice(0, BEGINNING_CHARS));

const MAX_CHOICES = 1024;

function add(choices: Piece[], choice: unknown): void {
  const { index = 0, delta, message, finish_reason } = (choice ?? {}) as Record<string, unknown>;
  if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= MAX_CHOICES) return;
  for (let i = choices.length; i <= index; i++)
    choices.push({ content: [], reasoning: '', refusal: '', finish_reason: null });
  const piece = choices[index]!;
  const said = (delta ?? message ?? {}) as Record<string, unknown>;
  const textIn = (value: unknown) => (typeof value === 'string' ? value : '');
  if (said.content !== undefined && said.content !== null) piece.content.push(said.content);
  piece.reasoning += textIn(said.reasoning_content ?? said.reasoning);
  piece.refusal += textIn(said.refusal);
  piece.finish_reason = finish_reason ?? piece.finish_reason;
}
